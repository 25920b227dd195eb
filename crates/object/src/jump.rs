//! Where a jump to an address in a register may lead (`gotox`, cpu v4): what clang makes of a C switch.
//!
//! A table holds, in 8 bytes each, how many bytes lie between the start of a function's section and an instruction. Loaders make
//! a map of it for the function that loads its address, and count the instructions from that function on. So a table tells where
//! jumps lead only while all that it names lies in the function that loads it; the kernel takes no jump out of a function.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use skep_spec::{Digest, Digesting};

use crate::btf::{Kind, Member};
use crate::calls::Function;
use crate::elf::{Elf, Section, Symbol, SymbolKind};
use crate::insn::{GOTOX, INSN_BYTES, Insn};
use crate::map::number_of;
use crate::{Btf, MapKind, limits};

/// The section of the tables.
pub(crate) const JUMP_TABLES: &str = ".jumptables";

/// What the tables of an object name.
pub(crate) struct Jumps {
    /// By section and start of the function that loads them: its instructions, counted from its start. None where some table
    /// cannot be told, or where tables are not all that there is.
    named: Option<BTreeMap<(usize, usize), Vec<usize>>>,
}

impl Jumps {
    /// Of functions that are sorted by section and start.
    pub(crate) fn read(elf: &Elf<'_>, btf: Option<&Btf>, functions: &[Function]) -> Self {
        // Who fills a map of addresses, and with what, the object does not say; maps without types may be one.
        let own = elf.section("maps").is_some() || btf.is_some_and(defines_addresses);
        Self { named: if own { None } else { named(elf, functions) } }
    }

    /// The instructions of a function, counted from its start, to which its jumps may lead; none where it has no such jump. All
    /// of them where nobody can tell.
    pub(crate) fn of(&self, function: &Function, body: &[Insn]) -> Option<Vec<usize>> {
        if !body.iter().any(|insn| insn.code == GOTOX) {
            return None;
        }
        let named = self.named.as_ref();
        let named = named.and_then(|named| named.get(&(function.section, function.start)).cloned());
        Some(named.unwrap_or_else(|| (0..body.len()).collect()))
    }
}

/// What the tables hold that each function loads, by its section and start: in the order of the loads, as places counted from
/// its start. For who compares: two objects whose functions jump otherwise differ in nothing else. Where a table cannot be told
/// it is all that the section holds.
pub(crate) fn contents(elf: &Elf<'_>, functions: &[Function]) -> BTreeMap<(usize, usize), Digest> {
    let mut all = BTreeMap::<_, Digesting>::new();
    let Some((index, tables)) = elf.section(JUMP_TABLES) else { return BTreeMap::new() };
    let whole = OnceCell::new();
    let mut words = 0;
    for (of, section) in elf.sections.iter().enumerate().filter(|(_, section)| section.code) {
        for relocation in &section.relocations {
            let symbol = elf.symbols.get(relocation.symbol);
            let Some(symbol) = symbol.filter(|one| one.section == Some(index)) else { continue };
            let Some(function) = containing(functions, of, relocation.offset) else { continue };
            let told = all.entry((of, function.start)).or_default();
            let table = table(tables, symbol).unwrap_or_default();
            words += table.len();
            if table.is_empty() || words > limits::INSNS {
                let whole: &Digest = whole.get_or_init(|| Digest::of(tables.data));
                told.update(whole.to_string().as_bytes());
                continue;
            }
            for word in table {
                let at = place(function, *word, elf.big_endian).map(|at| at as u64);
                told.update(&at.map_or(*word, u64::to_be_bytes));
            }
            told.update(b"end of a table");
        }
    }
    all.into_iter().map(|(place, told)| (place, told.digest())).collect()
}

fn named(elf: &Elf<'_>, functions: &[Function]) -> Option<BTreeMap<(usize, usize), Vec<usize>>> {
    let mut named = BTreeMap::<_, Vec<usize>>::new();
    let Some((index, tables)) = elf.section(JUMP_TABLES) else { return Some(named) };
    if !tables.relocations.is_empty() {
        return None;
    }
    let mut words = 0;
    for (of, section) in elf.sections.iter().enumerate().filter(|(_, section)| section.code) {
        for relocation in &section.relocations {
            let symbol = elf.symbols.get(relocation.symbol)?;
            if symbol.section != Some(index) {
                continue;
            }
            let Some(function) = containing(functions, of, relocation.offset) else { continue };
            let table = table(tables, symbol)?;
            // Thousands of instructions may load the same long table.
            words += table.len();
            if words > limits::INSNS {
                return None;
            }
            let to = named.entry((of, function.start)).or_default();
            for word in table {
                to.push(place(function, *word, elf.big_endian)?);
            }
        }
    }
    for to in named.values_mut() {
        to.sort_unstable();
        to.dedup();
    }
    Some(named)
}

const WORD: usize = 8;

/// The words of a table: loaders take those of the symbol.
fn table<'a>(section: &Section<'a>, symbol: &Symbol<'_>) -> Option<&'a [[u8; WORD]]> {
    let start = usize::try_from(symbol.value).ok()?;
    let end = start.checked_add(usize::try_from(symbol.size).ok()?)?;
    let bytes = section.data.get(start..end)?;
    let (words, rest) = bytes.as_chunks();
    let whole = start.is_multiple_of(WORD) && rest.is_empty() && !words.is_empty();
    (whole && symbol.kind != SymbolKind::Section).then_some(words)
}

/// The instruction of a function that a word names.
fn place(function: &Function, word: [u8; WORD], big_endian: bool) -> Option<usize> {
    let bytes = if big_endian { u64::from_be_bytes(word) } else { u64::from_le_bytes(word) };
    let bytes = usize::try_from(bytes).ok().filter(|bytes| bytes.is_multiple_of(INSN_BYTES))?;
    let at = bytes / INSN_BYTES;
    (function.start..function.end).contains(&at).then(|| at - function.start)
}

fn containing(functions: &[Function], section: usize, offset: u64) -> Option<&Function> {
    let at = usize::try_from(offset).ok()? / INSN_BYTES;
    let next = functions.partition_point(|f| (f.section, f.start) <= (section, at));
    let function = functions.get(next.checked_sub(1)?)?;
    (function.section == section && at < function.end).then_some(function)
}

/// Whether the object defines a map of addresses itself.
fn defines_addresses(btf: &Btf) -> bool {
    let is_kind = |member: &Member| {
        let kind = (btf.name(member) == "type").then(|| number_of(btf, member.ty)).flatten();
        kind.is_some_and(|kind| MapKind::from(kind) == MapKind::InsnArray)
    };
    btf.data_section(".maps").iter().any(|variable| {
        let Kind::Variable { ty, .. } = btf.kind(variable.ty) else { return false };
        btf.composite(*ty).is_some_and(|definition| definition.members.iter().any(is_kind))
    })
}
