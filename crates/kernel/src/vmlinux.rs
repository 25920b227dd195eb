//! Looking names up in the running kernel's BTF, in one pass over the bytes: no type table is built.
//!
//! libbpf's own look-up parses all 150,000 types first; this takes 2 to 3 ms, and what was found is kept: the
//! kernel's BTF is the same until it reboots.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use skep_adapt::renamed::{self, Asked};

use crate::error::KernelError;
use crate::maps::Mapping;
use crate::sys;

const PATH: &str = "/sys/kernel/btf/vmlinux";

/// Kinds of BTF types that programs attach to (include/uapi/linux/btf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BtfKind {
    /// A function: fentry, fexit, LSM hooks, kfuncs.
    Func,
    /// A typedef: `btf_trace_NAME` of a tracepoint.
    Typedef,
}

impl BtfKind {
    const fn number(self) -> u32 {
        match self {
            Self::Typedef => 8,
            Self::Func => 12,
        }
    }
}

/// The ids of `wanted` in vmlinux's BTF, in its order; `None` for a name that isn't there with that kind.
///
/// # Errors
/// ENOENT: the kernel carries no BTF.
pub fn ids(wanted: &[(&str, BtfKind)]) -> Result<Vec<Option<u32>>, KernelError> {
    static KNOWN: Mutex<Known> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let find = |known: &Known, (name, kind): &(&str, BtfKind)| {
        known.iter().find(|(n, k, _)| n == name && k == kind).map(|(_, _, id)| *id)
    };
    let asked: Vec<_> = wanted.iter().filter(|w| find(&known, w).is_none()).copied().collect();
    if !asked.is_empty() {
        let found = Vmlinux::read()?.ids(&asked);
        known.extend(
            asked.iter().zip(found).map(|((name, kind), id)| ((*name).to_owned(), *kind, id)),
        );
    }
    Ok(wanted.iter().map(|w| find(&known, w).flatten()).collect())
}

/// The kernel's BTF with fields by the names that they had, in a file that lasts as long as this value.
#[derive(Debug)]
pub struct OldNames {
    file: OwnedFd,
    /// What was added, a phrase each.
    pub added: Vec<String>,
}

impl OldNames {
    /// For what an object asks of such fields; none where this kernel has all of them, or none by another name.
    /// The types are those in the file `own`, where the kernel's operator has them for it.
    #[must_use]
    pub fn of(fields: &Asked<'_>, own: Option<&Path>) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let kernel = Vmlinux::at(own.unwrap_or(Path::new(PATH))).ok()?;
        let (bytes, added) = renamed::with_old_names(kernel.bytes(), fields)?;
        let mut file = File::from(sys::memory_file(c"skep-btf").ok()?);
        file.write_all(&bytes).ok()?;
        Some(Self { file: file.into(), added })
    }

    /// Where libbpf reads it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// Names that were looked up, few in a process's life.
type Known = Vec<(String, BtfKind, Option<u32>)>;

/// The kernel's BTF.
#[derive(Debug)]
enum Vmlinux {
    /// From Linux 6.16 on it can be mapped; before, each read gives a page.
    Mapped(Mapping),
    Read(Vec<u8>),
}

impl Vmlinux {
    fn read() -> Result<Self, KernelError> {
        Self::at(Path::new(PATH))
            .map_err(|error| error.with_hint("this kernel carries no BTF (CONFIG_DEBUG_INFO_BTF)"))
    }

    fn at(path: &Path) -> Result<Self, KernelError> {
        let failed = |e| KernelError::new("read", path.display().to_string(), e);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len() as usize;
        match Mapping::private(&file, len) {
            Ok(mapping) => Ok(Self::Mapped(mapping)),
            Err(_) => fs::read(path).map(Self::Read).map_err(failed),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping.bytes(),
            Self::Read(bytes) => bytes,
        }
    }

    fn ids(&self, wanted: &[(&str, BtfKind)]) -> Vec<Option<u32>> {
        self.scan(wanted).unwrap_or_else(|| vec![None; wanted.len()])
    }

