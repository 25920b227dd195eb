//! The notes of a binary that describe its probes (`.note.stapsdt`, of sys/sdt.h). The binary is anybody's.

use object::{Object, ObjectSection, ObjectSegment};

/// One place of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Whose probe it is.
    pub provider: &'a str,
    /// What it is called.
    pub name: &'a str,
    /// How its arguments lie: `-4@%esi 8@-24(%rbp)`.
    pub arguments: &'a str,
    /// Bytes into the file.
    pub offset: u64,
    /// Bytes into the file; 0 is none.
    pub semaphore: u64,
}

/// What the linker moves when it moves the probes.
const BASE: &str = ".stapsdt.base";
const OWNER: &[u8] = b"stapsdt\0";
const KIND: u32 = 3;

/// All notes of a 64-bit binary in the byte order of this machine.
///
/// # Errors
/// It is no such binary, a note is cut off, or lies nowhere in the file: in words.
pub fn notes(bytes: &[u8]) -> Result<Vec<Note<'_>>, String> {
    let file = object::File::parse(bytes).map_err(|e| format!("it is no ELF file ({e})"))?;
    let little = cfg!(target_endian = "little");
    if !file.is_64() || file.is_little_endian() != little {
        return Err("it is of another word size or byte order than this machine".to_owned());
    }
    let base = file.section_by_name(BASE).map(|section| section.address());
    let Some(section) = file.section_by_name(".note.stapsdt") else { return Ok(Vec::new()) };
    let mut rest = section.data().map_err(|e| format!("its notes cannot be read ({e})"))?;
    let mut notes = Vec::new();
    while !rest.is_empty() {
        let (desc, after) = next(rest).ok_or("a note of it is cut off")?;
        rest = after;
        let Some(desc) = desc else { continue };
        notes.push(read(desc, base, &file)?);
    }
    Ok(notes)
}

/// Where in a file lies what is loaded at an address.
#[must_use]
pub fn in_file(file: &object::File<'_>, address: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let within = address.checked_sub(segment.address())?;
        let offset = segment.file_range().0.checked_add(within)?;
        (within < segment.size()).then_some(offset)
    })
}

/// What the first note says, if it is of a probe, and the bytes behind it.
fn next(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(word))
    };
    let (owner, desc, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
    let at = 12_usize.checked_add(owner)?.checked_next_multiple_of(4)?;
    let end = at.checked_add(desc)?;
    let said = bytes.get(at..end)?;
    let ours = kind == KIND && bytes.get(12..12 + owner)? == OWNER;
    let after = end.checked_next_multiple_of(4)?.min(bytes.len());
    Some((ours.then_some(said), &bytes[after..]))
}

fn read<'a>(
    desc: &'a [u8],
    base: Option<u64>,
    file: &object::File<'_>,
) -> Result<Note<'a>, String> {
    let address = |at: usize| {
        let word = desc.get(at * 8..at * 8 + 8)?.try_into().ok()?;
        Some(u64::from_ne_bytes(word))
    };
    let cut = || "a note of it is cut off".to_owned();
    let [place, linked, semaphore] =
        [address(0), address(1), address(2)].map(|word| word.ok_or_else(cut));
    let (place, linked, semaphore) = (place?, linked?, semaphore?);
    let moved = base.map_or(0, |base| base.wrapping_sub(linked));
    let mut texts = desc[24..].split(|byte| *byte == 0).map(std::str::from_utf8);
    let mut text = || texts.next().and_then(Result::ok).ok_or_else(cut);
    let (provider, name, arguments) = (text()?, text()?, text()?);
    let at = |address: u64| {
        let found = in_file(file, address.wrapping_add(moved));
        found.ok_or_else(|| {
            format!("{provider}:{name} lies at {address:#x}, which is in no segment")
        })
    };
    let offset = at(place)?;
    let semaphore = if semaphore == 0 { 0 } else { at(semaphore)? };
    Ok(Note { provider, name, arguments, offset, semaphore })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [owner.len() as u32, desc.len() as u32, kind] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(owner);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(desc);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn notes_of_others_are_passed_over_and_cut_ones_are_no_panic() {
        let all = [note(b"GNU\0", 1, b"abc"), note(OWNER, KIND, b"hello"), note(OWNER, 2, b"")];
        let bytes = all.concat();
        let (first, rest) = next(&bytes).unwrap();
        assert_eq!(first, None);
        let (second, rest) = next(rest).unwrap();
        assert_eq!(second, Some(&b"hello"[..]));
        assert_eq!(next(rest).unwrap(), (None, &[][..]));
        for end in 0..bytes.len() {
            let mut rest = &bytes[..end];
            while let Some((_, after)) = next(rest).filter(|_| !rest.is_empty()) {
                rest = after;
            }
        }
        let huge = [u32::MAX.to_ne_bytes(), u32::MAX.to_ne_bytes(), KIND.to_ne_bytes()].concat();
        assert_eq!(next(&huge), None);
    }

    #[test]
    fn what_is_no_binary_has_no_notes() {
        assert!(notes(b"#!/bin/sh\n").unwrap_err().starts_with("it is no ELF file"));
    }

    #[test]
    fn segments_that_end_behind_the_last_address_are_no_panic() {
        let mut elf = vec![0_u8; 64 + 56];
        elf[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
        elf[20] = 1; // version
        elf[32] = 64; // where program headers lie, how large and how many they are
        (elf[54], elf[56]) = (56, 1);
        elf[64] = 1; // PT_LOAD
        let mut word = |at: usize, word: u64| elf[at..at + 8].copy_from_slice(&word.to_le_bytes());
        word(64 + 8, 0x40); // offset
        word(64 + 16, u64::MAX - 0x0f); // address
        word(64 + 40, 0x1000); // size in memory
        let file = object::File::parse(&*elf).unwrap();
        assert_eq!(in_file(&file, u64::MAX), Some(0x4f));
        assert_eq!(in_file(&file, 0x10), None);
    }
}
