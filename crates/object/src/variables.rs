//! Names of places in data sections.

use crate::elf::{Elf, SymbolKind};

/// The variables of data sections, by place.
pub(crate) struct Variables {
    /// Section, place and symbol, sorted.
    places: Vec<(usize, u64, usize)>,
}

impl Variables {
    pub(crate) fn of(elf: &Elf<'_>) -> Self {
        let symbols = elf.symbols.iter().enumerate();
        let objects = symbols.filter(|(_, symbol)| symbol.kind == SymbolKind::Object);
        let mut places: Vec<(usize, u64, usize)> =
            objects.filter_map(|(at, symbol)| Some((symbol.section?, symbol.value, at))).collect();
        places.sort_unstable();
        Self { places }
    }

    /// The variable at a place of a section, or the place.
    pub(crate) fn at(&self, elf: &Elf<'_>, section: &str, offset: u64) -> String {
        self.symbol(elf, section, offset).unwrap_or_else(|| format!("{section}+{offset:#x}"))
    }

    fn symbol(&self, elf: &Elf<'_>, section: &str, offset: u64) -> Option<String> {
        let (index, _) = elf.section(section)?;
        let after = self.places.partition_point(|(of, value, _)| (*of, *value) <= (index, offset));
        let (of, _, at) = self.places.get(after.checked_sub(1)?)?;
        let symbol = elf.symbols.get(*at).filter(|_| *of == index)?;
        let name = &symbol.name;
        match offset - symbol.value {
            0 => Some(name.to_string()),
            inside if inside < symbol.size => Some(format!("{name}+{inside:#x}")),
            _ => None,
        }
    }
}
