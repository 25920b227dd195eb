//! Kernel modules and what they need, in the order to load them: `modules.dep` read as modprobe does.

use std::fs;
use std::path::{Path, PathBuf};

use super::{GuestError, file};
use crate::kernels::{self, Kernel};

/// A module's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Such as `veth.ko`.
    pub name: String,
    /// Possibly packed.
    pub path: PathBuf,
}

/// `names` and what they need. One that is built in, or that this kernel lacks, is left out.
pub fn needed(kernel: &Kernel, names: &[String]) -> Result<Vec<Module>, GuestError> {
    let Some(folder) = kernel.modules.as_ref().filter(|_| !names.is_empty()) else {
        return Ok(Vec::new());
    };
    let folder = folder.join("lib/modules").join(&kernel.release);
    let list = folder.join("modules.dep");
    let text = fs::read_to_string(&list).map_err(|source| file("read", &list, source))?;
    Ok(in_order(&text, names)
        .into_iter()
        .map(|path| Module {
            name: format!("{}.ko", name_of(path).unwrap_or_default()),
            path: folder.join(path),
        })
        .collect())
}

/// Each line is a module and, after a colon, all that it needs, the first to load last.
fn in_order<'a>(text: &'a str, names: &[String]) -> Vec<&'a str> {
    let mut order = Vec::new();
    for name in names {
        let wanted = name.replace('-', "_");
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut lines = lines.filter(|(path, _)| name_of(path).is_some_and(|n| n == wanted));
        let Some((path, needs)) = lines.next() else { continue };
        for path in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    order
}

fn name_of(path: &str) -> Option<String> {
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// The module as the kernel takes it.
pub fn unpacked(path: &Path) -> Result<Vec<u8>, GuestError> {
    let bytes = fs::read(path).map_err(|source| file("read", path, source))?;
    let program = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(bytes),
    };
    let unpacked = kernels::unpacked(program, &bytes)?;
    if !unpacked.starts_with(b"\x7fELF") {
        return Err(GuestError::Module(path.to_owned()));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let text = "kernel/net/sched/cls_bpf.ko.xz:\nkernel/drivers/net/veth.ko.xz: kernel/net/b.ko.xz kernel/a-c.ko.xz\n\
                    kernel/a-c.ko.xz:\nkernel/net/b.ko.xz: kernel/a-c.ko.xz\n";
        let names = ["veth", "a_c", "built_in", "cls-bpf"].map(str::to_owned);
        assert_eq!(
            in_order(text, &names),
            [
                "kernel/a-c.ko.xz",
                "kernel/net/b.ko.xz",
                "kernel/drivers/net/veth.ko.xz",
                "kernel/net/sched/cls_bpf.ko.xz"
            ]
        );
    }
}
