//! Instructions that belong to no function. Loaders of libbpf's kind run functions alone; older ones, and compilers of their
//! time, took what a name without a type stands at for one.

use std::iter;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::ObjectError;
use crate::calls::Function;
use crate::elf::Elf;
use crate::insn::INSN_BYTES;
use crate::texts::Texts;

/// A run of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loose {
    /// The ELF section.
    pub section: String,
    /// Bytes from its beginning.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl Loose {
    /// How many instructions that is, a part of one at the end counted as one.
    #[must_use]
    pub const fn instructions(&self) -> u64 {
        self.size.div_ceil(INSN_BYTES as u64)
    }
}

/// All of them, in the order of the sections.
pub(crate) fn loose(
    elf: &Elf<'_>,
    functions: &[Function],
    texts: &mut Texts,
) -> Result<Vec<Loose>, ObjectError> {
    let mut all = Vec::new();
    for (index, section) in elf.sections.iter().enumerate().filter(|(_, section)| section.code) {
        for run in runs(index, section.data.len(), functions) {
            texts.count(size_of::<Loose>())?;
            let (offset, size) = (run.start as u64, (run.end - run.start) as u64);
            all.push(Loose { section: texts.take(&section.name)?, offset, size });
        }
    }
    Ok(all)
}

/// The bytes of a section that are in none of the functions, which are sorted by section and start and do not overlap.
pub(crate) fn runs(
    section: usize,
    size: usize,
    functions: &[Function],
) -> impl Iterator<Item = Range<usize>> {
    let first = functions.partition_point(|function| function.section < section);
    let own = functions.get(first..).unwrap_or(&[]);
    let own = own.iter().take_while(move |function| function.section == section);
    let taken = own.map(|function| function.start * INSN_BYTES..function.end * INSN_BYTES);
    let mut at = 0;
    taken.chain(iter::once(size..size)).filter_map(move |taken| {
        let run = at..taken.start;
        at = at.max(taken.end);
        (run.start < run.end).then_some(run)
    })
}
