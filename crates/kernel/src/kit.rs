//! For building packages: headers, `vmlinux.h` out of a BTF, libbpf's linker. Needs no privileges.

use std::ffi::{c_char, c_int, c_void};
use std::fs;
use std::io;
use std::ptr::NonNull;

use object::{Object, ObjectSection, ObjectSymbol};

use crate::error::KernelError;
use crate::print::capture;
use crate::sys;

/// Where a kernel's types come from.
#[derive(Clone, Copy, Debug)]
pub enum BtfSource<'a> {
    /// The kernel that runs: /sys/kernel/btf/vmlinux.
    Host,
    /// Raw BTF, or an ELF file with a `.BTF` section.
    Bytes(&'a [u8]),
}

/// The BPF-side headers of the libbpf that is linked in, by file name; they are included as `<bpf/NAME>`.
#[must_use]
pub fn headers() -> &'static [(&'static str, &'static str)] {
    include!(concat!(env!("OUT_DIR"), "/headers.rs"))
}

/// The raw BTF in `bytes`: itself, or the `.BTF` section of an ELF file (a `vmlinux`, a BPF object).
///
/// # Errors
/// It is neither.
pub fn kernel_btf(bytes: &[u8]) -> Result<&[u8], KernelError> {
    const MAGIC: u16 = 0xeb9f; // linux/btf.h
    let starts = bytes.first_chunk().is_some_and(|first| {
        u16::from_le_bytes(*first) == MAGIC || u16::from_be_bytes(*first) == MAGIC
    });
    if starts {
        return Ok(bytes);
    }
    let refuse = |why: &str| KernelError::unsupported("read BTF from", "the file", why);
    let file =
        object::File::parse(bytes).map_err(|_| refuse("it is neither raw BTF nor an ELF file"))?;
    let section = file.section_by_name(".BTF").ok_or_else(|| refuse("it has no .BTF section"))?;
    section.data().map_err(|_| refuse("its .BTF section is cut off"))
}

/// `vmlinux.h`: every type of a kernel as C, with CO-RE relocations on (`preserve_access_index`).
///
/// The same BTF gives the same text. Types of 7.x kernels need clang's `-fms-extensions`.
///
/// # Errors
/// The source can't be read or is no BTF.
pub fn vmlinux_header(source: BtfSource<'_>) -> Result<String, KernelError> {
    let host;
    let bytes = match source {
        BtfSource::Bytes(bytes) => bytes,
        BtfSource::Host => {
            host = fs::read("/sys/kernel/btf/vmlinux").map_err(|e| {
                KernelError::new("read", "/sys/kernel/btf/vmlinux", e)
                    .with_hint("this kernel carries no BTF (CONFIG_DEBUG_INFO_BTF)")
            })?;
            &host
        }
    };
    let btf = Btf::new(kernel_btf(bytes)?)?;
    let body = btf.dump().map_err(|e| KernelError::new("write as C", "the BTF", e))?;
    Ok(format!("{HEAD}{body}{TAIL}"))
}

const HEAD: &str = "#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

";
const TAIL: &str = "
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
";

