//! What libbpf and the verifier said while one object was opened or loaded, and a short summary of it.
//!
//! The verifier writes into a buffer of the object.

use std::fmt;
use std::io;
use std::ptr::NonNull;

use super::words;
use crate::error::KernelError;
use crate::print::Said;

/// Room for the verifier's log in bytes; untouched pages cost nothing.
const LOG_ROOM: usize = 16 << 20;

/// Why an object was not opened or loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The program that was refused, where it was one.
    pub program: Option<String>,
    /// The errno, 0 if there was none.
    pub errno: i32,
    /// One or two lines: the last thing that the verifier or libbpf said, and where in the source.
    pub summary: String,
    /// Everything that libbpf and then the verifier said.
    pub log: String,
    /// What a person can do.
    pub hint: Option<String>,
}

impl LoadError {
    pub(super) fn new(errno: i32, said: &Said, verifier: &str) -> Self {
        let program = failed_program(said);
        let told = summary_of(verifier).or_else(|| reason(said));
        let plain = || match errno {
            libc::ENOENT => words::STRIPPED.to_owned(),
            _ => io::Error::from_raw_os_error(errno).to_string(),
        };
        let summary = told.unwrap_or_else(plain);
        let all = format!("{}{summary}", said.text());
        let hint = words::hint(errno, &all, crate::process::is_root()).map(str::to_owned);
        let log = format!("{}{verifier}", said.text());
        Self { program, errno, summary, log, hint }
    }

    pub(super) fn of_kernel(error: &KernelError) -> Self {
        Self {
            program: None,
            errno: error.errno().unwrap_or(0),
            summary: error.to_string(),
            log: String::new(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Some(program) => write!(f, "the kernel refuses the program '{program}'")?,
            None => write!(f, "cannot load the object")?,
        }
        write!(f, ": {}", self.summary)
    }
}

impl std::error::Error for LoadError {}

/// The message nearest the cause: the last one that is not about giving up.
fn reason(said: &Said) -> Option<String> {
    let giving_up = |line: &str| {
        line.starts_with("failed to load object")
                || line.contains("failed to load: -")
                || line.contains("failed to perform CO-RE relocations")
                || line.contains("failed to prepare load attributes")
                // libbpf's guess at any EPERM, from when memory for programs was locked memory.
                || line.contains("try raising 'ulimit -l'")
    };
    // What is skipped is no reason, and the rest is the same object.
    let tells = |line: &&str| !line.is_empty() && !line.starts_with("elf: skipping");
    let lines = || said.last_first().filter(tells);
    let nearest = lines().find(|line| !giving_up(line)).or_else(|| lines().next());
    nearest.map(words::spelled_out)
}

fn failed_program(said: &Said) -> Option<String> {
    said.last_first().find_map(|line| {
        let rest = line.strip_prefix("prog '")?;
        let (name, what) = rest.split_once('\'')?;
        (what.contains("fail") || what.contains("bad") || what.contains("missing"))
            .then(|| name.to_owned())
    })
}

/// Where the verifier writes: 16 MB of address space, memory only as far as it is written.
#[derive(Debug)]
pub(super) struct Buffer(NonNull<libc::c_void>);

// SAFETY: plain memory with one owner.
unsafe impl Send for Buffer {}

impl Buffer {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: a new private mapping at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LOG_ROOM,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start).map(Self).ok_or_else(|| io::Error::other("mapped at 0"))
    }

    pub(super) fn start(&self) -> *mut std::ffi::c_char {
        self.0.as_ptr().cast()
    }

    pub(super) fn len(&self) -> libbpf_sys::size_t {
        LOG_ROOM as libbpf_sys::size_t
    }

    /// What was written, up to the first NUL.
    pub(super) fn text(&self) -> &str {
        // SAFETY: LOG_ROOM readable bytes; the kernel and libbpf end what they write with a NUL, and the rest is zero.
        let bytes = unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<u8>(), LOG_ROOM) };
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(LOG_ROOM);
        std::str::from_utf8(&bytes[..end]).unwrap_or("the verifier's log is not text")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, once.
        unsafe { libc::munmap(self.0.as_ptr(), LOG_ROOM) };
    }
}

