//! `.BTF.ext`: where functions start, which source line an instruction comes from, and CO-RE relocations.

use std::collections::BTreeMap;

use crate::btf::{Btf, BtfError, TypeId};
use crate::limits;

/// What `.BTF.ext` says, by ELF section. Offsets are in bytes from the start of the section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BtfExt {
    sections: BTreeMap<String, SectionInfo>,
    records: usize,
}

/// What `.BTF.ext` says of one ELF section, each table in order of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionInfo {
    /// Functions.
    pub functions: Vec<FunctionInfo>,
    /// Lines.
    pub lines: Vec<LineInfo>,
    /// CO-RE relocations.
    pub relocations: Vec<RelocationInfo>,
}

/// Where a function starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Bytes into the section.
    pub offset: u32,
    /// Its [`crate::btf::Kind::Function`].
    pub ty: TypeId,
}

/// The source line of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// Bytes into the section.
    pub offset: u32,
    /// The file's name, as the compiler was given it: a place in the BTF's strings.
    pub file: u32,
    /// What the line says: a place in the BTF's strings.
    pub text: u32,
    /// From 1.
    pub line: u32,
}

/// One CO-RE relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelocationInfo {
    /// Bytes into the section.
    pub offset: u32,
    /// The root type.
    pub ty: TypeId,
    /// The path from it, such as `0:1:2`: a place in the BTF's strings.
    pub access: u32,
    /// `enum bpf_core_relo_kind`.
    pub kind: u32,
}

const MAGIC: u16 = 0xeb9f;

impl BtfExt {
    /// Reads a `.BTF.ext` section; `btf` holds its strings.
    ///
    /// # Errors
    /// Anything that is out of range, cut off or beyond [`crate::limits`].
    pub fn parse(bytes: &[u8], btf: &Btf) -> Result<Self, BtfError> {
        let magic = bytes.first_chunk().map(|m| match btf.big_endian() {
            true => u16::from_be_bytes(*m),
            false => u16::from_le_bytes(*m),
        });
        if magic != Some(MAGIC) {
            return Err(BtfError::Magic);
        }
        let reader = Reader { bytes, big_endian: btf.big_endian() };
        let header = reader.word(4)?;
        if bytes.get(2..4) != Some(&[1, 0]) || header < 24 || header as usize >= bytes.len() {
            return Err(BtfError::Form("its header is of no known form"));
        }
        let part = |at: usize, record: usize| -> Result<Table, BtfError> {
            let offset = reader.word(at)? as usize;
            let from = header as usize + offset;
            let to = from.saturating_add(reader.word(at + 4)? as usize);
            match offset.is_multiple_of(4) || from == to {
                true => Ok(Table { from, to, record }),
                false => Err(BtfError::Form("a table is not aligned")),
            }
        };
        let mut ext = Self::default();
        reader.records(part(8, 8)?, btf, &mut ext, |info, at| {
            let (offset, ty) = (reader.word(at)?, TypeId(reader.word(at + 4)?));
            info.functions.push(FunctionInfo { offset, ty });
            Ok(())
        })?;
        reader.records(part(16, 16)?, btf, &mut ext, |info, at| {
            let (offset, file) = (reader.word(at)?, reader.word(at + 4)?);
            let (text, line) = (reader.word(at + 8)?, reader.word(at + 12)? >> 10);
            // A line 0 is none: compilers write it for what has no place of its own.
            if line > 0 {
                info.lines.push(LineInfo { offset, file, text, line });
            }
            Ok(())
        })?;
        // The header of compilers before CO-RE (2019) ends here.
        if header >= 32 {
            reader.records(part(24, 16)?, btf, &mut ext, |info, at| {
                let (offset, ty) = (reader.word(at)?, TypeId(reader.word(at + 4)?));
                let (access, kind) = (reader.word(at + 8)?, reader.word(at + 12)?);
                info.relocations.push(RelocationInfo { offset, ty, access, kind });
                Ok(())
            })?;
        }
        ext.sort();
        ext.few_relocations()?;
        ext.once_a_place()?;
        Ok(ext)
    }

