//! What was desired last, on the disk: whole or as before, and by a newer skepd's word not touched by an older one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_api::Wanted;
use skep_oci::durable;
use skep_spec::{Digest, ServiceName};

use crate::error::NodeError;

/// Begins the file: what it is, which version of it, and the checksum of what follows.
const MAGIC: &str = "skep-desired";
/// The version that this skepd writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Most bytes of the file: twice the largest request.
const MOST_BYTES: u64 = 2 * skep_api::MAX_BODY as u64;

/// What was desired last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Raised by every change.
    pub(super) revision: u64,
    /// When it was said, in seconds since 1970.
    pub(super) at: u64,
    /// Who did.
    pub(super) by: String,
    pub(super) prune: bool,
    /// Which services its plan was to remove: what came since stays.
    #[serde(default)]
    pub(super) removes: BTreeSet<ServiceName>,
    /// Whether the node was brought there since.
    pub(super) reached: bool,
    pub(super) services: Vec<Line>,
}

/// A service of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) wanted: Wanted,
    /// What its package was when that was planned.
    pub(super) index: Digest,
}

/// The file of a state folder.
pub(super) fn file(state: &Path) -> PathBuf {
    state.join("desired")
}

/// Reads it; none where nothing was ever desired.
pub(super) fn read(path: &Path) -> Result<Option<Record>, NodeError> {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(NodeError::Read { path: path.to_owned(), source }),
        Ok(_) => {}
    }
    let record = parse(&bytes);
    record.map(Some).map_err(|why| NodeError::DesiredFile { path: path.to_owned(), why })
}

fn parse(bytes: &[u8]) -> Result<Record, String> {
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("it has more than {MOST_BYTES} bytes"));
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("its first line has no end")?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let head = std::str::from_utf8(head).map_err(|_| "its first line is not text")?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err("it is no file of what a node is to be".to_owned());
    }
    match words.next().and_then(|version| version.parse::<u32>().ok()) {
        Some(1..=VERSION) => {}
        Some(version) => {
            return Err(format!(
                "it has version {version}, which a newer skepd wrote: this one reads up to {VERSION}"
            ));
        }
        None => return Err("its version is no number".to_owned()),
    }
    if words.next() != Some(&Digest::of(body).to_string()) {
        return Err("it is damaged: its checksum is that of something else".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Writes it, whole on the disk when this returns.
pub(super) fn write(path: &Path, record: &Record) -> Result<(), NodeError> {
    let written = |source| NodeError::Write { path: path.to_owned(), source };
    let body = serde_json::to_vec(record).map_err(|error| written(error.into()))?;
    let mut bytes = format!("{MAGIC} {VERSION} {}\n", Digest::of(&body)).into_bytes();
    bytes.extend(body);
    durable::replace(path, &bytes, 0o640).map_err(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let package = skep_api::PackageSource::Reference("acme/exec:1.0.0".parse().unwrap());
        let (service, params) = ("exec".parse().unwrap(), Default::default());
        let wanted = Wanted { service, package, params, held: None, stopped: false };
        let services = vec![Line { wanted, index: Digest::of(b"exec") }];
        let by = "root".to_owned();
        let removes = ["old".parse().unwrap()].into();
        Record { revision: 7, at: 1, by, prune: true, removes, reached: false, services }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        assert_eq!(read(&path).unwrap(), None);
        write(&path, &record()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(record()));
    }

    #[test]
    fn what_is_damaged_cut_newer_or_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        write(&path, &record()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert!(parse(&other).is_err(), "damaged at {at}");
        }
        let text = String::from_utf8(whole).unwrap();
        let newer = parse(text.replacen(" 1 ", " 2 ", 1).as_bytes()).unwrap_err();
        assert!(newer.contains("which a newer skepd wrote"), "{newer}");
        let large = vec![b' '; usize::try_from(MOST_BYTES).unwrap() + 1];
        assert!(parse(&large).unwrap_err().contains("more than"));
    }
}