/// The verifier's last message with the source line before it; `None` for an empty log.
///
/// Two formats: the classic one ends "…message\nprocessed N insns…", with "; source line" comments before
/// the instructions; Linux 7.3 adds a report that begins "Verification failed:".
fn summary_of(log: &str) -> Option<String> {
    let report = log.lines().find_map(|line| line.trim().strip_prefix("Verification failed: "));
    let reason = log.lines().find_map(|line| line.trim().strip_prefix("Reason: "));
    if let Some(category) = report {
        return Some(match reason {
            Some(reason) => format!("{reason} ({category})"),
            None => category.to_owned(),
        });
    }
    let message = log.lines().rev().map(str::trim).find(|line| is_message(line))?;
    let source = log.lines().rev().find_map(|line| line.trim().strip_prefix("; "));
    Some(match source {
        Some(source) => format!("{message}\n  at: {source}"),
        None => message.to_owned(),
    })
}

fn is_message(line: &str) -> bool {
    let statistics =
        ["processed ", "verification time", "stack depth", "mark_precise:", "max_states"];
    !line.is_empty()
        && !line.starts_with(';')
        && !statistics.iter().any(|start| line.starts_with(start))
        && !line.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "0: R1=ctx() R10=fp0\n; return *(int *)0; @ bad.c:7\n0: (b7) r1 = 0\n\
        1: (61) r0 = *(u32 *)(r1 +0)\nR1 invalid mem access 'scalar'\n\
        processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";

    #[test]
    fn the_classic_log() {
        let said = Said::from(
            "libbpf: prog 'bad': BPF program load failed: -EACCES\n\
            libbpf: prog 'bad': failed to load: -EACCES\nlibbpf: failed to load object 'x'\n"
                .to_owned(),
        );
        let error = LoadError::new(libc::EACCES, &said, LOG);
        assert_eq!(error.program.as_deref(), Some("bad"));
        assert_eq!(
            error.to_string(),
            "the kernel refuses the program 'bad': R1 invalid mem access 'scalar'\n  \
             at: return *(int *)0; @ bad.c:7"
        );
        assert!(error.log.contains("failed to load object") && error.log.contains("processed 2"));
    }

    #[test]
    fn the_report_of_7_3() {
        let log = "Verification failed: memory\nReason: R1 is a scalar\nAt: bad.c:7\n";
        assert_eq!(summary_of(log).unwrap(), "R1 is a scalar (memory)");
    }

    #[test]
    fn without_a_verifier_log_libbpf_is_quoted() {
        let said = Said::from(
            "libbpf: elf: 'x' is not a proper ELF object\nlibbpf: failed to load object 'x'\n"
                .to_owned(),
        );
        let error = LoadError::new(libc::EINVAL, &said, "");
        assert_eq!(
            error.to_string(),
            "cannot load the object: elf: 'x' is not a proper ELF object"
        );
        let said = "libbpf: prog 'p': BPF program load failed: -EPERM\n\
            libbpf: permission error while running as root; try raising 'ulimit -l'? current value: 8.0 MiB\n";
        let forbidden = LoadError::new(libc::EPERM, &Said::from(said.to_owned()), "");
        assert_eq!(
            forbidden.to_string(),
            "the kernel refuses the program 'p': prog 'p': BPF program load failed: operation not permitted (EPERM)"
        );
        let stripped = LoadError::new(libc::ENOENT, &Said::none(), "");
        assert!(
            stripped.summary.contains("license") && stripped.hint.unwrap().contains("stripped")
        );
        let silent = LoadError::new(libc::ENOMEM, &Said::none(), "");
        assert!(silent.summary.contains("os error 12") && silent.hint.is_some());
    }
}