    /// `None` if the bytes are not what the format says.
    fn scan(&self, wanted: &[(&str, BtfKind)]) -> Option<Vec<Option<u32>>> {
        let word = |at: usize| {
            let bytes = self.bytes().get(at..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let header = word(4)? as usize;
        let part = |offset: u32, len: u32| {
            let start = header.checked_add(offset as usize)?;
            self.bytes().get(start..start.checked_add(len as usize)?)
        };
        let types = part(word(8)?, word(12)?)?;
        let strings = part(word(16)?, word(20)?)?;
        let names = name_offsets(strings, wanted);
        let mut found = vec![None; wanted.len()];
        let (mut at, mut id) = (0, 1);
        while at < types.len() {
            let field = |i: usize| {
                let bytes = types.get(at + 4 * i..)?.first_chunk()?;
                Some(u32::from_ne_bytes(*bytes))
            };
            let (name, info) = (field(0)?, field(1)?);
            let kind = info >> 24 & 0x1f;
            for i in names.get(&name).into_iter().flatten() {
                if wanted[*i].1.number() == kind {
                    found[*i].get_or_insert(id);
                }
            }
            at += 12 + extra_bytes(kind, (info & 0xffff) as usize)?;
            id += 1;
        }
        Some(found)
    }
}

/// Where the wanted names are among the strings, with the numbers of those who want them.
fn name_offsets(strings: &[u8], wanted: &[(&str, BtfKind)]) -> HashMap<u32, Vec<usize>> {
    let mut offsets = HashMap::<u32, Vec<usize>>::new();
    let mut at = 0;
    // CStr's search for the NUL goes by words, a split by bytes.
    while let Some(Ok(string)) = strings.get(at..).map(CStr::from_bytes_until_nul) {
        let string = string.to_bytes();
        for (i, (name, _)) in wanted.iter().enumerate() {
            if name.len() == string.len() && name.as_bytes() == string {
                offsets.entry(at as u32).or_default().push(i);
            }
        }
        at += string.len() + 1;
    }
    offsets
}

/// Bytes after the first 12 of a type with `len` members.
fn extra_bytes(kind: u32, len: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,            // int, var, declaration tag
        3 => 12,                     // array
        4 | 5 | 15 | 19 => 12 * len, // struct, union, data section, enum of 64 bits
        6 | 13 => 8 * len,           // enum, function prototype
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use skep_object::CoreKind;

    use super::*;

    #[test]
    fn finds_what_programs_attach_to() {
        let ids = ids(&[
            ("bpf_fentry_test1", BtfKind::Func),
            ("btf_trace_sched_switch", BtfKind::Typedef),
            ("no_such_function", BtfKind::Func),
            ("task_struct", BtfKind::Func),
        ])
        .unwrap();
        assert!(ids[0].is_some() && ids[1].is_some());
        assert!(ids[2].is_none() && ids[3].is_none());
        let name = c"bpf_fentry_test1";
        // SAFETY: a string that outlives the call.
        let theirs = unsafe {
            libbpf_sys::libbpf_find_vmlinux_btf_id(name.as_ptr(), libbpf_sys::BPF_TRACE_FENTRY)
        };
        assert_eq!(ids[0], Some(theirs as u32));
    }

    #[test]
    fn old_names_are_added_to_the_operators_types() {
        let folder = tempfile::tempdir().unwrap();
        let [own, none] = ["own", "none"].map(|name| folder.path().join(name));
        fs::write(&own, renamed_btf()).unwrap();
        fs::write(&none, [0; 24]).unwrap();
        let there = [("renamedata.old_mnt_userns", CoreKind::FieldExists)];
        let of = |own| OldNames::of(&Asked::of(there.into_iter()), own);
        let names = of(Some(&own)).unwrap();
        assert_eq!(names.added.len(), 1, "{:?}", names.added);
        let strings = b"\0old_mnt_userns\0";
        let bytes = fs::read(names.path()).unwrap();
        assert!(bytes.windows(strings.len()).any(|window| window == strings));
        assert!(of(Some(&none)).is_none() && of(Some(&folder.path().join("absent"))).is_none());
    }

    /// `struct renamedata { int mnt_idmap; }`, as kernels call it now.
    fn renamed_btf() -> Vec<u8> {
        let strings = b"\0int\0renamedata\0mnt_idmap\0";
        let int = [1, 1 << 24, 4, 32];
        let renamedata = [5, 4 << 24 | 1, 4, 16, 1, 0];
        let types = [&int[..], &renamedata].concat();
        let len = 4 * types.len() as u32;
        let header = [0x0001_eb9f, 24, 0, len, len, strings.len() as u32];
        let words = header.into_iter().chain(types).flat_map(u32::to_ne_bytes);
        words.chain(*strings).collect()
    }

    #[test]
    fn bytes_that_are_no_btf() {
        for bytes in [vec![], vec![0xff; 40], vec![0; 24]] {
            assert_eq!(Vmlinux::Read(bytes).ids(&[("x", BtfKind::Func)]), [None]);
        }
    }
}
