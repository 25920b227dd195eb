//! What no compiler writes, and loaders read otherwise than it looks: source registers that mark what an instruction stands
//! for, and relocations that meet others.

use std::collections::BTreeSet;

use crate::calls::{Code, Function};
use crate::elf::{Section, Symbol, SymbolKind};
use crate::insn::{CALL, INSN_BYTES, Insn, PSEUDO_CALL};
use crate::opened::Opened;
use crate::{Btf, ObjectError};

/// Refuses instructions of which one loader makes something else than another.
pub(crate) fn check(opened: &Opened<'_>, code: &Code<'_>) -> Result<(), ObjectError> {
    types_alone(opened)?;
    one_name_where_relocated(opened, code)?;
    let variables = opened.btf.iter().flat_map(Btf::variables).collect();
    let marks = Marks { opened, variables };
    for function in &code.functions {
        let (body, mut at) = (code.body(function), 0);
        while let Some(insn) = body.get(at) {
            if let Some(why) = marks.wrong(function, at, *insn) {
                let what = format!("instruction {at} of function '{}'", function.name);
                return Err(ObjectError::Malformed { what, why });
            }
            at += if insn.is_ld_imm64() { 2 } else { 1 };
        }
    }
    Ok(())
}

struct Marks<'a> {
    opened: &'a Opened<'a>,
    /// Names of variables in the types.
    variables: BTreeSet<&'a str>,
}

impl Marks<'_> {
    fn wrong(&self, function: &Function, at: usize, insn: Insn) -> Option<String> {
        if !insn.is_ld_imm64() && insn.code != CALL {
            return None;
        }
        let section = self.opened.elf.sections.get(function.section)?;
        let relocation = section.relocation(function.offset(at).into());
        let symbol = relocation.and_then(|found| self.opened.elf.symbols.get(found.symbol));
        if insn.is_ld_imm64() {
            self.wrong_load(insn, symbol)
        } else {
            self.wrong_call(insn, section, symbol)
        }
    }

    /// The kernel takes a marked number for one of the loading process's own files, or of its types.
    fn wrong_load(&self, insn: Insn, symbol: Option<&Symbol<'_>>) -> Option<String> {
        if insn.src != 0 {
            return Some(format!("it has the mark {}, which is for a loader to set", insn.src));
        }
        let symbol = symbol.filter(|s| s.kind == SymbolKind::Section && insn.imm != 0)?;
        let section = self.opened.elf.sections.get(symbol.section?)?;
        (section.name == ".maps")
            .then(|| "it names a map by a place in '.maps': is a map static?".to_owned())
    }

    fn wrong_call(
        &self,
        insn: Insn,
        section: &Section<'_>,
        symbol: Option<&Symbol<'_>>,
    ) -> Option<String> {
        let Some(symbol) = symbol else {
            // Loaders take the distance for one in '.text', whatever section the call is in.
            let lost = insn.src == PSEUDO_CALL && section.name != ".text";
            return lost.then(|| "it calls by a distance, and is not in '.text'".to_owned());
        };
        if insn.src != PSEUDO_CALL {
            return Some("it has a relocation, and the mark of another call".to_owned());
        }
        let variable = symbol.undefined && self.variables.contains(&*symbol.name);
        variable.then(|| format!("it calls the variable '{}'", symbol.name))
    }
}

/// A relocation of types stands at the start of an instruction that has no other: loaders apply one to what the other left.
fn types_alone(opened: &Opened<'_>) -> Result<(), ObjectError> {
    for (name, info) in opened.ext.sections() {
        let section = opened.elf.section(name).map(|(_, section)| section);
        for relocation in &info.relocations {
            let offset = u64::from(relocation.offset);
            let between = !offset.is_multiple_of(INSN_BYTES as u64);
            if between || section.is_some_and(|section| section.relocation(offset).is_some()) {
                let why = if between { "is between two instructions" } else { "meets another one" };
                return Err(ObjectError::Malformed {
                    what: format!("a CO-RE relocation of section '{name}'"),
                    why: format!("the one at offset {offset:#x} {why}"),
                });
            }
        }
    }
    Ok(())
}

/// Loaders apply a relocation to one of a function's names only.
fn one_name_where_relocated(opened: &Opened<'_>, code: &Code<'_>) -> Result<(), ObjectError> {
    for [a, b] in code.functions.array_windows() {
        let same = (a.section, a.start) == (b.section, b.start);
        let is_refused = a.local || b.local; // a static program is none
        let is_text = opened.elf.sections.get(b.section).is_some_and(|s| s.name == ".text");
        if same && (is_text || !is_refused) && is_relocated(opened, code, b) {
            return Err(ObjectError::Malformed {
                what: format!("function '{}'", b.name),
                why: format!("it is '{}' too, and has relocations", a.name),
            });
        }
    }
    Ok(())
}

fn is_relocated(opened: &Opened<'_>, code: &Code<'_>, function: &Function) -> bool {
    let Some(section) = opened.elf.sections.get(function.section) else { return false };
    let (from, to) = (function.offset(0), function.offset(function.end - function.start));
    let first = section.relocations.partition_point(|found| found.offset < from.into());
    let relocated = section.relocations.get(first).is_some_and(|found| found.offset < to.into());
    relocated || !code.core(function).is_empty()
}
