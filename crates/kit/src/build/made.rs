//! What an object was made of, as its build saw it: a record beside the object, for whoever attests it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_oci::regular;
use skep_spec::Digest;

use super::lock::{Lock, Pin};

const VERSION: u32 = 1;

/// The record of one object for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Version of this file's form.
    version: u32,
    /// The object that it tells of.
    pub object: Digest,
    /// clang's version, where anything was compiled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clang: Option<String>,
    /// Arguments for clang.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// libbpf's headers, where one was included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Digest>,
    /// The kernel types of `vmlinux.h`, where that was included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Pin>,
    /// Every file that was read: of the project by its name in there, others by their path.
    pub files: BTreeMap<String, Digest>,
}

impl Made {
    /// Where the record of an object lies.
    #[must_use]
    pub fn beside(object: &Path) -> PathBuf {
        object.with_extension("json")
    }

    /// Reads the record of an object.
    ///
    /// # Errors
    /// There is none, or it is none that this version reads.
    pub fn read(object: &Path) -> io::Result<Self> {
        let made: Self = serde_json::from_slice(&regular::bytes(&Self::beside(object))?)?;
        match made.version {
            VERSION => Ok(made),
            other => Err(io::Error::other(format!("it has version {other}"))),
        }
    }

    /// Adds what all objects of a build have in common.
    pub(super) fn add(&mut self, read: &Read) {
        self.files.extend(read.files.clone());
    }

    /// What is written beside an object.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, io::Error> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// What has been read so far for one object.
#[derive(Debug, Default)]
pub(super) struct Read {
    files: BTreeMap<String, Digest>,
    is_compiled: bool,
    with_headers: bool,
    with_types: bool,
}

impl Read {
    /// Adds a file of the project, as it lies now.
    pub(super) fn add(&mut self, folder: &Path, path: &Path) -> io::Result<()> {
        let real = path.canonicalize()?;
        let name = real.strip_prefix(folder.canonicalize()?).unwrap_or(&real);
        let digest = Digest::of(&regular::bytes(&real)?);
        self.files.insert(name.to_string_lossy().into_owned(), digest);
        Ok(())
    }

    /// Adds what clang says that it read for an object. What the build itself made in `include` is known by what that was
    /// made of.
    pub(super) fn compiled(
        &mut self,
        folder: &Path,
        include: &Path,
        rule: &[u8],
    ) -> io::Result<()> {
        self.is_compiled = true;
        let include = folder.join(include).canonicalize()?;
        for path in prerequisites(rule) {
            let path = folder.join(path);
            match path.canonicalize()?.strip_prefix(&include) {
                Ok(made) if made == Path::new("vmlinux.h") => self.with_types = true,
                Ok(_) => self.with_headers = true,
                Err(_) => self.add(folder, &path)?,
            }
        }
        Ok(())
    }

    /// The record of the object that became of it.
    pub(super) fn made(self, object: &[u8], lock: &Lock, types: Option<Pin>) -> Made {
        let clang = lock.clang().filter(|_| self.is_compiled).map(str::to_owned);
        Made {
            version: VERSION,
            object: Digest::of(object),
            flags: if clang.is_some() { lock.flags().to_vec() } else { Vec::new() },
            clang,
            headers: lock.headers().filter(|_| self.with_headers),
            types: types.filter(|_| self.with_types),
            files: self.files,
        }
    }
}

/// The files of a rule for make, as clang's `-MD` writes it: a target, a colon, and paths in which spaces, `#` and `$` are escaped.
fn prerequisites(rule: &[u8]) -> Vec<PathBuf> {
    let start = rule.iter().position(|byte| *byte == b':').map_or(rule.len(), |colon| colon + 1);
    let mut rest = rule.get(start..).unwrap_or_default().iter().copied().peekable();
    let (mut paths, mut path) = (Vec::new(), Vec::new());
    while let Some(byte) = rest.next() {
        match (byte, rest.peek()) {
            (b'\\', Some(b'\n')) => {}
            (b'\\', Some(b' ' | b'#')) | (b'$', Some(b'$')) => path.extend(rest.next()),
            (b' ' | b'\n', _) if path.is_empty() => {}
            (b' ' | b'\n', _) => paths.push(std::mem::take(&mut path)),
            _ => path.push(byte),
        }
    }
    paths.push(path);
    let named = paths.iter().filter(|path| !path.is_empty());
    named.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_its_files() {
        let rule = b"o: src/a.bpf.c \\\n  src/with\\ space\\#$$.h /usr/include/x.h\n";
        let paths = ["src/a.bpf.c", "src/with space#$.h", "/usr/include/x.h"].map(PathBuf::from);
        assert_eq!(prerequisites(rule), paths);
        assert_eq!(prerequisites(b"o:\n"), Vec::<PathBuf>::new());
        assert_eq!(prerequisites(b""), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_record_of_another_version_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let object = folder.path().join("a.bpf.o");
        let made = Read::default().made(b"elf", &Lock::empty(), None);
        std::fs::write(Made::beside(&object), made.to_bytes().unwrap()).unwrap();
        assert_eq!(Made::read(&object).unwrap(), made);
        let other = Made { version: 2, ..made };
        std::fs::write(Made::beside(&object), other.to_bytes().unwrap()).unwrap();
        Made::read(&object).unwrap_err();
    }
}
