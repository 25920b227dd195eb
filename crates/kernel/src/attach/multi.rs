//! Kinds that attach to all functions that a pattern fits, as libbpf reads their sections.

use std::collections::BTreeSet;
use std::ffi::{CString, c_char};
use std::io;
use std::path::Path;

use super::there::functions;
use super::{AttachPlan, Link, create_link, failed, link_options, uprobe};
use crate::error::KernelError;
use crate::program::Program;
use crate::{sys, tracefs};

/// `BPF_F_KPROBE_MULTI_RETURN`, `BPF_F_UPROBE_MULTI_RETURN`.
const AT_RETURN: u32 = 1;

/// Whether a section's word, without what says that the program may sleep, is of one of these kinds.
pub(super) fn is_known(word: &str) -> bool {
    let word = word.strip_suffix(".s").unwrap_or(word);
    matches!(
        word,
        "kprobe.multi"
            | "kretprobe.multi"
            | "kprobe.session"
            | "uprobe.multi"
            | "uretprobe.multi"
            | "uprobe.session"
    )
}

/// Attaches by one link at every function that `place` fits: a pattern, or `BINARY:PATTERN` for uprobes.
pub(super) fn attach(
    program: &Program,
    word: &str,
    place: &str,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let flags = if word.contains("ret") { AT_RETURN } else { 0 };
    match word.starts_with('k') {
        true => in_kernel_at(program, place, flags, plan),
        false => in_binary_at(program, place, flags, plan),
    }
}

fn in_kernel_at(
    program: &Program,
    pattern: &str,
    flags: u32,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let names: BTreeSet<String> = match pattern.contains(['*', '?']) {
        false => [pattern.to_owned()].into(),
        true => tracefs::functions()
            .map_err(|e| KernelError::new("read", "the functions that can be traced", e))?
            .filter(|name| fits(pattern.as_bytes(), name.as_bytes()))
            .collect(),
    };
    let names: Vec<CString> = names.iter().filter_map(|name| sys::cstring(name).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let mut opts = link_options();
    opts.__bindgen_anon_1.kprobe_multi =
        libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_2 {
            flags,
            cnt: pointers.len() as u32,
            syms: pointers.as_mut_ptr(),
            ..Default::default()
        };
    let fd = create_link(program, 0, program.kind().expected_attach_type, &opts);
    let fd = fd.map_err(|e| match e.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT | libc::EINVAL) => failed(program, plan, e)
            .with_hint(format!("no function like '{pattern}' can be probed: see available_filter_functions of tracefs")),
        _ => failed(program, plan, e),
    })?;
    Ok(Link::from_fd(fd))
}

fn in_binary_at(
    program: &Program,
    place: &str,
    flags: u32,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let nowhere = || io::Error::from_raw_os_error(libc::EINVAL);
    let (binary, pattern) = place.split_once(':').ok_or_else(|| {
        failed(program, plan, nowhere()).with_hint("name a binary and a pattern: BINARY:PATTERN")
    })?;
    let file = uprobe::find_file(binary)?;
    let refuse = |e| failed(program, plan, e);
    let offsets = uprobe::offsets(&file, &|name| fits(pattern.as_bytes(), name.as_bytes()));
    let offsets: Vec<u64> = offsets.map_err(refuse)?.into_iter().collect();
    let path = sys::cpath(&file).map_err(refuse)?;
    let mut opts = link_options();
    opts.__bindgen_anon_1.uprobe_multi =
        libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
            flags,
            cnt: offsets.len() as u32,
            path: path.as_ptr(),
            offsets: offsets.as_ptr().cast(),
            pid: plan.pid.unwrap_or(0),
            ..Default::default()
        };
    let fd = create_link(program, 0, program.kind().expected_attach_type, &opts);
    Ok(Link::from_fd(fd.map_err(refuse)?))
}

/// Says if a section of one of these kinds surely names no function: `uprobe.multi/BINARY:PATTERN`, `kprobe.multi/PATTERN`.
pub(super) fn is_there(section: &str) -> Result<(), KernelError> {
    let Some((kind, place)) = section.split_once('/') else { return Ok(()) };
    match kind.strip_suffix(".s").unwrap_or(kind) {
        "uprobe.multi" | "uretprobe.multi" | "uprobe.session" => match place.split_once(':') {
            Some((binary, pattern)) => in_binary(binary, pattern),
            None => Ok(()), // libbpf says it
        },
        "kprobe.multi" | "kretprobe.multi" | "kprobe.session" => in_kernel(place),
        _ => Ok(()),
    }
}

fn in_binary(binary: &str, pattern: &str) -> Result<(), KernelError> {
    // libbpf looks for what is no absolute path in more folders than we know.
    if !Path::new(binary).is_absolute() {
        return Ok(());
    }
    let file = uprobe::find_file(binary)?;
    let any = uprobe::has_function(&file, &|name| fits(pattern.as_bytes(), name.as_bytes()));
    match any {
        Ok(false) => {
            let thing = format!("a function like '{pattern}' in {}", file.display());
            Err(KernelError::unsupported("find", thing, "it has none")
                .with_hint(format!("see the functions of {0}: nm -D {0}", file.display())))
        }
        Ok(true) => Ok(()),
        Err(e) => Err(KernelError::new("read", format!("the functions of {binary}"), e)),
    }
}

fn in_kernel(pattern: &str) -> Result<(), KernelError> {
    match functions(|name| fits(pattern.as_bytes(), name.as_bytes())) {
        Some(false) => {
            let thing = format!("a kernel function like '{pattern}'");
            Err(KernelError::unsupported("find", thing, "this kernel has none")
                .with_hint("it may be in a module that is not loaded; see /proc/kallsyms"))
        }
        _ => Ok(()),
    }
}

/// As libbpf's `glob_match`: `*` is any text, `?` any byte.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // The last `*`, and where the text that it stands for ends.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[at] => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((again, end)) = star else { return false };
                star = Some((again, end + 1));
                (at, of) = (end + 1, again + 1);
            }
        }
    }
    pattern[of..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_libbpf_has_it() {
        for (pattern, name, expected) in [
            ("vfs_*", "vfs_read", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?fs_re*d", "vfs_read", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("vfs", "vfs_read", false),
            ("*read", "vfs_readread", true),
        ] {
            let said = fits(pattern.as_bytes(), name.as_bytes());
            assert_eq!(said, expected, "{pattern} {name}");
        }
    }
}
