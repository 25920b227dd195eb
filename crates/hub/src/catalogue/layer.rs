//! Layers: a gzipped tar of one file, of which no byte is believed.

use std::io::Read as _;
use std::path::Path;

/// Why a layer holds no file that we can read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The blob could not be read, or is no gzipped tar.
    #[error("it is not a gzipped tar")]
    Read(#[from] std::io::Error),
    /// Not one regular file.
    #[error("it holds {0}, it should hold one file")]
    Content(&'static str),
    /// A file larger than we read.
    #[error("its file has {size} bytes, at most {most} are read")]
    TooLarge {
        /// What the tar says.
        size: u64,
        /// The limit.
        most: u64,
    },
}

/// The one file in the layer at `path`, of at most `most` bytes.
pub fn file_in(path: &Path, most: u64) -> Result<Vec<u8>, LayerError> {
    let compressed = std::io::BufReader::new(std::fs::File::open(path)?);
    // a tar of one file has a header, padding and two blocks at its end; more is not read
    let plain = flate2::read::GzDecoder::new(compressed).take(most + (64 << 10));
    let mut archive = tar::Archive::new(plain);
    let mut found = None;
    for entry in archive.entries()? {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            return Err(LayerError::Content("something else than a file"));
        }
        if found.is_some() {
            return Err(LayerError::Content("several files"));
        }
        let size = entry.size();
        if size > most {
            return Err(LayerError::TooLarge { size, most });
        }
        let mut bytes = Vec::new();
        entry.take(most).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(LayerError::Content("a file that is cut off"));
        }
        found = Some(bytes);
    }
    found.ok_or(LayerError::Content("nothing"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn layer(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> tempfile::NamedTempFile {
        let mut tar = tar::Builder::new(Vec::new());
        build(&mut tar);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        gzip.write_all(&tar.into_inner().unwrap()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&gzip.finish().unwrap()).unwrap();
        file
    }

    fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    }

    #[test]
    fn one_file_is_read_and_anything_else_refused() {
        let one = layer(|tar| append(tar, "bpf.o", b"abc"));
        assert_eq!(file_in(one.path(), 3).unwrap(), b"abc");
        assert!(matches!(file_in(one.path(), 2), Err(LayerError::TooLarge { size: 3, most: 2 })));

        let none = layer(|_| ());
        assert!(matches!(file_in(none.path(), 9), Err(LayerError::Content("nothing"))));
        let two = layer(|tar| {
            append(tar, "a", b"a");
            append(tar, "b", b"b");
        });
        assert!(matches!(file_in(two.path(), 9), Err(LayerError::Content("several files"))));
        let link = layer(|tar| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, "a", "/etc/passwd").unwrap();
        });
        assert!(matches!(file_in(link.path(), 9), Err(LayerError::Content(_))));
        let mut text = tempfile::NamedTempFile::new().unwrap();
        text.write_all(b"not gzip").unwrap();
        assert!(matches!(file_in(text.path(), 9), Err(LayerError::Read(_))));
    }

    #[test]
    fn a_file_that_unpacks_to_very_much_is_not_read_to_its_end() {
        let zeros = layer(|tar| append(tar, "bpf.o", &vec![0; 8 << 20]));
        assert!(matches!(file_in(zeros.path(), 1 << 20), Err(LayerError::TooLarge { .. })));
    }
}
