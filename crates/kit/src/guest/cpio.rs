//! An initramfs: the "newc" cpio archive of Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{GuestError, file};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive that grows.
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Archive {
    pub fn new() -> Self {
        Self { bytes: Vec::new(), folders: BTreeSet::new(), inode: 0 }
    }

    /// A folder, with those above it.
    pub fn folder(&mut self, path: &str) {
        if path.is_empty() || self.folders.contains(path) {
            return;
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        self.folders.insert(path.to_owned());
        self.entry(path, FOLDER | 0o755, 0, &[]);
    }

    /// A file of `mode`, with the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), GuestError> {
        let size = u32::try_from(bytes.len()).map_err(|_| GuestError::TooLarge(path.into()))?;
        self.folder(path.rsplit_once('/').map_or("", |(above, _)| above));
        self.entry(path, FILE | (mode & 0o777), size, bytes);
        Ok(())
    }

    /// What lies at `from`, a folder whole; links in it stay links.
    pub fn copy(&mut self, from: &Path, to: &str) -> Result<(), GuestError> {
        let metadata = fs::metadata(from).map_err(|source| file("read", from, source))?;
        if !metadata.is_dir() {
            let bytes = fs::read(from).map_err(|source| file("read", from, source))?;
            return self.file(to, metadata.permissions().mode(), &bytes);
        }
        self.folder(to);
        let mut entries = fs::read_dir(from)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| file("read", from, source))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let to = format!("{to}/{}", name.to_string_lossy());
            if path.is_symlink() {
                let target = fs::read_link(&path).map_err(|source| file("read", &path, source))?;
                let target = target.to_string_lossy();
                self.entry(&to, LINK | 0o777, target.len() as u32, target.as_bytes());
            } else {
                self.copy(&path, &to)?;
            }
        }
        Ok(())
    }

    /// The archive's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, size: u32, bytes: &[u8]) {
        self.inode += 1;
        let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
        let name_size = path.len() as u32 + 1;
        // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_is_what_cpio_lists() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/x"), "hello").unwrap();
        std::os::unix::fs::symlink("sub/x", folder.path().join("link")).unwrap();
        let mut archive = Archive::new();
        archive.file("a/b", 0o755, b"abc").unwrap();
        archive.copy(folder.path(), "c").unwrap();
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let names: Vec<_> = names(&bytes);
        assert_eq!(names, ["a", "a/b", "c", "c/link", "c/sub", "c/sub/x", "TRAILER!!!"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Archive::new().copy(Path::new("/nowhere"), "x").unwrap_err();
        assert_eq!(error.to_string(), "can't read /nowhere for the guest");
    }

    /// Reads the archive back, by the format's rules.
    fn names(bytes: &[u8]) -> Vec<String> {
        let (mut names, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + n * 8..at + 14 + n * 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, name) = (field(6), field(11));
            names.push(String::from_utf8(bytes[at + 110..at + 109 + name].to_vec()).unwrap());
            at = (at + 110 + name).next_multiple_of(4) + size;
            at = at.next_multiple_of(4);
        }
        names
    }
}
