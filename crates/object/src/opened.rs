//! An object's sections and types, read but not yet understood.

use std::cell::OnceCell;
use std::ops::Range;

use crate::btf_ext::{BtfExt, LineInfo, RelocationInfo, SectionInfo};
use crate::elf::Elf;
use crate::variables::Variables;
use crate::{Btf, ObjectError, Source};

/// The parts that everything else is derived from.
pub(crate) struct Opened<'a> {
    pub(crate) elf: Elf<'a>,
    pub(crate) btf: Option<Btf>,
    pub(crate) ext: BtfExt,
    variables: OnceCell<Variables>,
}

impl<'a> Opened<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ObjectError> {
        let elf = Elf::parse(bytes)?;
        let section = |name| elf.section(name).map(|(_, s)| s.data).filter(|d| !d.is_empty());
        let failed = |section| move |source| ObjectError::Btf { section, source };
        let btf = section(".BTF").map(Btf::parse).transpose().map_err(failed(".BTF"))?;
        if btf.as_ref().is_some_and(|btf| btf.big_endian() != elf.big_endian) {
            let (what, why) = ("section '.BTF'", "its byte order is not that of the ELF");
            return Err(ObjectError::Malformed { what: what.to_owned(), why: why.to_owned() });
        }
        let ext = match (section(".BTF.ext"), &btf) {
            (Some(data), Some(btf)) => BtfExt::parse(data, btf).map_err(failed(".BTF.ext"))?,
            _ => BtfExt::default(),
        };
        Ok(Self { elf, btf, ext, variables: OnceCell::new() })
    }

    /// The variable at a place of a data section, or the place.
    pub(crate) fn variable(&self, section: &str, offset: u64) -> String {
        let variables = self.variables.get_or_init(|| Variables::of(&self.elf));
        variables.at(&self.elf, section, offset)
    }

    /// What `.BTF.ext` says of a section, by its index.
    pub(crate) fn info(&self, section: usize) -> Option<&SectionInfo> {
        self.ext.section(&self.elf.sections.get(section)?.name)
    }

    /// The CO-RE relocations of the instructions in a range of a section's bytes.
    pub(crate) fn core(&self, section: usize, range: Range<u32>) -> &[RelocationInfo] {
        let all = self.info(section).map_or(&[][..], |info| &info.relocations);
        let from = all.partition_point(|relocation| relocation.offset < range.start);
        let to = all.partition_point(|relocation| relocation.offset < range.end);
        all.get(from..to).unwrap_or(&[])
    }

    /// The line of the instruction at an offset of a section, in the function that starts at another.
    pub(crate) fn line(&self, section: usize, function: u32, offset: u32) -> Option<&LineInfo> {
        self.info(section)?.line(function, offset)
    }

    /// The place that a line stands for.
    pub(crate) fn source(&self, line: &LineInfo) -> Option<Source> {
        let file = self.btf.as_ref()?.string(line.file).to_owned();
        Some(Source { file, line: line.line })
    }
}
