//! Maps that an object defines in the old way, by words in a section `maps`, are defined by types, the only way that libbpf takes
//! (`SEC(".maps")`): so objects of Aya, of Zig and of older C load.
//!
//! The words stay where they are, and with them all that refers to them. The section gets its new name, and the object's BTF says
//! what the words say; an object without BTF gets some.

use std::collections::BTreeMap;

use object::elf::{FileHeader64, STT_SECTION};
use object::read::elf::{FileHeader, Rel as _, SectionHeader, SectionTable, Sym};
use object::{Endianness, SectionIndex, elf};

use crate::raw_btf::{Raw, whole, word};

/// What the words are, in their order, by the names that types have for them.
const WORDS: [&str; 5] = ["type", "key_size", "value_size", "max_entries", "map_flags"];
const DEFINITION: usize = WORDS.len() * size_of::<u32>();
/// Kinds of types (include/uapi/linux/btf.h).
const INT: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
/// Types that a map adds: for each word an array and a pointer to it, the struct of them, the variable.
const TYPES_OF_A_MAP: u32 = 2 * WORDS.len() as u32 + 2;
/// Bytes of a section's header, and where its parts are.
const HEADER: usize = 64;
const OFFSET: usize = 24;
const SIZE: usize = 32;

struct Definition {
    name: String,
    words: [u32; WORDS.len()],
    /// Its number among the symbols.
    symbol: usize,
}

/// By where they lie in the section.
type Definitions = BTreeMap<u64, Definition>;
type Sections<'a> = SectionTable<'a, FileHeader64<Endianness>>;

/// The object with its old definitions as types; none where it has none, or such as nobody could load.
#[must_use]
pub fn by_types(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok().filter(|endian| *endian == Endianness::Little)?;
    let sections = header.sections(endian, bytes).ok()?;
    let (maps, section) = sections.section_by_name(endian, b"maps")?;
    if sections.section_by_name(endian, b".maps").is_some() {
        return None; // two sections would have to become one
    }
    let words = section.data(endian, bytes).ok()?;
    let definitions = definitions(&sections, endian, bytes, maps, words)?;
    let types = sections.section_by_name(endian, b".BTF");
    let known = match types {
        Some((_, section)) => section.data(endian, bytes).ok()?.to_vec(),
        None => whole(&[], &[0]),
    };
    let known = with_maps(&Raw::read(&known)?, &definitions, words.len())?;
    let types = types.map(|(index, _)| index);
    let mut own = bytes.to_vec();
    name_maps((bytes, &mut own), &sections, endian, maps, &definitions)?;
    Written { bytes, header, endian, sections }.with(own, maps, types, &known)
}

fn definitions(
    sections: &Sections<'_>,
    endian: Endianness,
    bytes: &[u8],
    maps: SectionIndex,
    words: &[u8],
) -> Option<Definitions> {
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).ok()?;
    let mut all = Definitions::new();
    for (number, symbol) in symbols.iter().enumerate() {
        let name = std::str::from_utf8(symbol.name(endian, symbols.strings()).ok()?).ok()?;
        let is_map = usize::from(symbol.st_shndx(endian).0) == maps.0
            && symbol.st_type() != STT_SECTION
            && !name.is_empty();
        if !is_map {
            continue;
        }
        let at = symbol.st_value(endian);
        let own = words.get(usize::try_from(at).ok()?..)?.get(..DEFINITION)?;
        let mut numbers = [0; WORDS.len()];
        for (number, at) in numbers.iter_mut().zip((0..).step_by(size_of::<u32>())) {
            *number = word(own, at)?;
        }
        let own = Definition { name: name.to_owned(), words: numbers, symbol: number };
        // Of two names of one place, the one that everybody sees.
        if symbol.is_local() {
            all.entry(at).or_insert(own);
        } else {
            all.insert(at, own);
        }
    }
    let places: Vec<u64> = all.keys().copied().collect();
    let is_apart = places.windows(2).all(|two| two[1] - two[0] >= DEFINITION as u64);
    (!all.is_empty() && is_apart).then_some(all)
}

