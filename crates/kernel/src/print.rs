//! What libbpf prints, as text that a terminal can show.
//!
//! libbpf's callback is global, but it is called on the thread that calls libbpf: each thread collects for itself. Messages hold
//! names from objects, which are any bytes: `libbpf_rs::set_print` panics where they are not UTF-8.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::mem;
use std::sync::Once;

use skep_object::shown_lines;

/// Largest part of libbpf's messages that is kept, in bytes.
const MOST_SAID: usize = 64 << 10;
/// Largest part of one message that is kept, in bytes: the verifier's log comes in one.
const MOST_OF_ONE: usize = 16 << 10;

thread_local! {
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What libbpf said, a message a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said(String);

impl Said {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// All of it.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The messages, the last one first, without "libbpf: ".
    pub(crate) fn last_first(&self) -> impl Iterator<Item = &str> {
        self.0.lines().rev().map(|line| line.trim().trim_start_matches("libbpf: "))
    }

    /// The last message.
    pub(crate) fn last_line(&self) -> Option<&str> {
        self.last_first().find(|line| !line.is_empty())
    }
}

#[cfg(test)]
impl From<String> for Said {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Calls `work` and collects what libbpf says on this thread meanwhile.
pub(crate) fn capture<T>(work: impl FnOnce() -> T) -> (T, Said) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
    let before = SAID.with(|said| said.replace(Some(String::new())));
    let result = work();
    let said = SAID.with(|said| said.replace(before)).unwrap_or_default();
    (result, Said(said))
}

/// Calls libbpf with its messages dropped: for callers whose errors say what matters.
pub(crate) fn quietly<T>(call: impl FnOnce() -> T) -> T {
    capture(call).0
}

fn install() {
    #[expect(
        clippy::missing_transmute_annotations,
        reason = "bindgen's va_list differs by machine"
    )]
    // SAFETY: libbpf calls it with what `libbpf_print_fn_t` says; a va_list is passed as a pointer on all our machines.
    let callback: libbpf_sys::libbpf_print_fn_t = Some(unsafe { mem::transmute(print as Print) });
    // SAFETY: a function that lives as long as the program.
    unsafe { libbpf_sys::libbpf_set_print(callback) };
}

type Print =
    unsafe extern "C" fn(libbpf_sys::libbpf_print_level, *const c_char, *mut c_void) -> c_int;

unsafe extern "C" {
    fn vsnprintf(to: *mut c_char, room: usize, format: *const c_char, args: *mut c_void) -> c_int;
}

/// libbpf's callback.
unsafe extern "C" fn print(
    level: libbpf_sys::libbpf_print_level,
    format: *const c_char,
    args: *mut c_void,
) -> c_int {
    if level > libbpf_sys::LIBBPF_INFO {
        return 0;
    }
    SAID.with(|said| {
        if let Ok(mut said) = said.try_borrow_mut()
            && let Some(said) = said.as_mut()
        {
            let mut message = vec![0_u8; MOST_OF_ONE];
            // SAFETY: the format and its arguments are libbpf's; vsnprintf writes at most what there is room for, once, since
            // it uses the arguments up.
            let length =
                unsafe { vsnprintf(message.as_mut_ptr().cast(), message.len(), format, args) };
            let length = usize::try_from(length).unwrap_or(0).min(message.len() - 1);
            add(said, &message[..length]);
        }
    });
    0
}

/// Adds a message, as far as there is room.
fn add(said: &mut String, message: &[u8]) {
    let text = String::from_utf8_lossy(message);
    let text = shown_lines(&text);
    let room = MOST_SAID.saturating_sub(said.len());
    said.push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    /// Has libbpf say something about an object, whose section has this name.
    fn said_of(name: &[u8]) -> String {
        let path = CString::new([b"/nowhere/".as_slice(), name].concat()).unwrap();
        let (object, said) = capture(|| {
            // SAFETY: a path that lives until the call is over.
            unsafe { libbpf_sys::bpf_object__open_file(path.as_ptr(), std::ptr::null()) }
        });
        assert!(object.is_null());
        said.text().to_owned()
    }

    #[test]
    fn what_libbpf_says_of_any_bytes_is_text() {
        assert!(said_of(b"plain.o").contains("/nowhere/plain.o"));
        let odd = said_of(b".\xffebug\x1b[31m\r\t");
        assert!(odd.contains(".\u{fffd}ebug\\u{1b}[31m\\u{d}\t"), "{odd:?}");
        assert!(said_of(&[b'x'; 300]).len() > 300);
    }

    #[test]
    fn much_is_cut_at_a_character() {
        let mut said = "x".repeat(MOST_SAID - 1);
        add(&mut said, "\u{e9}".as_bytes());
        assert_eq!(said.len(), MOST_SAID - 1);
        add(&mut said, b"yz");
        assert!(said.ends_with("xy"));
    }
}
