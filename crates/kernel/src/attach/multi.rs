//! Kinds that attach to all functions that a pattern fits, as libbpf reads their sections: whether there is any.

use std::path::Path;

use super::there::functions;
use super::uprobe;
use crate::error::KernelError;

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
