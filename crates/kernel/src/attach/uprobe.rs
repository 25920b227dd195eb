//! Uprobes: from a binary and a symbol to an offset in a file.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use object::elf::FileHeader64;
use object::read::elf::VersionTable;
use object::{Object, ObjectSymbol, Symbol, SymbolIndex};
use serde::{Deserialize, Serialize};
use skep_object::usdt::in_file;
use skep_spec::Target;

use super::{AttachPlan, Link, failed, perf};
use crate::error::KernelError;
use crate::program::Program;

/// Largest binary that is read for a symbol, in bytes.
const MOST: u64 = 1 << 30;

pub(super) fn attach(
    program: &Program,
    binary: &str,
    (function, offset): (&str, u64),
    ret: bool,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    if binary.is_empty() {
        let nowhere = io::Error::from_raw_os_error(libc::EINVAL);
        return Err(failed(program, plan, nowhere)
            .with_hint("name a binary and a function: uprobe//path:function"));
    }
    let (path, place) = find(binary, function, offset)?;
    let place = perf::UserPlace { offset: place, semaphore: 0, ret };
    perf::uprobe_at(program, &path, place, plan)
}

/// The file of a binary, and which of its bytes is `offset` into a function, or without one into the file.
pub(super) fn find(
    binary: &str,
    function: &str,
    offset: u64,
) -> Result<(PathBuf, u64), KernelError> {
    let path = find_file(binary)?;
    let start = if function.is_empty() { 0 } else { start_of(&path, function)? };
    let size = fs::metadata(&path)
        .map_err(|e| KernelError::new("look at", path.display().to_string(), e))?
        .len();
    match start.checked_add(offset).filter(|place| *place < size) {
        Some(place) => Ok((path, place)),
        None => {
            let file = path.display();
            let of = if function.is_empty() { String::new() } else { format!("'{function}' in ") };
            let thing = format!("byte {offset:#x} of {of}{file}");
            Err(KernelError::unsupported("find", thing, format!("the file ends at byte {size:#x}"))
                .with_hint("behind + comes an offset in bytes, into the function or, without one, into the file"))
        }
    }
}

/// The file of a binary.
pub(super) fn find_file(binary: &str) -> Result<PathBuf, KernelError> {
    find_binary(binary).ok_or_else(|| {
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        KernelError::new("find", format!("the binary '{binary}'"), missing)
            .with_hint("name an absolute path, or a library or program in the usual folders")
    })
}

