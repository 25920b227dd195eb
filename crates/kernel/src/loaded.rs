//! What is loaded on this kernel, whoever loaded it: ids of maps and programs, and BTF by its id.

use std::io;
use std::os::fd::AsRawFd;

use crate::error::KernelError;
use crate::sys;

/// Most bytes of a BTF that is read: the kernel's own limit (BTF_MAX_SIZE, include/linux/btf.h).
const BTF_BYTES: u32 = 16 << 20;

/// Ids of all maps, in order.
///
/// # Errors
/// EPERM.
pub fn maps() -> Result<Vec<u32>, KernelError> {
    // SAFETY: takes an integer and writes one.
    ids(|last, next| unsafe { libbpf_sys::bpf_map_get_next_id(last, next) })
        .map_err(|e| KernelError::new("list", "the maps", e))
}

/// Ids of all programs, in order.
///
/// # Errors
/// EPERM.
pub fn programs() -> Result<Vec<u32>, KernelError> {
    // SAFETY: takes an integer and writes one.
    ids(|last, next| unsafe { libbpf_sys::bpf_prog_get_next_id(last, next) })
        .map_err(|e| KernelError::new("list", "the programs", e))
}

fn ids(next_of: impl Fn(u32, *mut u32) -> i32) -> io::Result<Vec<u32>> {
    let (mut ids, mut last) = (Vec::new(), 0);
    loop {
        let mut next = 0;
        match sys::check(next_of(last, &raw mut next)) {
            Ok(_) => ids.push(next),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
            Err(e) => return Err(e),
        }
        last = next;
    }
}

/// The BTF of an id as bytes; none for the kernel's own and its modules', which are read from /sys/kernel/btf.
///
/// # Errors
/// ENOENT if there is none.
pub fn btf(id: u32) -> Result<Option<Vec<u8>>, KernelError> {
    let failed = |e| KernelError::new("read", format!("the BTF with id {id}"), e);
    // SAFETY: takes an integer.
    let fd = sys::owned(unsafe { libbpf_sys::bpf_btf_get_fd_by_id(id) }).map_err(failed)?;
    let info = |raw: &mut libbpf_sys::bpf_btf_info| {
        let mut len = size_of::<libbpf_sys::bpf_btf_info>() as u32;
        // SAFETY: `raw` is `len` bytes; `btf` in it is null or has `btf_size` bytes, which the caller holds.
        sys::check(unsafe {
            libbpf_sys::bpf_obj_get_info_by_fd(
                fd.as_raw_fd(),
                std::ptr::from_mut(raw).cast(),
                &raw mut len,
            )
        })
    };
    let mut first = libbpf_sys::bpf_btf_info::default();
    info(&mut first).map_err(failed)?;
    if first.kernel_btf != 0 || first.btf_size > BTF_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0u8; first.btf_size as usize];
    let mut whole = libbpf_sys::bpf_btf_info {
        btf: bytes.as_mut_ptr() as u64,
        btf_size: first.btf_size,
        ..Default::default()
    };
    info(&mut whole).map_err(failed)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::{MapHandle, MapSpec, kind};

    #[test]
    fn a_map_is_listed_while_it_is_there() {
        let spec = MapSpec {
            kind: kind::ARRAY,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            ..MapSpec::default()
        };
        let map = MapHandle::create(&spec).unwrap();
        let id = map.info().id;
        assert!(maps().unwrap().contains(&id));
        assert!(!programs().unwrap().contains(&0));
        drop(map);
    }

    #[test]
    fn the_kernels_own_btf_is_not_copied() {
        assert_eq!(btf(1).unwrap(), None, "vmlinux");
        assert!(btf(u32::MAX).unwrap_err().is_not_found());
    }
}
