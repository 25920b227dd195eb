//! Layers: a gzipped tar of exactly one regular file.
//!
//! What is written has one form (stored deflate blocks, no times, no owners), so that the same file gives the same
//! digest everywhere. What is read may come from any packer, and is hostile until its digest says otherwise.

mod files;

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Crc;
use flate2::bufread::GzDecoder;
use skep_spec::{Digest, Digesting};

use self::files::Files;
use crate::ustar::{BLOCK, header};

/// Largest file in a layer, in bytes.
pub const FILE_MAX: u64 = 64 * 1024 * 1024;

/// Room for tar's own blocks, pax headers and padding beside the file.
const TAR_OVERHEAD: u64 = 1024 * 1024;
/// The longest stored block that deflate has (RFC 1951 §3.2.4).
const STORED_MAX: usize = 65_535;
/// Bytes of a file that are hashed at once: they stay in the processor's cache.
const CHUNK: usize = 64 * 1024;

/// The one file of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in the tar, as it came: for people, once it is escaped. Nothing is ever written to it.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Why bytes are not a layer, or a file cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// Not gzip, or damaged.
    #[error("the layer cannot be decompressed: {0}")]
    Gzip(String),
    /// Something after the gzip member.
    #[error("the layer has {0} bytes after its end")]
    Trailing(usize),
    /// Not tar, or damaged.
    #[error("the layer is not a tar archive: {0}")]
    Tar(String),
    /// A link, folder, device …
    #[error("the layer holds '{name}', which is not a regular file: a layer is one regular file")]
    NotRegular {
        /// Its path.
        name: String,
    },
    /// No file.
    #[error("the layer is empty: a layer is one regular file")]
    Empty,
    /// More than one file.
    #[error("the layer holds a second file, '{name}': a layer is one regular file")]
    Second {
        /// Its path.
        name: String,
    },
    /// Too large once decompressed.
    #[error(
        "the layer has more than the {max} bytes allowed for its file, or more than 1 MiB beside it"
    )]
    TooLarge {
        /// Bytes that it may have.
        max: u64,
    },
    /// A name that the tar header has no room for.
    #[error("'{0}' is no name for a layer's file: 1 to 100 bytes of printable ASCII")]
    Name(String),
}

impl LayerError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "layer.gzip",
            Self::Trailing(_) => "layer.trailing",
            Self::Tar(_) => "layer.tar",
            Self::NotRegular { .. } => "layer.not-regular",
            Self::Empty | Self::Second { .. } => "layer.count",
            Self::TooLarge { .. } => "layer.too-large",
            Self::Name(_) => "layer.name",
        }
    }
}

/// Packs one file: the same name and bytes always give the same layer.
///
/// # Errors
/// When the name is not 1 to 100 bytes of printable ASCII, or the file is larger than [`FILE_MAX`].
pub fn write(name: &str, data: &[u8]) -> Result<Vec<u8>, LayerError> {
    if data.len() as u64 > FILE_MAX {
        return Err(LayerError::TooLarge { max: FILE_MAX });
    }
    Ok(gzip_stored(&tar_of(name, data)?))
}

/// The uncompressed tar of [`write`]: what an image config's `diff_ids` hash.
///
/// # Errors
/// When the name is not 1 to 100 bytes of printable ASCII.
pub fn tar_of(name: &str, data: &[u8]) -> Result<Vec<u8>, LayerError> {
    let mut tar = Vec::with_capacity(data.len() + 4 * BLOCK);
    tar.extend_from_slice(&header(name, data.len())?);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    tar.resize(tar.len() + 2 * BLOCK, 0); // the end of an archive
    Ok(tar)
}

/// Unpacks one file of at most `max` bytes, which is what it takes of memory, whatever is in the layer.
///
/// # Errors
/// When it is not a gzipped tar of exactly one regular file, has bytes after its end, or is larger than `max`:
/// decompression stops there.
pub fn read(layer: &[u8], max: u64) -> Result<File, LayerError> {
    let (name, data) = read_within(layer, max, &Room::new(max))?;
    Ok(File { name, data })
}

/// What is made of a layer's file.
pub(crate) trait Taken: Clone + Send {
    /// Reads a file that is said to have so many bytes; gives it, and how many there were.
    fn take(file: &mut impl Read, size: u64) -> io::Result<(Self, u64)>;
    /// The digest of its bytes.
    fn digest(&self) -> Digest;
    /// How many they are.
    fn size(&self) -> u64;
}

impl Taken for Vec<u8> {
    fn take(file: &mut impl Read, size: u64) -> io::Result<(Self, u64)> {
        let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.read_to_end(&mut data)?;
        let read = data.len() as u64;
        Ok((data, read))
    }

