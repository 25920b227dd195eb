//! Where the maps of `.maps` stand: the BTF lists them and, once a linker has filled it in, says where; before that their
//! symbols do.

use std::collections::BTreeMap;

use crate::btf::Kind;
use crate::elf::{Elf, Symbol, SymbolKind};
use crate::{Btf, ObjectError, TypeId};

/// A map's definition in the section `.maps`.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    /// What it is defined as.
    pub(crate) ty: TypeId,
    /// Bytes into the section.
    pub(crate) start: u64,
    /// One past its last byte.
    pub(crate) end: u64,
}

const SECTION: &str = ".maps";

/// All definitions, in the order of the section.
pub(crate) fn places<'a>(elf: &'a Elf<'_>, btf: &Btf) -> Result<Vec<Place<'a>>, ObjectError> {
    let Some((index, section)) = elf.section(SECTION) else { return Ok(Vec::new()) };
    let id = btf.find(SECTION, |kind| matches!(kind, Kind::DataSection { .. }));
    let (size, listed) = match id.map(|id| btf.kind(id)) {
        Some(Kind::DataSection { size, variables }) => (*size, variables.as_slice()),
        _ => (0, &[][..]),
    };
    if section.size > 0 && listed.is_empty() {
        return Err(malformed(format!("section '{SECTION}'"), "the BTF has no types for it"));
    }
    let symbols = variables(elf);
    let mut places = Vec::with_capacity(listed.len());
    for variable in listed {
        let Kind::Variable { ty, .. } = btf.kind(variable.ty) else { continue };
        let name = btf.name(btf.ty(variable.ty));
        let what = || format!("map '{name}'");
        let Some(symbol) = symbols.get(name).filter(|symbol| symbol.section == Some(index)) else {
            return Err(malformed(
                what(),
                "the BTF lists it, and '.maps' has no variable of that name",
            ));
        };
        let told = size != 0;
        let start = if told { variable.offset.into() } else { symbol.value };
        let end = start.saturating_add(variable.size.max(1).into());
        let others =
            |other: &&Symbol<'_>| other.section == Some(index) && other.name != symbol.name;
        if start != symbol.value
            && symbols.values().any(|other| others(other) && (start..end).contains(&other.value))
        {
            return Err(malformed(what(), "the BTF puts it where another one's symbol is"));
        }
        places.push(Place { name: &symbol.name, ty: *ty, start, end });
    }
    places.sort_by_key(|place| place.start);
    match places.array_windows().find(|[a, b]| b.start < a.end) {
        Some([a, b]) => Err(malformed(
            format!("map '{}'", b.name),
            &format!("it lies over the map '{}'", a.name),
        )),
        None => Ok(places),
    }
}

/// The first variable of each name that other files could see, as loaders look for it.
fn variables<'a>(elf: &'a Elf<'_>) -> BTreeMap<&'a str, &'a Symbol<'a>> {
    let mut variables = BTreeMap::new();
    for symbol in elf.symbols.iter().filter(|s| s.kind == SymbolKind::Object && !s.local) {
        variables.entry(&*symbol.name).or_insert(symbol);
    }
    variables
}

fn malformed(what: String, why: &str) -> ObjectError {
    ObjectError::Malformed { what, why: why.to_owned() }
}
