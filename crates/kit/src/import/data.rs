//! What objects hold besides programs: variables, records and maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use skep_object::btf::{Int, Kind};
use skep_object::event::event_type;
use skep_object::{Facts, Global, MapFacts, MapKind, MapOrigin, bound, shown};

use super::{ImportError, Object, label, parsed, quoted, unique};

/// Most parameters that are made: of a program for people there are some ten.
const PARAMS_MAX: usize = 64;

/// A parameter for each constant that the loader is to set (`const volatile`), if one number or truth is its value.
pub(super) fn parameters(
    head: &str,
    objects: &[Object],
    unmapped: &mut Vec<String>,
) -> Result<String, ImportError> {
    let (mut text, mut taken, mut left) = (String::new(), names_of_places(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for (facts, global) in objects.iter().flat_map(|object| constants(&object.facts)) {
        if !seen.insert(global.name.clone()) {
            continue;
        }
        let ptype = word(facts, global).filter(|_| taken.len() < PARAMS_MAX);
        let name = unique(&label(&global.name, '_'), &taken);
        let table = ptype.map(|ptype| {
            format!("\n[param.{name}]\ntype = \"{ptype}\"\nrodata = {}\n", quoted(&global.name))
        });
        // Two objects may have variables of one name and of several types.
        let fits = |table: &String| -> Result<bool, ImportError> {
            let manifest = parsed(&format!("{head}{table}"))?;
            Ok(bound::all_bound(&manifest, objects.iter().map(|object| &object.facts)).is_ok())
        };
        match table {
            Some(table) if fits(&table)? => {
                text += &table;
                taken.insert(name);
            }
            _ => _ = left.insert(shown(&global.name).into_owned()),
        }
    }
    if !left.is_empty() {
        let left = left.into_iter().collect::<Vec<_>>().join(", ");
        unmapped.push(format!("constants that have no parameter: {left}"));
    }
    Ok(text)
}

/// Those that parameters for places have.
fn names_of_places() -> BTreeSet<String> {
    ["interface", "cgroup"].map(str::to_owned).into()
}

/// Constants that C calls by a name: of others, such as texts to print, the symbol has a dot.
fn constants(facts: &Facts) -> impl Iterator<Item = (&Facts, &Global)> {
    let named = |global: &&Global| {
        let name = &global.name;
        global.section == ".rodata" && !name.contains('.') && !name.starts_with("__")
    };
    facts.globals.iter().filter(named).map(move |global| (facts, global))
}

/// The word for a parameter that a variable can take.
fn word(facts: &Facts, global: &Global) -> Option<&'static str> {
    let (btf, ty) = (facts.btf.as_ref()?, global.ty?);
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Int(Int { bool: true, .. }) => Some("bool"),
        Kind::Int(Int { signed: true, size: 1..=8, .. }) => Some("int"),
        Kind::Int(Int { size: 1..=8, .. }) => Some("uint"),
        Kind::Enum(_) | Kind::Enum64(_) => Some("enum"),
        _ => None,
    }
}

/// An output of events for each buffer whose records can be told.
pub(super) fn outputs(objects: &[Object], unmapped: &mut Vec<String>) -> String {
    let mut buffers: BTreeMap<&str, bool> = BTreeMap::new();
    for facts in objects.iter().map(|object| &object.facts) {
        for map in facts.maps.iter().filter(|map| is_buffer(map)) {
            let is_told = event_type(facts, &map.name, None).is_some();
            *buffers.entry(&map.name).or_insert(true) &= is_told;
        }
    }
    let (mut text, mut taken) = (String::new(), BTreeSet::new());
    for (map, is_told) in buffers {
        if !is_told {
            let map = shown(map);
            unmapped.push(format!("nobody can tell the records of the map '{map}': give it an [output] with their struct"));
            continue;
        }
        let name = unique(&label(map, '_'), &taken);
        let _ = write!(text, "\n[output.{name}]\nkind = \"event\"\nmap = {}\n", quoted(map));
        taken.insert(name);
    }
    text
}

fn is_buffer(map: &MapFacts) -> bool {
    matches!(map.kind, MapKind::RingBuf | MapKind::PerfEventArray)
}

/// What of maps a package has no word for, or only their own loader knows.
pub(super) fn maps(objects: &[Object], unmapped: &mut Vec<String>) {
    for map in objects.iter().flat_map(|object| &object.facts.maps) {
        let name = shown(&map.name);
        if map.pinned {
            unmapped.push(format!(
                "the map '{name}' asks to be pinned by its name: maps are the service's own"
            ));
        }
        match map.origin {
            MapOrigin::StructOps => unmapped.push(format!("'{name}' implements a kernel interface (struct_ops), which no service attaches")),
            MapOrigin::Legacy => unmapped.push(format!("the map '{name}' is defined in the old way (SEC(\"maps\")), which libbpf 1 does not load")),
            MapOrigin::Btf if map.max_entries == 0 && needs_size(map.kind) => {
                unmapped.push(format!("the map '{name}' has no size, which its own loader gives it: [map.{}] max_entries = …", skep_spec::source::key(&map.name)));
            }
            MapOrigin::Btf | MapOrigin::Data => {}
        }
    }
}

/// Whether the kernel refuses one without a size: others get one of their loader, or have none.
fn needs_size(kind: MapKind) -> bool {
    use MapKind::{
        CgroupStorage, CgrpStorage, InodeStorage, PercpuCgroupStorage, PerfEventArray, SkStorage,
        TaskStorage,
    };
    let none = [
        PerfEventArray,
        CgroupStorage,
        PercpuCgroupStorage,
        SkStorage,
        InodeStorage,
        TaskStorage,
        CgrpStorage,
    ];
    !none.contains(&kind)
}