    fn digest(&self) -> Digest {
        Digest::of(self)
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

/// The digest and size of a file that nobody keeps.
#[derive(Clone)]
pub(crate) struct Hashed(Digest, u64);

impl Taken for Hashed {
    fn take(file: &mut impl Read, _size: u64) -> io::Result<(Self, u64)> {
        let (mut chunk, mut digesting, mut size) = (vec![0; CHUNK], Digesting::default(), 0);
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Ok((Self(digesting.digest(), size), size));
            }
            digesting.update(&chunk[..read]);
            size += read as u64;
        }
    }

    fn digest(&self) -> Digest {
        self.0
    }

    fn size(&self) -> u64 {
        self.1
    }
}

/// How many bytes the files of several layers may still take together, also while they are read at once.
pub(crate) struct Room(AtomicU64);

impl Room {
    pub(crate) const fn new(bytes: u64) -> Self {
        Self(AtomicU64::new(bytes))
    }

    /// Takes so many, or says how many are left.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), u64> {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, fetch, |left| left.checked_sub(bytes)).map(drop)
    }
}

/// [`read`], of a file that takes its bytes out of a room: its name, and what is made of it.
pub(crate) fn read_within<T: Taken>(
    layer: &[u8],
    max: u64,
    room: &Room,
) -> Result<(String, T), LayerError> {
    let mut rest = layer;
    let state = Inflation { limit: Cell::new(TAR_OVERHEAD), ..Inflation::default() };
    let inflated = Inflated { decoder: GzDecoder::new(&mut rest), state: &state };
    let mut files = Files::new(inflated);
    let found = the_file(&mut files, max, room, &state);
    // Damage anywhere counts before what the tar says, and the checksum is at the end.
    if found.is_err() {
        state.limit.set(max.saturating_add(TAR_OVERHEAD));
    }
    let end = io::copy(&mut files.into_inner(), &mut io::sink());
    match state.broken.into_inner() {
        Some(why) => Err(LayerError::Gzip(why)),
        None if state.over.get() || end.is_err() => Err(LayerError::TooLarge { max }),
        None if !rest.is_empty() => Err(LayerError::Trailing(rest.len())),
        None => found,
    }
}

/// The one file of a tar.
fn the_file<T: Taken>(
    files: &mut Files<Inflated<'_, '_>>,
    max: u64,
    room: &Room,
    state: &Inflation,
) -> Result<(String, T), LayerError> {
    let mut only = None;
    let broken = |e: io::Error| LayerError::Tar(e.to_string());
    while let Some(entry) = files.next().map_err(broken)? {
        let (name, size) = (entry.name, entry.size);
        if !entry.is_regular {
            return Err(LayerError::NotRegular { name: shown(&name) });
        }
        if only.is_some() {
            return Err(LayerError::Second { name: shown(&name) });
        }
        if size > max {
            return Err(LayerError::TooLarge { max });
        }
        room.take(size).map_err(|max| LayerError::TooLarge { max })?;
        state.limit.set(TAR_OVERHEAD.saturating_add(size));
        let (file, read) = T::take(&mut files.body(size), size).map_err(broken)?;
        if read != size {
            return Err(LayerError::Tar(format!("'{}' is cut off", shown(&name))));
        }
        files.skip_padding(size).map_err(broken)?;
        only = Some((name, file));
    }
    only.ok_or(LayerError::Empty)
}

/// What a stranger wrote must not speak to the terminal.
fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

/// How far a layer is decompressed, and what ended that.
#[derive(Default)]
struct Inflation {
    /// Most bytes. Before the file's own size is known, only what may stand in front of it: tar keeps that in memory.
    limit: Cell<u64>,
    taken: Cell<u64>,
    /// There is more than the limit.
    over: Cell<bool>,
    /// What is wrong with the gzip member.
    broken: RefCell<Option<String>>,
}

/// What is in a gzip member, up to the limit.
struct Inflated<'a, 'layer> {
    decoder: GzDecoder<&'a mut &'layer [u8]>,
    state: &'a Inflation,
}

impl Read for Inflated<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Inflation { limit, taken, over, broken } = self.state;
        if broken.borrow().is_some() || over.get() {
            return Err(io::Error::other("it is not read any further"));
        }
        // One more than may be, which tells the end from the limit.
        let room = limit.get().saturating_sub(taken.get()).saturating_add(1);
        let most = buffer.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let read = self.decoder.read(&mut buffer[..most]);
        let read = read.inspect_err(|error| drop(broken.replace(Some(error.to_string()))))?;
        taken.set(taken.get() + read as u64);
        over.set(taken.get() > limit.get());
        match over.get() {
            true => Err(io::Error::other("it is larger than the limit")),
            false => Ok(read),
        }
    }
}