/// Has instructions that name a map by its place in the section, as Zig's do, name it by its symbol, which is all that libbpf
/// looks at. None where something is cut.
fn name_maps<'a>(
    (bytes, own): (&'a [u8], &mut [u8]),
    sections: &Sections<'a>,
    endian: Endianness,
    maps: SectionIndex,
    definitions: &Definitions,
) -> Option<()> {
    // Bytes of a relocation, where its symbol stands in it, and the number in an instruction.
    const SIZE: usize = 16;
    const SYMBOL: usize = 12;
    const NUMBER: usize = 4;
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).ok()?;
    for section in sections.iter() {
        let Ok(Some((relocations, _))) = section.rel(endian, bytes) else { continue };
        let target = SectionIndex(usize::try_from(section.sh_info(endian)).ok()?);
        let Ok(code) = sections.section(target).and_then(|s| s.data(endian, bytes)) else {
            continue;
        };
        let start = usize::try_from(section.sh_offset(endian)).ok()?;
        for (relocation, at) in relocations.iter().zip((start..).step_by(SIZE)) {
            let Some(Ok(symbol)) = relocation.symbol(endian).map(|one| symbols.symbol(one)) else {
                continue;
            };
            let is_ours = usize::from(symbol.st_shndx(endian).0) == maps.0;
            if is_ours && symbol.st_type() == STT_SECTION {
                let place = usize::try_from(relocation.r_offset.get(endian)).ok()?;
                let place = u64::from(word(code, place.checked_add(NUMBER)?)?);
                let named = u32::try_from(definitions.get(&place)?.symbol).ok()?;
                own.get_mut(at + SYMBOL..)?.get_mut(..4)?.copy_from_slice(&named.to_le_bytes());
            }
        }
    }
    Some(())
}

/// An object's types with those of its maps.
fn with_maps(known: &Raw<'_>, maps: &Definitions, size: usize) -> Option<Vec<u8>> {
    let mut own = Types { types: Vec::new(), strings: known.strings.to_vec() };
    let count = u32::try_from(known.all().count()).ok()?;
    let is_old = |(_, name, info, _): &(usize, u32, u32, &[u8])| {
        info >> 24 & 0x1f == SECTION && known.is_named(*name, "maps")
    };
    let old = known.all().find(is_old).map(|(at, _, _, rest)| at..at + 12 + rest.len());
    let int = count + 1;
    let section = own.section(maps, size, int);
    match old {
        // It stays the type of its number: others count from it.
        Some(old) => {
            own.types.extend_from_slice(&known.types[..old.start]);
            own.words(&section);
            own.types.extend_from_slice(&known.types[old.end..]);
            own.maps(maps, int);
        }
        None => {
            own.types.extend_from_slice(known.types);
            own.maps(maps, int);
            own.words(&section);
        }
    }
    Some(whole(&own.types, &own.strings))
}

struct Types {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Types {
    fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.types.extend_from_slice(&word.to_le_bytes()));
    }

    /// The section of the maps' variables. `int` is the number of the first type that is added.
    fn section(&mut self, maps: &Definitions, size: usize, int: u32) -> Vec<u32> {
        let mut words = vec![self.name(".maps"), SECTION << 24 | maps.len() as u32, size as u32];
        for (at, variable) in maps.keys().zip((int..).step_by(TYPES_OF_A_MAP as usize).skip(1)) {
            words.extend([variable, *at as u32, DEFINITION as u32]);
        }
        words
    }

    /// `int`, and for each map what `__uint(type, …)` and its like are, a variable of their struct.
    fn maps(&mut self, maps: &Definitions, int: u32) {
        let names = WORDS.map(|name| self.name(name));
        let (name, bits) = (self.name("int"), 1 << 24 | 32);
        self.words(&[name, INT << 24, 4, bits]);
        let mut next = int + 1;
        for Definition { name, words: numbers, .. } in maps.values() {
            let mut members = Vec::new();
            for (word, number) in names.iter().zip(numbers) {
                self.words(&[0, ARRAY << 24, 0, int, int, *number]);
                self.words(&[0, POINTER << 24, next]);
                members.extend([*word, next + 1, 0]); // a union of them, so that the words have room for it
                next += 2;
            }
            self.words(&[0, STRUCT << 24 | WORDS.len() as u32, DEFINITION as u32]);
            self.words(&members);
            let name = self.name(name);
            self.words(&[name, VARIABLE << 24, next, 1]);
            next += 2;
        }
    }
}

/// An object that is written anew: what it has stays, the rest comes behind.
struct Written<'a> {
    bytes: &'a [u8],
    header: &'a FileHeader64<Endianness>,
    endian: Endianness,
    sections: Sections<'a>,
}

