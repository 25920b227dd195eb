//! BTF as it lies in memory (Documentation/bpf/btf.rst), little-endian as the kernels are whose programs are changed here.

/// Its two parts.
pub(crate) struct Raw<'a> {
    pub(crate) types: &'a [u8],
    pub(crate) strings: &'a [u8],
}

const HEADER: usize = 24;

impl<'a> Raw<'a> {
    pub(crate) fn read(btf: &'a [u8]) -> Option<Self> {
        let field = |at: usize| usize::try_from(word(btf, at)?).ok();
        let start = field(4)?;
        let part = |at: usize, size: usize| btf.get(start + at..)?.get(..size);
        let is_whole = start == HEADER && word(btf, 0)? & 0xffff == 0xeb9f && field(8)? == 0;
        let types = part(field(8)?, field(12)?)?;
        let strings = part(field(16)?, field(20)?)?;
        (is_whole && field(16)? == types.len()).then_some(Self { types, strings })
    }

    /// Each type: where it lies, its three words, and what follows them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, u32, u32, &'a [u8])> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (name, info) = (word(self.types, at)?, word(self.types, at + 4)?);
            let count = (info & 0xffff) as usize;
            let size = match info >> 24 & 0x1f {
                4 | 5 | 19 => 12 * count, // struct, union, enum64
                1 | 14 | 17 => 4,         // int, var, decl tag
                3 => 12,                  // array
                6 | 13 => 8 * count,      // enum, function's type
                15 => 12 * count,         // section
                _ => 0,
            };
            let rest = self.types.get(at + 12..at + 12 + size)?;
            let here = (at, name, info, rest);
            at += 12 + size;
            Some(here)
        })
    }

    pub(crate) fn is_named(&self, name: u32, wanted: &str) -> bool {
        let text = usize::try_from(name).ok().and_then(|at| self.strings.get(at..));
        text.and_then(|text| text.strip_prefix(wanted.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// BTF of these parts.
pub(crate) fn whole(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let lengths = [HEADER, 0, types.len(), types.len(), strings.len()].map(|n| n as u32);
    let header = [0x0001_eb9f].into_iter().chain(lengths).flat_map(u32::to_le_bytes);
    header.chain(types.iter().copied()).chain(strings.iter().copied()).collect()
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