/// A gzip member (RFC 1952) of stored blocks: no name, mtime 0, OS 255 (unknown).
fn gzip_stored(data: &[u8]) -> Vec<u8> {
    let blocks = data.len().div_ceil(STORED_MAX).max(1);
    let mut out = Vec::with_capacity(data.len() + blocks * 5 + 18);
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    for (number, block) in (1..).zip(data.chunks(STORED_MAX)) {
        let length = block.len() as u16;
        out.push(u8::from(number == blocks)); // the last one says so
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let mut crc = Crc::new();
    crc.update(data);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn deflated(tar: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(tar).unwrap();
        encoder.finish().unwrap()
    }

    fn tar_with(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        deflated(&builder.into_inner().unwrap())
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, path: &str, data: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, path, data).unwrap();
    }

    #[test]
    fn the_same_file_gives_the_same_digest_for_ever() {
        let digest = skep_spec::Digest::of(&write("bpf.o", &[7; 70_000]).unwrap());
        insta::assert_snapshot!(digest, @"sha256:3bcf917d455477d489921eb5199adeef0e01b2cc35ce98db2a5634929a8badb7");
    }

    #[test]
    fn what_is_written_is_what_tar_and_gzip_read() {
        for size in [0, 1, 511, 512, 513, STORED_MAX, STORED_MAX + 1, 200_000] {
            let data = vec![b'x'; size];
            let layer = write("bpf.o", &data).unwrap();
            assert_eq!(read(&layer, FILE_MAX).unwrap(), File { name: "bpf.o".into(), data });
            assert_eq!(layer[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        }
    }

    #[test]
    fn other_packers_layers_are_read() {
        let long = "a/".repeat(90) + "bpf.o"; // needs a GNU long name
        let file = read(&tar_with(|b| add(b, &long, b"ELF")), 100).unwrap();
        assert_eq!(file, File { name: long, data: b"ELF".to_vec() });
        let pax = tar_with(|b| {
            b.append_pax_extensions([("mtime", b"1.5".as_slice())]).unwrap();
            add(b, "bpf.o", b"ELF");
        });
        assert_eq!(read(&pax, 100).unwrap().data, b"ELF");
    }

    #[test]
    fn refuses_what_is_not_one_regular_file() {
        let link = tar_with(|b| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            b.append_link(&mut header, "bpf.o", "/etc/passwd").unwrap();
        });
        let folder = tar_with(|b| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            b.append_data(&mut header, "x\u{1b}[2J/", std::io::empty()).unwrap();
        });
        let two = tar_with(|b| {
            add(b, "one", b"1");
            add(b, "two", b"2");
        });
        let mut trailing = write("bpf.o", b"ELF").unwrap();
        trailing.push(0);
        let mut cut = write("bpf.o", b"ELF").unwrap();
        cut.truncate(400);
        let mut checksum = write("bpf.o", b"ELF").unwrap();
        let end = checksum.len();
        checksum[end - 6] ^= 1;
        let errors = [
            read(&link, 100).unwrap_err(),
            read(&folder, 100).unwrap_err(),
            read(&two, 100).unwrap_err(),
            read(&tar_with(|_| ()), 100).unwrap_err(),
            read(&deflated(b"not tar"), 100).unwrap_err(),
            read(&deflated(&[b'x'; 2000]), 100).unwrap_err(),
            read(&trailing, 100).unwrap_err(),
            read(&cut, 100).unwrap_err(),
            read(&checksum, 100).unwrap_err(),
            read(b"", 100).unwrap_err(),
            read(&write("bpf.o", &[0; 101]).unwrap(), 100).unwrap_err(),
            write("two words", b"").unwrap_err(),
            write(&"x".repeat(101), b"").unwrap_err(),
        ];
        insta::assert_snapshot!(errors.map(|e| e.to_string()).join("\n"));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = deflated(&vec![0; 32 * 1024 * 1024]); // 32 KiB that want to be 32 MiB
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(read(&bomb, 1000).unwrap_err(), LayerError::TooLarge { max: 1000 });
        let mut header = header("bpf.o", 5).unwrap();
        header[124..136].copy_from_slice(b"77777777777\0"); // lies about its size
        let sum: u32 = header
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
            .sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(read(&deflated(&header), 1000).unwrap_err(), LayerError::TooLarge { max: 1000 });
    }

    proptest! {
        #[test]
        fn any_file_comes_back(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(read(&write("f", &data).unwrap(), FILE_MAX).unwrap().data, data);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            prop_assert!(read(&bytes, 1000).is_err());
            let _ = read(&deflated(&bytes), 1000);
        }

        #[test]
        fn a_damaged_tar_never_panics(at in 0usize..1024, to in any::<u8>()) {
            let mut tar = tar_of("bpf.o", &[9; 600]).unwrap();
            tar[at] = to;
            let _ = read(&deflated(&tar), 1000);
        }
    }
}
