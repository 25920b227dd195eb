//! Names of a kernel's addresses.

use std::ops::Range;

/// What lies where, as `/proc/kallsyms` says.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Addresses in order, each with where its name begins.
    starts: Vec<(u64, u32)>,
    /// All names, each behind its predecessor's end, with their modules.
    names: String,
    /// Where the kernel's own functions are, one behind the other.
    text: Vec<Range<u64>>,
}

/// A function of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name.
    pub name: &'a str,
    /// The module that it is of; `bpf` of programs.
    pub module: Option<&'a str>,
    /// How far behind its start.
    pub behind: u64,
}

/// Most bytes of names: some million symbols.
const MOST: usize = 64 << 20;

impl Symbols {
    /// Reads lines of `address type name [module]`. Of addresses that are hidden from who reads them (0) nothing is known.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut all = Self::default();
        let mut limits = [None; LIMITS.len()];
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
            let (Some(address), Some(_), Some(name)) = (address, words.next(), words.next()) else {
                continue;
            };
            let module = words.next().map_or("", |word| word.trim_matches(['[', ']']));
            if address != 0 && all.names.len() + name.len() + module.len() + 2 < MOST {
                all.starts.push((address, all.names.len() as u32));
                all.names.push_str(name);
                all.names.push('\t');
                all.names.push_str(module);
                all.names.push('\n');
                let limit = LIMITS.iter().position(|known| *known == name && module.is_empty());
                limit.into_iter().for_each(|at| limits[at] = Some(address));
            }
        }
        let ranges = limits.chunks_exact(2);
        all.text = ranges.filter_map(|pair| Some(pair[0]?..pair[1]?)).collect();
        all.starts.sort_unstable();
        all.starts.dedup_by_key(|(address, _)| *address); // the first of several names
        all
    }

    /// Whether the kernel hides them.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The symbol that an address is in, and how far behind its start.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let at = self.before(address)?;
        self.starts.get(at + 1)?; // behind the last one may be anything
        let (name, _) = self.named(at)?;
        Some((name, address - self.starts.get(at)?.0))
    }

    /// The function that an address is in for sure: one of the kernel's own, which lie without gaps, or of a module with more
    /// of the same module behind it.
    #[must_use]
    pub fn function(&self, address: u64) -> Option<Symbol<'_>> {
        let at = self.before(address)?;
        let (name, module) = self.named(at)?;
        let is_sure = match module {
            "" => self.is_own(address),
            module => self.named(at + 1).is_some_and(|(_, next)| next == module),
        };
        let module = (!module.is_empty()).then_some(module);
        let behind = address - self.starts.get(at)?.0;
        is_sure.then_some(Symbol { name, module, behind })
    }

    /// Whether an address is among the kernel's own functions, which stay as they are.
    #[must_use]
    pub fn is_own(&self, address: u64) -> bool {
        self.text.iter().any(|range| range.contains(&address))
    }

    /// The number of the last symbol that begins there or before.
    fn before(&self, address: u64) -> Option<usize> {
        self.starts.partition_point(|(start, _)| *start <= address).checked_sub(1)
    }

    /// The name and the module of a symbol.
    fn named(&self, at: usize) -> Option<(&str, &str)> {
        let (_, name) = self.starts.get(at)?;
        self.names.get(*name as usize..)?.split('\n').next()?.split_once('\t')
    }
}

/// Where ranges of functions begin and end.
const LIMITS: [&str; 4] = ["_stext", "_etext", "_sinittext", "_einittext"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_symbol_before_it() {
        let symbols = Symbols::parse(
            "ffffffff81000000 T _text\nffffffff81000000 T _stext\nffffffff81000200 t second [module]\n\
             0000000000000000 A hidden\nno line\nffffffff81000300 B _end\n",
        );
        assert_eq!(symbols.find(0xffff_ffff_8100_0000), Some(("_text", 0)));
        assert_eq!(symbols.find(0xffff_ffff_8100_02ff), Some(("second", 0xff)));
        assert_eq!(symbols.find(0xffff_ffff_80ff_ffff), None);
        assert_eq!(
            symbols.find(0xffff_ffff_8100_0300),
            None,
            "nobody knows where the last one ends"
        );
        assert_eq!(Symbols::parse("").find(7), None);
        assert!(Symbols::parse("0000000000000000 T _text\n").is_empty());
    }

    #[test]
    fn a_function_is_told_where_it_is_for_sure() {
        let symbols = Symbols::parse(
            "100 T _stext\n100 T first\n180 T second\n200 T _etext\n200 D data\n\
             900 t of_module\t[ext4]\n980 t last_of_module\t[ext4]\na00 t bpf_prog_1\t[bpf]\n",
        );
        let found = |address| symbols.function(address);
        let own = |name, behind| Some(Symbol { name, module: None, behind });
        assert_eq!(found(0x17f), own("_stext", 0x7f));
        assert_eq!(found(0x1ff), own("second", 0x7f));
        assert_eq!(found(0x200), None, "data is no function");
        assert_eq!(found(0x700), None, "a gap");
        let of_module = Symbol { name: "of_module", module: Some("ext4"), behind: 0x10 };
        assert_eq!(found(0x910), Some(of_module));
        assert_eq!(found(0x990), None, "nobody knows where the module ends");
        assert_eq!(found(0xa10), None);
        assert!(symbols.is_own(0x180) && !symbols.is_own(0x910));
    }
}
