//! `.BTF.ext`: where functions start, which source line an instruction comes from, and CO-RE relocations.

use crate::btf::{Btf, BtfError, TypeId};
use crate::limits;

/// What `.BTF.ext` says. Offsets are in bytes from the start of the ELF section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BtfExt {
    /// Functions.
    pub functions: Vec<FunctionInfo>,
    /// Lines.
    pub lines: Vec<LineInfo>,
    /// CO-RE relocations.
    pub relocations: Vec<RelocationInfo>,
}

/// Where a function starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// ELF section.
    pub section: String,
    /// Bytes into it.
    pub offset: u32,
    /// Its [`crate::btf::Kind::Function`].
    pub ty: TypeId,
}

/// The source line of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// ELF section.
    pub section: String,
    /// Bytes into it.
    pub offset: u32,
    /// The file, as the compiler was given it.
    pub file: String,
    /// From 1.
    pub line: u32,
}

/// One CO-RE relocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelocationInfo {
    /// ELF section.
    pub section: String,
    /// Bytes into it.
    pub offset: u32,
    /// The root type.
    pub ty: TypeId,
    /// The path from it, such as `0:1:2`.
    pub access: String,
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
        let part = |at: usize| -> Result<(usize, usize), BtfError> {
            let from = header as usize + reader.word(at)? as usize;
            Ok((from, from.saturating_add(reader.word(at + 4)? as usize)))
        };
        let mut ext = Self::default();
        reader.records(part(8)?, btf, |section, at| {
            let (offset, ty) = (reader.word(at)?, TypeId(reader.word(at + 4)?));
            ext.functions.push(FunctionInfo { section: section.to_owned(), offset, ty });
            Ok(())
        })?;
        reader.records(part(16)?, btf, |section, at| {
            ext.lines.push(LineInfo {
                section: section.to_owned(),
                offset: reader.word(at)?,
                file: btf.string(reader.word(at + 4)?).to_owned(),
                line: reader.word(at + 12)? >> 10,
            });
            Ok(())
        })?;
        // The header of compilers before CO-RE (2019) ends here.
        if header >= 32 {
            reader.records(part(24)?, btf, |section, at| {
                ext.relocations.push(RelocationInfo {
                    section: section.to_owned(),
                    offset: reader.word(at)?,
                    ty: TypeId(reader.word(at + 4)?),
                    access: btf.string(reader.word(at + 8)?).to_owned(),
                    kind: reader.word(at + 12)?,
                });
                Ok(())
            })?;
        }
        Ok(ext)
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    big_endian: bool,
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

    /// Calls `each` with the section and the place of every record between two places.
    fn records(
        &self,
        (from, to): (usize, usize),
        btf: &Btf,
        mut each: impl FnMut(&str, usize) -> Result<(), BtfError>,
    ) -> Result<(), BtfError> {
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
        let mut at = from + 4;
        while at < to {
            let section = btf.string(self.word(at)?);
            let count = self.word(at + 4)? as usize;
            if count > limits::INSNS {
                return Err(BtfError::Limit { what: "records of .BTF.ext", most: limits::INSNS });
            }
            at += 8;
            let end = at + count * record;
            if end > to {
                return Err(self.cut_off(end));
            }
            for place in (at..end).step_by(record) {
                each(section, place)?;
            }
            at = end;
        }
        Ok(())
    }
}