    /// What is said of an ELF section.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&SectionInfo> {
        self.sections.get(name)
    }

    /// All sections by name.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &SectionInfo)> {
        self.sections.iter().map(|(name, info)| (name.as_str(), info))
    }

    fn sort(&mut self) {
        for info in self.sections.values_mut() {
            info.functions.sort_by_key(|function| function.offset);
            info.lines.sort_by_key(|line| line.offset);
            info.relocations.sort_by_key(|relocation| relocation.offset);
        }
    }

    fn few_relocations(&self) -> Result<(), BtfError> {
        let found: usize = self.sections.values().map(|info| info.relocations.len()).sum();
        let most = limits::CORE_RELOCATIONS;
        if found > most { Err(BtfError::Limit { what: "CO-RE relocations", most }) } else { Ok(()) }
    }

    /// Of two relocations the loader's last one would count.
    fn once_a_place(&self) -> Result<(), BtfError> {
        let twice = self.sections.iter().find_map(|(section, info)| {
            let found = info.relocations.array_windows().find(|[a, b]| a.offset == b.offset)?;
            Some((section, found))
        });
        match twice {
            Some((section, [relocation, _])) => {
                Err(BtfError::Twice { section: section.clone(), offset: relocation.offset })
            }
            None => Ok(()),
        }
    }
}

impl SectionInfo {
    /// The line of the instruction at an offset, which may be that of one before it in the same function.
    #[must_use]
    pub fn line(&self, function: u32, offset: u32) -> Option<&LineInfo> {
        let after = self.lines.partition_point(|line| line.offset <= offset);
        let before = self.lines.get(after.checked_sub(1)?)?;
        (before.offset >= function).then_some(before)
    }

    /// The CO-RE relocation of the instruction at an offset.
    #[must_use]
    pub fn relocation(&self, offset: u32) -> Option<&RelocationInfo> {
        let at = self.relocations.binary_search_by_key(&offset, |r| r.offset).ok()?;
        self.relocations.get(at)
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

/// Where a table is, and the least bytes of its records.
#[derive(Clone, Copy)]
struct Table {
    from: usize,
    to: usize,
    record: usize,
}

impl Reader<'_> {
    fn word(&self, at: usize) -> Result<u32, BtfError> {
        let word = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        let word = word.ok_or_else(|| self.cut_off(at.saturating_add(4)))?;
        Ok(if self.big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) })
    }

    fn cut_off(&self, needs: usize) -> BtfError {
        let what = "the function, line or relocation table of .BTF.ext".to_owned();
        BtfError::Truncated { what, needs: needs as u64, has: self.bytes.len() as u64 }
    }

    /// Calls `each` with its section's tables and the place of every record between two places.
    fn records(
        &self,
        table: Table,
        btf: &Btf,
        ext: &mut BtfExt,
        mut each: impl FnMut(&mut SectionInfo, usize) -> Result<(), BtfError>,
    ) -> Result<(), BtfError> {
        let Table { from, to, record: least } = table;
        if from == to {
            return Ok(());
        }
        if to > self.bytes.len() {
            return Err(self.cut_off(to));
        }
        let record = self.word(from)? as usize;
        if !(8..=256).contains(&record) {
            return Err(BtfError::Limit { what: "bytes a record of .BTF.ext", most: 256 });
        }
        if record < least || !record.is_multiple_of(4) || from + 4 == to {
            return Err(BtfError::Form("a table has no records, or records of no known form"));
        }
        let mut at = from + 4;
        while at < to {
            let section = btf.string(self.word(at)?);
            let count = self.word(at + 4)? as usize;
            if count == 0 {
                return Err(BtfError::Form("a table has a section without records"));
            }
            if count > limits::INSNS {
                return Err(BtfError::Limit { what: "records of .BTF.ext", most: limits::INSNS });
            }
            ext.records += count;
            if ext.records > limits::EXT_RECORDS {
                let most = limits::EXT_RECORDS;
                return Err(BtfError::Limit { what: "records of .BTF.ext", most });
            }
            if ext.sections.len() > limits::SECTIONS {
                return Err(BtfError::Limit {
                    what: "sections of .BTF.ext",
                    most: limits::SECTIONS,
                });
            }
            let info = ext.sections.entry(section.to_owned()).or_default();
            at += 8;
            let end = at + count * record;
            if end > to {
                return Err(self.cut_off(end));
            }
            for place in (at..end).step_by(record) {
                each(info, place)?;
            }
            at = end;
        }
        Ok(())
    }
}
