//! The functions of an ELF file that a process runs, read piece by piece: a file that a stranger may shorten meanwhile is never
//! mapped into memory, and none is read whole.

use std::io;

/// Functions by their addresses, and where the file's bytes are loaded.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    /// In order of their starts.
    spans: Vec<Span>,
    /// Names, each up to a NUL.
    names: Vec<u8>,
    segments: Vec<Segment>,
    build_id: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    size: u32,
    name: u32,
}

/// A part of the file, and the address that it gives it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

/// Why a file's functions are not known.
#[derive(Debug, thiserror::Error)]
pub enum FunctionsError {
    /// It is no ELF file.
    #[error("it is no ELF file")]
    NotElf,
    /// It is one of another machine.
    #[error("it is an ELF file for 32 bits, or of the other byte order")]
    Other,
    /// A table is too large.
    #[error("its {what} is larger than {most} bytes")]
    Limit {
        /// Which.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// It cannot be read, or ends early.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Most bytes of a table of symbols, and of their names.
const MOST: usize = 64 << 20;
/// Most bytes of notes that are looked through for a build id.
const MOST_NOTES: u64 = 64 << 10;
/// Most bytes of a name that is shown.
const MOST_NAME: usize = 4096;

// The ABI's numbers: gabi, "Object Files".
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const SYMBOLS: u32 = 2;
const DYNAMIC_SYMBOLS: u32 = 11;
const BUILD_ID: u32 = 3;
const FUNCTION: u8 = 2;
const INDIRECT: u8 = 10;

impl Functions {
    /// Reads them through `read`, which fills a piece from an offset on.
    ///
    /// # Errors
    /// It is no ELF file of this machine's kind, has tables that are too large, or ends early.
    pub fn read(
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Self, FunctionsError> {
        let mut piece = |offset: u64, size: usize| {
            let mut bytes = vec![0; size];
            read(offset, &mut bytes).map(|()| bytes)
        };
        let header = piece(0, HEADER)?;
        if !header.starts_with(b"\x7fELF") {
            return Err(FunctionsError::NotElf);
        }
        let order = if cfg!(target_endian = "big") { 2 } else { 1 };
        if header.get(4..6) != Some(&[2, order]) {
            return Err(FunctionsError::Other);
        }
        let mut all = Self::default();
        let segments = piece(long(&header, 32), half(&header, 56) * SEGMENT)?;
        for one in segments.chunks_exact(SEGMENT) {
            let (offset, address, size) = (long(one, 8), long(one, 16), long(one, 32));
            match word(one, 0) {
                LOAD => all.segments.push(Segment { offset, size, address }),
                NOTE if all.build_id.is_none() && size <= MOST_NOTES => {
                    all.build_id = build_id(&piece(offset, size as usize)?);
                }
                _ => {}
            }
        }
        let sections = piece(long(&header, 40), half(&header, 60) * SECTION)?;
        for kind in [SYMBOLS, DYNAMIC_SYMBOLS] {
            let mut tables = sections.chunks_exact(SECTION).filter(|one| word(one, 4) == kind);
            let Some(table) = tables.next() else { continue };
            let names = sections.chunks_exact(SECTION).nth(word(table, 40) as usize);
            let Some(names) = names else { continue };
            let symbols = piece(long(table, 24), bounded(table, "table of symbols")?)?;
            all.names = piece(long(names, 24), bounded(names, "table of names")?)?;
            all.spans = symbols.chunks_exact(SYMBOL).filter_map(span).collect();
            all.spans.sort_unstable_by_key(|span| (span.start, span.size));
            if !all.spans.is_empty() {
                break;
            }
        }
        Ok(all)
    }

    /// The address that the file gives a place in it.
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<u64> {
        let behind = |one: &Segment| offset.checked_sub(one.offset).filter(|by| *by < one.size);
        self.segments.iter().find_map(|one| one.address.checked_add(behind(one)?))
    }

    /// The function that such an address is in, and how far behind its start.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(String, u64)> {
        let behind = self.spans.partition_point(|span| span.start <= address);
        // Functions may be inside others: the nearest start counts, within some.
        let near = self.spans.get(behind.saturating_sub(NEAR)..behind)?.iter().rev();
        let mut near = near.filter(|span| address - span.start < u64::from(span.size));
        let span = near.next()?;
        let name = self.names.get(span.name as usize..)?;
        let name = name.get(..MOST_NAME).unwrap_or(name).split(|byte| *byte == 0).next()?;
        (!name.is_empty())
            .then(|| (String::from_utf8_lossy(name).into_owned(), address - span.start))
    }

    /// Whether there are any.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The file's build id, in hexadecimal.
    #[must_use]
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    /// Bytes of memory that they take.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.spans.len() * size_of::<Span>() + self.names.len()
    }
}

/// Symbols before an address that are looked at.
const NEAR: usize = 16;

fn span(symbol: &[u8]) -> Option<Span> {
    let (name, start, size) = (word(symbol, 0), long(symbol, 8), long(symbol, 16));
    let is_function = matches!(symbol.get(4)? & 0xf, FUNCTION | INDIRECT);
    let size = u32::try_from(size).ok().filter(|size| is_function && *size > 0)?;
    (half(symbol, 6) != 0).then_some(Span { start, size, name }) // 0: it is another file's
}

fn bounded(section: &[u8], what: &'static str) -> Result<usize, FunctionsError> {
    let size = usize::try_from(long(section, 32)).ok().filter(|size| *size <= MOST);
    size.ok_or(FunctionsError::Limit { what, most: MOST })
}

/// The id among notes: each the sizes of its name and its text, its kind, and both padded to 4 bytes.
fn build_id(mut notes: &[u8]) -> Option<String> {
    while notes.len() >= 12 {
        let (name, text) = (word(notes, 0) as usize, word(notes, 4) as usize);
        let kind = word(notes, 8);
        let text_at = 12_usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let end = text_at.checked_add(text)?;
        let (name, text) = (notes.get(12..12_usize.checked_add(name)?)?, notes.get(text_at..end)?);
        if kind == BUILD_ID && name == b"GNU\0" && (1..=64).contains(&text.len()) {
            return Some(text.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
    None
}

fn half(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_ne_bytes).into()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Functions, FunctionsError> {
        Functions::read(|offset, into| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let piece = from.checked_add(into.len()).and_then(|end| bytes.get(from..end));
            into.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    /// A file of one segment, one note and one function.
    fn file() -> Vec<u8> {
        let mut out = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02");
        put(5, &[if cfg!(target_endian = "big") { 2 } else { 1 }]);
        put(32, &0x40u64.to_ne_bytes());
        put(40, &0x100u64.to_ne_bytes());
        put(56, &2u16.to_ne_bytes());
        put(60, &3u16.to_ne_bytes());
        for (at, kind, offset, address, size) in
            [(0x40, LOAD, 0x200u64, 0x1200u64, 0x200u64), (0x78, NOTE, 0xc0, 0, 0x14)]
        {
            put(at, &kind.to_ne_bytes());
            put(at + 8, &offset.to_ne_bytes());
            put(at + 16, &address.to_ne_bytes());
            put(at + 32, &size.to_ne_bytes());
        }
        put(0xc0, &[4u32, 4, BUILD_ID].map(u32::to_ne_bytes).concat());
        put(0xcc, b"GNU\0\xab\xcd\x01\x02");
        for (at, kind, offset, size, link) in
            [(0x140, SYMBOLS, 0x300u64, 48u64, 2u32), (0x180, 3, 0x380, 8, 0)]
        {
            put(at + 4, &kind.to_ne_bytes());
            put(at + 24, &offset.to_ne_bytes());
            put(at + 32, &size.to_ne_bytes());
            put(at + 40, &link.to_ne_bytes());
        }
        put(0x318, &1u32.to_ne_bytes());
        put(0x31c, &[FUNCTION, 0]);
        put(0x31e, &1u16.to_ne_bytes());
        put(0x320, &0x1210u64.to_ne_bytes());
        put(0x328, &0x20u64.to_ne_bytes());
        put(0x380, b"\0main\0");
        out
    }

    #[test]
    fn a_place_in_a_file_is_in_a_function() {
        let functions = read(&file()).unwrap();
        assert_eq!(functions.build_id(), Some("abcd0102"));
        let address = functions.address(0x214).unwrap();
        assert_eq!(address, 0x1214);
        assert_eq!(functions.find(address), Some(("main".to_owned(), 4)));
        assert_eq!(functions.find(0x122f), Some(("main".to_owned(), 0x1f)));
        assert_eq!(functions.find(0x1230), None, "behind its end");
        assert_eq!(functions.address(0x500), None, "of no segment");
    }

    #[test]
    fn what_is_cut_or_changed_anywhere_is_refused_or_read_within_limits() {
        let whole = file();
        for length in 0..whole.len() {
            _ = read(&whole[..length]);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                if let Ok(functions) = read(&changed) {
                    _ = functions.address(0x214).map(|address| functions.find(address));
                    assert!(functions.memory() <= 2 * MOST);
                }
            }
        }
        assert!(matches!(read(b"#!/bin/sh"), Err(FunctionsError::Io(_))));
        assert!(matches!(read(&[0; 64]), Err(FunctionsError::NotElf)));
        let mut large = whole;
        large[0x140 + 32..0x140 + 40].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert!(matches!(read(&large), Err(FunctionsError::Limit { .. })));
    }

    #[test]
    fn this_program_is_read_as_it_is() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let functions = read(&bytes).unwrap();
        assert!(!functions.is_empty());
        let names = functions.spans.iter().filter_map(|span| functions.find(span.start));
        assert!(names.filter(|(name, _)| name.contains("this_program_is_read")).count() > 0);
    }
}
