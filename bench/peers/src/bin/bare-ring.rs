//! `bare-ring OBJECT RING SECONDS`: the C consumer of `ring.c`, which cargo links with libbpf.

use std::ffi::{CString, c_char, c_int};

use libbpf_sys as _;

unsafe extern "C" {
    fn bare_ring(object: *const c_char, ring: *const c_char, seconds: *const c_char) -> c_int;
}

fn main() {
    let args: Vec<CString> = std::env::args()
        .skip(1)
        .map(|arg| CString::new(arg).expect("no NUL in arguments"))
        .collect();
    let [object, ring, seconds] = args.as_slice() else { panic!("bare-ring OBJECT RING SECONDS") };
    // SAFETY: three NUL-terminated strings that outlive the call, which keeps none of them.
    std::process::exit(unsafe { bare_ring(object.as_ptr(), ring.as_ptr(), seconds.as_ptr()) });
}
