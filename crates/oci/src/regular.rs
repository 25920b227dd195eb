//! Files that others may have put there. What is no regular file is refused: a pipe would be waited for without end, and
//! a device may do something when it is opened.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Most bytes of a text, such as a skep.toml or a key.
const TEXT_MAX: u64 = 4 << 20;
/// Most bytes of anything else; programs that embed objects, and kernels, are large.
const BYTES_MAX: u64 = 1 << 30;

/// Opens a file for reading; links are followed.
///
/// # Errors
/// It is not there, may not be read, or is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    checked(File::options().read(true).custom_flags(AT_ONCE).open(path)?)
}

/// Opens a file that is ours alone for reading and appending, and makes it where it is not there. Links are not followed:
/// what is written through one, symbolic or hard, changes a file elsewhere.
///
/// # Errors
/// It may not be read and written, is a link, or is no regular file.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).read(true).append(true).custom_flags(AT_ONCE | libc::O_NOFOLLOW);
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => linked("a link"),
        _ => error,
    });
    let file = checked(file?)?;
    match file.metadata()?.nlink() > 1 {
        true => Err(linked("a file with other names as well (hard links)")),
        false => Ok(file),
    }
}

fn linked(what: &str) -> io::Error {
    let why = format!(
        "it is {what}, and what is written to it would be written elsewhere, too: remove it"
    );
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Reads a whole text of at most 4 MiB.
///
/// # Errors
/// As [`open`], and when it is longer or not UTF-8.
pub fn text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read(path, TEXT_MAX)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text (UTF-8)"))
}

/// Reads a whole file of at most 1 GiB.
///
/// # Errors
/// As [`open`], and when it is longer.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    read(path, BYTES_MAX)
}

/// A pipe is opened without waiting for its other end, a terminal without taking it.
const AT_ONCE: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

fn checked(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    let (error, what) = if kind.is_file() {
        return Ok(file);
    } else if kind.is_dir() {
        (io::ErrorKind::IsADirectory, "a folder")
    } else if kind.is_fifo() {
        (io::ErrorKind::InvalidInput, "a pipe")
    } else {
        (io::ErrorKind::InvalidInput, "a device")
    };
    Err(io::Error::new(error, format!("it is {what}, not a file")))
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    // The length is 0 in /proc, and a file may grow.
    if size <= limit {
        file.take(limit + 1).read_to_end(&mut bytes)?;
    }
    if size > limit || bytes.len() as u64 > limit {
        let why = format!("it has more than the {limit} bytes allowed");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", path("link")).unwrap();
        let refused = |name: &str| text(&path(name)).unwrap_err().to_string();
        assert_eq!(refused("pipe"), "it is a pipe, not a file");
        assert_eq!(refused("link"), "it is a device, not a file");
        assert_eq!(refused("."), "it is a folder, not a file");
        assert!(append(&path("pipe")).is_err());
        assert_eq!(open(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(path("file"), [b'x'; 3]).unwrap();
        assert_eq!(text(&path("file")).unwrap(), "xxx");
        assert_eq!(bytes(&path("file")).unwrap(), b"xxx");
        assert!(read(&path("file"), 2).unwrap_err().to_string().contains("more than the 2 bytes"));
        assert!(text(Path::new("/proc/self/stat")).is_ok());
        File::options().write(true).open(path("file")).unwrap().set_len(BYTES_MAX + 1).unwrap();
        assert!(bytes(&path("file")).is_err());
    }
}