/// Links BPF objects into one, as `bpftool gen object` does: symbols across files, externs, BTF merged.
///
/// # Errors
/// An input is no BPF object, or symbols clash: the hint says which, or what libbpf said.
pub fn link(objects: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, KernelError> {
    let file = sys::memory_file(c"skep-link")
        .map_err(|e| KernelError::new("make a file for", "the linked object", e))?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let (linked, said) = capture(|| {
        let linker = Linker::new(&path)?;
        objects.iter().try_for_each(|(_, object)| linker.add(object))?;
        linker.finish()
    });
    linked.map_err(|e| {
        let error = KernelError::new("link", "the BPF objects", e);
        match (clash(objects, said.text()), said.last_line()) {
            (Some(clash), _) => error.with_hint(clash),
            (None, Some(line)) => error.with_hint(format!("libbpf says: {line}")),
            (None, None) => error,
        }
    })?;
    fs::read(&path).map_err(|e| KernelError::new("read", "the linked object", e))
}

/// Which symbol two objects define, where libbpf says that one is defined twice: it names the second place by a number.
fn clash(objects: &[(&str, Vec<u8>)], said: &str) -> Option<String> {
    let (_, rest) = said.split_once("conflicting non-weak symbol #")?;
    let (symbol, _) = rest.split_once('(')?.1.split_once(") definition")?;
    let defines = |(_, object): &&(&str, Vec<u8>)| {
        object::File::parse(object.as_slice()).is_ok_and(|file| {
            file.symbols().any(|s| s.is_global() && !s.is_undefined() && s.name() == Ok(symbol))
        })
    };
    let mut places = objects.iter().filter(defines).map(|(name, _)| *name);
    let (first, second) = (places.next()?, places.next()?);
    Some(format!(
        "both {first} and {second} define '{symbol}': make it static in one of them, or declare it extern there"
    ))
}

/// libbpf's linker (that of libbpf-rs panics on an input that is refused).
struct Linker(NonNull<libbpf_sys::bpf_linker>);

impl Linker {
    fn new(path: &str) -> io::Result<Self> {
        let path = sys::cstring(path)?;
        // SAFETY: a NUL-terminated path that outlives the call; no options.
        let linker = unsafe { libbpf_sys::bpf_linker__new(path.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(linker).map(Self).ok_or_else(io::Error::last_os_error)
    }

    fn add(&self, object: &[u8]) -> io::Result<()> {
        let (start, len) = (object.as_ptr().cast_mut().cast(), object.len() as _);
        // SAFETY: `len` readable bytes that libbpf copies; no options.
        sys::check(unsafe {
            libbpf_sys::bpf_linker__add_buf(self.0.as_ptr(), start, len, std::ptr::null())
        })
        .map(drop)
    }

    fn finish(&self) -> io::Result<()> {
        // SAFETY: a linker of ours that has not finished.
        sys::check(unsafe { libbpf_sys::bpf_linker__finalize(self.0.as_ptr()) }).map(drop)
    }
}

impl Drop for Linker {
    fn drop(&mut self) {
        // SAFETY: made by libbpf, owned by us, freed once.
        unsafe { libbpf_sys::bpf_linker__free(self.0.as_ptr()) };
    }
}

/// Parsed BTF, freed when dropped.
struct Btf(NonNull<libbpf_sys::btf>);

impl Drop for Btf {
    fn drop(&mut self) {
        // SAFETY: made by libbpf, owned by us, freed once.
        unsafe { libbpf_sys::btf__free(self.0.as_ptr()) };
    }
}

impl Btf {
    fn new(bytes: &[u8]) -> Result<Self, KernelError> {
        let (btf, said) = capture(|| {
            let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            // SAFETY: `len` readable bytes, which libbpf copies and checks.
            let btf = unsafe { libbpf_sys::btf__new(bytes.as_ptr().cast(), len) };
            NonNull::new(btf).ok_or_else(io::Error::last_os_error)
        });
        btf.map(Self).map_err(|e| {
            let error = KernelError::new("read", "the BTF", e);
            match said.last_line() {
                Some(line) => error.with_hint(format!("libbpf says: {line}")),
                None => error,
            }
        })
    }

    /// All types as C. libbpf prints through a callback with a C format; a memory stream takes it.
    fn dump(&self) -> io::Result<String> {
        let stream = Stream::new()?;
        // SAFETY: a BTF of ours, and a stream that outlives the dump.
        let dump = unsafe {
            libbpf_sys::btf_dump__new(
                self.0.as_ptr(),
                Some(print),
                stream.file.as_ptr().cast(),
                std::ptr::null(),
            )
        };
        let dump = NonNull::new(dump).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a BTF of ours.
        let count = unsafe { libbpf_sys::btf__type_cnt(self.0.as_ptr()) };
        let done = (1..count).try_for_each(|id| {
            // SAFETY: a dump of ours and a type id below the count.
            sys::check(unsafe { libbpf_sys::btf_dump__dump_type(dump.as_ptr(), id) }).map(drop)
        });
        // SAFETY: made by libbpf above, freed once.
        unsafe { libbpf_sys::btf_dump__free(dump.as_ptr()) };
        done?;
        stream.into_text()
    }
}

unsafe extern "C" {
    /// As in stdio.h; a `va_list` argument is a pointer on x86_64 and aarch64.
    fn vfprintf(stream: *mut libc::FILE, format: *const c_char, arguments: *mut c_void) -> c_int;
}

unsafe extern "C" fn print(
    stream: *mut c_void,
    format: *const c_char,
    arguments: *mut libbpf_sys::__va_list_tag,
) {
    // SAFETY: libbpf hands on the stream that `dump` gave it, and a format with its arguments.
    unsafe { vfprintf(stream.cast(), format, arguments.cast()) };
}

/// A C stream into memory.
struct Stream {
    file: NonNull<libc::FILE>,
    /// Where the stream keeps its buffer's address and length: at a fixed place while it is open.
    buffer: Box<(*mut c_char, libc::size_t)>,
}

impl Stream {
    fn new() -> io::Result<Self> {
        let mut buffer = Box::new((std::ptr::null_mut(), 0));
        // SAFETY: both pointers stay valid while the stream is open, as the box does not move.
        let file = unsafe { libc::open_memstream(&raw mut buffer.0, &raw mut buffer.1) };
        let file = NonNull::new(file).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { file, buffer })
    }

    fn into_text(self) -> io::Result<String> {
        // SAFETY: an open stream of ours.
        sys::errno(unsafe { libc::fflush(self.file.as_ptr()) })?;
        let (start, len) = *self.buffer;
        // SAFETY: after fflush the buffer has `len` bytes and stays until the stream is closed.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) };
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: closed once; then the buffer is ours to free, as open_memstream(3) says.
        unsafe {
            libc::fclose(self.file.as_ptr());
            libc::free(self.buffer.0.cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_libbpfs() {
        let names: Vec<&str> = headers().iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"bpf_helpers.h") && names.contains(&"usdt.bpf.h"));
        assert!(
            headers().iter().all(|(_, text)| text.contains("#ifndef") || text.contains("static"))
        );
    }

    #[test]
    fn the_hosts_types_as_c() {
        let header = vmlinux_header(BtfSource::Host).unwrap();
        assert!(
            header.contains("struct task_struct {")
                && header.ends_with("#endif /* __VMLINUX_H__ */\n")
        );
        let btf = fs::read("/sys/kernel/btf/vmlinux").unwrap();
        assert!(vmlinux_header(BtfSource::Bytes(&btf)).unwrap() == header, "it is reproducible");
    }

    #[test]
    fn what_is_no_btf() {
        let error = vmlinux_header(BtfSource::Bytes(b"hello")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read BTF from the file");
        assert!(vmlinux_header(BtfSource::Bytes(&[0x9f, 0xeb, 1, 0, 0, 0, 0, 0])).is_err());
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(kernel_btf(&own).is_err());
    }

    #[test]
    fn linking_what_is_no_object() {
        let error = link(&[("hello.c", b"hello".to_vec())]).unwrap_err();
        assert_eq!(error.to_string(), "cannot link the BPF objects");
    }
}