fn start_of(path: &Path, function: &str) -> Result<u64, KernelError> {
    symbol_offset(path, function).map_err(|e| {
        let file = path.display();
        KernelError::new("find", format!("the function '{function}' in {file}"), e)
            .with_hint(format!("is '{function}' a function of {file}? see nm -D"))
    })
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Of its file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// The file that the binary of a target is now: of uprobes, of those at all functions that a pattern fits, of USDT; none where it
/// is not there, and of other targets.
#[must_use]
pub fn file_of(target: &Target) -> Option<FileId> {
    let metadata = fs::metadata(find_binary(target.binary()?)?).ok()?;
    Some(FileId { device: metadata.dev(), inode: metadata.ino() })
}

/// An absolute path as it is; a bare name in the usual folders of libraries and programs.
fn find_binary(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.is_absolute() {
        return path.is_file().then(|| path.to_path_buf());
    }
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = [
        "/lib",
        "/usr/lib",
        "/lib64",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/bin",
        "/bin",
        "/usr/sbin",
        "/sbin",
    ];
    let all = folders.iter().flat_map(|folder| {
        [Path::new(folder).join(&multiarch).join(name), Path::new(folder).join(name)]
    });
    all.into_iter().find(|path| path.is_file())
}

/// The offset in the file of a function: its address, less where its segment is loaded, plus where that lies.
fn symbol_offset(path: &Path, function: &str) -> io::Result<u64> {
    let bytes = read(path)?;
    let file = parse(&bytes)?;
    let (name, version) = match function.split_once('@') {
        Some((name, version)) => (name, Some(version.trim_start_matches('@'))),
        None => (function, None),
    };
    let versions = Versions::of(&file);
    // `.symtab` may have a version in the name; `.dynsym` has them in a table beside it.
    let is_it = |symbol: &Symbol<'_, '_>, dynamic: bool| {
        let whole = symbol.name().unwrap_or_default();
        let (own, in_name) = whole.split_once('@').unwrap_or((whole, ""));
        let is = |wanted: &str| match dynamic {
            true => versions.is(symbol.index(), wanted),
            false => in_name.trim_start_matches('@') == wanted,
        };
        is_callable(symbol) && own == name && version.is_none_or(is)
    };
    let found = file.symbols().find(|symbol| is_it(symbol, false));
    let address = found
        .or_else(|| file.dynamic_symbols().find(|symbol| is_it(symbol, true)))
        .map(|symbol| symbol.address())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
    in_file(&file, address).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// The offsets in a file of all functions whose name `is_it`.
pub(super) fn offsets(path: &Path, is_it: &dyn Fn(&str) -> bool) -> io::Result<BTreeSet<u64>> {
    let bytes = read(path)?;
    let file = parse(&bytes)?;
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let wanted = symbols.filter(|symbol| is_callable(symbol) && symbol.name().is_ok_and(is_it));
    Ok(wanted.filter_map(|symbol| in_file(&file, symbol.address())).collect())
}

/// Whether a file has a function whose name `is_it`.
pub(super) fn has_function(path: &Path, is_it: &dyn Fn(&str) -> bool) -> io::Result<bool> {
    let bytes = read(path)?;
    let file = parse(&bytes)?;
    let mut symbols = file.symbols().chain(file.dynamic_symbols());
    Ok(symbols.any(|symbol| is_callable(&symbol) && symbol.name().is_ok_and(is_it)))
}

fn is_callable(symbol: &Symbol<'_, '_>) -> bool {
    symbol.is_definition() && symbol.kind() == object::SymbolKind::Text
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::metadata(path)?.len() > MOST {
        true => Err(io::Error::from_raw_os_error(libc::EFBIG)),
        false => fs::read(path),
    }
}

fn parse(bytes: &[u8]) -> io::Result<object::File<'_>> {
    object::File::parse(bytes).map_err(|_| io::Error::from_raw_os_error(libc::ENOEXEC))
}

/// The versions of dynamic symbols, where a binary has any.
struct Versions<'a>(
    Option<(object::Endianness, VersionTable<'a, FileHeader64<object::Endianness>>)>,
);

impl<'a> Versions<'a> {
    fn of(file: &object::File<'a>) -> Self {
        let object::File::Elf64(elf) = file else { return Self(None) };
        let table = elf.elf_section_table().versions(elf.endian(), elf.data());
        Self(table.ok().flatten().map(|table| (elf.endian(), table)))
    }

    fn is(&self, symbol: SymbolIndex, wanted: &str) -> bool {
        let Some((endian, table)) = &self.0 else { return false };
        let version = table.version(table.version_index(*endian, symbol).index());
        version.is_ok_and(|found| found.is_some_and(|found| found.name() == wanted.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_function() {
        let own = std::env::current_exe().unwrap();
        assert!(symbol_offset(&own, "main").unwrap() > 0);
        let error = symbol_offset(&own, "no_such_function").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(find_binary(own.to_str().unwrap()), Some(own));
    }

    #[test]
    fn a_function_may_be_named_with_its_version() {
        // A library of our own, so that no machine's C library decides.
        let folder = tempfile::tempdir().unwrap();
        let (c, map) = (folder.path().join("v.c"), folder.path().join("v.map"));
        let library = folder.path().join("libv.so");
        std::fs::write(
            &c,
            "int old(void) { return 1; }\nint fresh(void) { return 2; }\n\
             __asm__(\".symver old,act@V1\");\n__asm__(\".symver fresh,act@@V2\");\n",
        )
        .unwrap();
        std::fs::write(&map, "V1 { global: act; local: *; };\nV2 { global: act; } V1;\n").unwrap();
        let mut clang = std::process::Command::new("clang");
        clang.args(["-shared", "-nostdlib", "-fPIC", "-s", "-fuse-ld=lld", "-o"]).arg(&library);
        clang.arg(&c).arg(format!("-Wl,--version-script={}", map.display()));
        assert!(clang.status().unwrap().success());
        let at = |name: &str| symbol_offset(&library, name);
        let (old, fresh) = (at("act@V1").unwrap(), at("act@@V2").unwrap());
        assert_ne!(old, fresh);
        assert_eq!(at("act@V2").unwrap(), fresh);
        assert!([old, fresh].contains(&at("act").unwrap()));
        assert_eq!(at("act@V3").unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn what_is_no_binary() {
        assert_eq!(find_binary("/no/such/file"), None);
        let error = symbol_offset(Path::new("/etc/passwd"), "main").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC));
    }
}
