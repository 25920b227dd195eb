//! A kernel's BTF, out of its packed image, without booting it.

use std::io::Read as _;
use std::path::Path;

use super::KernelsError;
use super::archive::filter;

/// The least that a whole kernel's BTF can be; smaller ones are a module's or chance.
const LEAST: usize = 100_000;
/// The most that an unpacked image may be.
const MOST: u64 = 512 << 20;

/// The raw BTF of a kernel image: x86 bzImage, arm64 Image.gz or EFI zboot, or a plain ELF.
///
/// # Errors
/// It cannot be read, or holds no BTF.
pub fn btf(image: &Path) -> Result<Vec<u8>, KernelsError> {
    let read = |source| KernelsError::File { action: "read", path: image.to_owned(), source };
    let packed = std::fs::read(image).map_err(read)?;
    if let Some(btf) = find(&packed) {
        return Ok(btf.to_vec());
    }
    for (magic, how) in MAGICS {
        for at in positions(&packed, magic) {
            let unpacked = match how {
                Some(program) => filter(program, &packed[at..])?,
                None => gunzip(&packed[at..]),
            };
            if let Some(btf) = find(&unpacked) {
                return Ok(btf.to_vec());
            }
        }
    }
    Err(KernelsError::NoBtf(image.to_owned()))
}

/// Magics of compressed streams and the program that unpacks them (`None`: by ourselves).
const MAGICS: [(&[u8], Option<&str>); 4] = [
    (b"\xfd7zXZ\0", Some("xz")),
    (b"\x28\xb5\x2f\xfd", Some("zstd")),
    (b"\x1f\x8b\x08", None),
    (b"\x02\x21\x4c\x18", Some("lz4")),
];

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // What follows the stream is not ours: keep what came out before.
    let _ = flate2::read::GzDecoder::new(bytes).take(MOST).read_to_end(&mut out);
    out
}

/// The largest consistent BTF in `bytes` (include/uapi/linux/btf.h: magic 0xeb9f, version 1, no flags).
fn find(bytes: &[u8]) -> Option<&[u8]> {
    let candidates = positions(bytes, b"\x9f\xeb\x01\x00").filter_map(|at| whole(bytes.get(at..)?));
    candidates.filter(|btf| btf.len() >= LEAST).max_by_key(|btf| btf.len())
}

fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes).map(|word| word as usize)
    };
    let (header, type_off, type_len, str_off, str_len) =
        (word(4)?, word(8)?, word(12)?, word(16)?, word(20)?);
    let fits = (24..=64).contains(&header) && type_off == 0 && str_off == type_len && str_len > 0;
    let end = header.checked_add(str_off)?.checked_add(str_len)?;
    let btf = bytes.get(..end).filter(|_| fits)?;
    // Strings begin and end with NUL.
    (btf.get(header + str_off) == Some(&0) && btf.last() == Some(&0)).then_some(btf)
}

fn positions<'a>(bytes: &'a [u8], magic: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = magic[0];
    bytes
        .iter()
        .enumerate()
        .filter(move |(at, byte)| **byte == first && bytes[*at..].starts_with(magic))
        .map(|(at, _)| at)
}
