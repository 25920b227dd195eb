//! Names of a kernel's addresses.

/// What lies where, as `/proc/kallsyms` says.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Addresses in order, each with where its name begins.
    starts: Vec<(u64, u32)>,
    /// All names, each behind its predecessor's end.
    names: String,
}

/// Most bytes of names: some million symbols.
const MOST: usize = 64 << 20;

impl Symbols {
    /// Reads lines of `address type name [module]`. Of addresses that are hidden from who reads them (0) nothing is known.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
            let (Some(address), Some(_), Some(name)) = (address, words.next(), words.next()) else {
                continue;
            };
            if address != 0 && all.names.len() + name.len() < MOST {
                all.starts.push((address, all.names.len() as u32));
                all.names.push_str(name);
                all.names.push('\n');
            }
        }
        all.starts.sort_unstable();
        all.starts.dedup_by_key(|(address, _)| *address); // the first of several names
        all
    }

    /// The symbol that an address is in, and how far behind its start.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let behind = self.starts.partition_point(|(start, _)| *start <= address);
        let (start, name) = self.starts.get(behind.checked_sub(1)?)?;
        self.starts.get(behind)?; // behind the last one may be anything
        let name = self.names.get(*name as usize..)?.split('\n').next()?;
        Some((name, address - start))
    }
}

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
    }
}
