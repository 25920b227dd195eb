//! BPF objects inside other files: programs built with a libbpf skeleton carry their ELF as bytes.

use std::ops::Range;

use crate::limits;

const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const EM_BPF: u16 = 247;
const SHT_NOBITS: u32 = 8;
/// Most headers that are followed, so that a file full of false ones ends soon.
const TRIES: usize = 1024;

/// Finds the BPF objects in a file, in order, none inside another.
///
/// Each range holds a whole 64-bit little-endian relocatable ELF of machine 247, up to the end of its last
/// section or of its section headers. A file that is such an object itself gives one range.
#[must_use]
pub fn objects(binary: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut tries = TRIES;
    while let Some(start) = next_magic(binary, from) {
        from = start + 4;
        let bytes = binary.get(start..).unwrap_or(&[]);
        let Some(header) = bytes.get(..HEADER).filter(|header| is_bpf(header)) else { continue };
        if tries == 0 {
            break;
        }
        tries -= 1;
        if let Some(length) = object_length(bytes, header) {
            found.push(start..start + length);
            from = start + length;
            if found.len() == limits::CARVED {
                break;
            }
        }
    }
    found
}

fn next_magic(binary: &[u8], from: usize) -> Option<usize> {
    let rest = binary.get(from..)?;
    rest.windows(4).position(|w| w == b"\x7fELF").map(|at| from + at)
}

fn is_bpf(header: &[u8]) -> bool {
    let relocatable = u16_at(header, 16) == Some(1);
    header.get(4..7) == Some(&[2, 1, 1]) && relocatable && u16_at(header, 18) == Some(EM_BPF)
}

fn object_length(bytes: &[u8], header: &[u8]) -> Option<usize> {
    let table = usize::try_from(u64_at(header, 40)?).ok()?;
    let count = usize::from(u16_at(header, 60)?);
    if usize::from(u16_at(header, 58)?) != SECTION_HEADER || table == 0 || count == 0 {
        return None;
    }
    let mut end = table.checked_add(count.checked_mul(SECTION_HEADER)?)?;
    let headers = bytes.get(table..end)?;
    for section in headers.as_chunks::<SECTION_HEADER>().0 {
        if u32_at(section, 4)? != SHT_NOBITS {
            let offset = usize::try_from(u64_at(section, 24)?).ok()?;
            let size = usize::try_from(u64_at(section, 32)?).ok()?;
            end = end.max(offset.checked_add(size)?);
        }
    }
    (end <= bytes.len() && end <= limits::OBJECT_BYTES).then_some(end)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}