impl Written<'_> {
    fn with(
        &self,
        mut out: Vec<u8>,
        maps: SectionIndex,
        types: Option<SectionIndex>,
        btf: &[u8],
    ) -> Option<Vec<u8>> {
        let Self { bytes, header, endian, sections } = self;
        let start = usize::try_from(header.e_shoff.get(*endian)).ok()?;
        let mut headers = bytes.get(start..)?.get(..sections.len() * HEADER)?.to_vec();
        let names = header.shstrndx(*endian, *bytes).ok()? as usize;
        let section = sections.section(SectionIndex(names)).ok()?;
        let mut all = section.data(*endian, *bytes).ok()?.to_vec();
        let name = u32::try_from(all.len()).ok()?;
        all.extend_from_slice(b".maps\0.BTF\0");
        place(&mut headers, names, put(&mut out, &all), all.len());
        headers[maps.0 * HEADER..][..4].copy_from_slice(&name.to_le_bytes());
        let at = put(&mut out, btf);
        let types = types.map_or_else(|| added(&mut headers, name + 6), |index| index.0);
        place(&mut headers, types, at, btf.len());
        let count = u16::try_from(headers.len() / HEADER).ok()?;
        let start = put(&mut out, &headers) as u64;
        // e_shoff and e_shnum
        out[0x28..0x30].copy_from_slice(&start.to_le_bytes());
        out[0x3c..0x3e].copy_from_slice(&count.to_le_bytes());
        (count < elf::SHN_LORESERVE).then_some(out)
    }
}

/// Puts a part behind what there is, and says where.
fn put(out: &mut Vec<u8>, part: &[u8]) -> usize {
    out.resize(out.len().next_multiple_of(8), 0);
    let at = out.len();
    out.extend_from_slice(part);
    at
}

fn place(headers: &mut [u8], section: usize, at: usize, size: usize) {
    let own = &mut headers[section * HEADER..][..HEADER];
    own[OFFSET..][..8].copy_from_slice(&(at as u64).to_le_bytes());
    own[SIZE..][..8].copy_from_slice(&(size as u64).to_le_bytes());
}

/// A section of types that was not there.
fn added(headers: &mut Vec<u8>, name: u32) -> usize {
    const ALIGNMENT: usize = 48;
    let mut own = [0; HEADER];
    own[..4].copy_from_slice(&name.to_le_bytes());
    own[4..8].copy_from_slice(&elf::SHT_PROGBITS.0.to_le_bytes());
    own[ALIGNMENT] = 4;
    headers.extend_from_slice(&own);
    headers.len() / HEADER - 1
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use skep_object::{Facts, MapOrigin};

    use super::*;

    fn object(name: &str, options: &[&str]) -> Vec<u8> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../object/tests/c");
        let out = tempfile::tempdir().unwrap();
        let path: PathBuf = out.path().join("t.o");
        let mut clang = std::process::Command::new("clang");
        clang.args(["-target", "bpf", "-O2", "-c", "-o"]).arg(&path).args(options);
        clang.arg("-I").arg(source.join("../../../../spec/vectors/files/objects"));
        assert!(clang.arg(source.join(name)).status().unwrap().success());
        std::fs::read(path).unwrap()
    }

    /// Everything but how they are defined.
    fn told(facts: &Facts) -> Vec<String> {
        let map = |map: &skep_object::MapFacts| {
            let sizes = [map.key_size, map.value_size, map.max_entries, map.flags];
            format!("{} {} {sizes:?}", map.name, map.kind)
        };
        let of_programs = facts
            .programs
            .iter()
            .map(|program| format!("{} {:?} {:?}", program.name, program.maps, program.helpers));
        let own = facts.maps.iter().filter(|map| map.origin != MapOrigin::Data);
        own.map(map).chain(of_programs).collect()
    }

    #[test]
    fn what_was_defined_by_words_is_defined_by_types() {
        for name in ["aya.c", "legacy.c"] {
            for options in [&["-g"][..], &[]] {
                let old = object(name, options);
                let new = by_types(&old).unwrap();
                let [before, after] = [&old, &new].map(|bytes| Facts::parse(bytes).unwrap());
                assert_eq!(told(&after), told(&before), "{name} {options:?}");
                let origins = after.maps.iter().map(|map| map.origin);
                assert!(origins.clone().any(|origin| origin == MapOrigin::Btf));
                assert!(!origins.clone().any(|origin| origin == MapOrigin::Legacy));
                assert_eq!(by_types(&new), None, "there are none any more");
            }
        }
    }

    #[test]
    fn what_has_none_or_is_cut_stays_as_it_is() {
        assert_eq!(by_types(&object("facts.c", &["-g"])), None);
        assert_eq!(by_types(b""), None);
        let old = object("aya.c", &["-g"]);
        for end in 0..old.len() {
            let _ = by_types(&old[..end]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0_usize..4000, with in proptest::num::u8::ANY) {
            thread_local!(static OLD: Vec<u8> = object("legacy.c", &["-g"]));
            let mut bytes = OLD.with(Clone::clone);
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = by_types(&bytes);
        }
    }
}
