//! What objects hold besides programs: variables, records and maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use skep_object::btf::{Int, Kind};
use skep_object::event::event_type;
use skep_object::{Facts, Global, MapFacts, MapKind, MapOrigin, bound, shown};

use super::said::{SaidOutput, SaidParam, line};
use super::{ImportError, Object, label, parsed, quoted, unique};

/// Most parameters that are made: of a program for people there are some ten.
const PARAMS_MAX: usize = 64;
/// Most parameters that are tried: each is held against the whole of what is made so far.
const TRIES_MAX: usize = 256;

/// A parameter for each constant that the loader is to set (`const volatile`), if one number or truth is its value; where a
/// description says which variables are parameters, for those. `taken` are names that others have.
pub(super) fn parameters(
    head: &str,
    taken: BTreeSet<String>,
    objects: &[Object],
    said: Option<&[SaidParam]>,
    unmapped: &mut Vec<String>,
) -> Result<String, ImportError> {
    let mut made = Parameters { head, objects, text: String::new(), taken, tries: 0 };
    let (mut left, mut own, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (facts, global) in objects.iter().flat_map(|object| variables(&object.facts)) {
        let of_it = said.and_then(|said| said.iter().find(|one| one.variable == global.name));
        if !seen.insert(global.name.clone()) || (global.section != ".rodata" && of_it.is_none()) {
            continue;
        }
        let told = shown(&global.name).into_owned();
        if said.is_some() && of_it.is_none() {
            own.insert(told);
        } else if !made.add(facts, global, of_it, unmapped)? {
            left.insert(told);
        }
    }
    let absent = said.into_iter().flatten().filter(|one| !seen.contains(&one.variable));
    left.extend(absent.map(|one| shown(&one.variable).into_owned()));
    for (names, words) in [
        (left, "constants that have no parameter"),
        (own, "constants that only its own loader sets"),
    ] {
        if !names.is_empty() {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            unmapped.push(format!("{words}: {names}"));
        }
    }
    Ok(made.text)
}

/// Tables of parameters as they are made.
struct Parameters<'a> {
    head: &'a str,
    objects: &'a [Object],
    text: String,
    taken: BTreeSet<String>,
    tries: usize,
}

impl Parameters<'_> {
    /// Adds one for a variable; says whether it can have one.
    fn add(
        &mut self,
        facts: &Facts,
        global: &Global,
        said: Option<&SaidParam>,
        unmapped: &mut Vec<String>,
    ) -> Result<bool, ImportError> {
        let ptype = word(facts, global).filter(|_| self.taken.len() < PARAMS_MAX);
        let Some(ptype) = ptype.filter(|_| self.tries < TRIES_MAX) else { return Ok(false) };
        self.tries += 1;
        let name = said.map_or_else(|| label(&global.name, '_'), SaidParam::label);
        let name = unique(&name, &self.taken);
        let key = if global.section == ".rodata" { "rodata" } else { "data" };
        let table =
            format!("\n[param.{name}]\ntype = \"{ptype}\"\n{key} = {}\n", quoted(&global.name));
        let doc = said.and_then(|said| line(said.doc.as_deref()?));
        let doc = doc.map(|doc| format!("doc = {}\n", quoted(&doc))).unwrap_or_default();
        let default = said.and_then(|said| said.default.as_deref()).filter(|text| !text.is_empty());
        let with = default.and_then(|text| written(ptype, text));
        let with = with.map(|value| format!("{table}default = {value}\n{doc}"));
        let without = format!("{table}{doc}");
        let table = match with {
            Some(with) if self.fits(&with)? => with,
            _ if self.fits(&without)? => {
                unmapped.extend(default.map(|text| {
                    format!("the parameter '{name}' has no default '{}'", shown(text))
                }));
                without
            }
            _ => return Ok(false),
        };
        self.text += &table;
        self.taken.insert(name);
        Ok(true)
    }

    /// Two objects may have variables of one name and of several types.
    fn fits(&self, table: &str) -> Result<bool, ImportError> {
        let Ok(manifest) = parsed(&format!("{}{table}", self.head)) else { return Ok(false) };
        Ok(bound::all_bound(&manifest, self.objects.iter().map(|object| &object.facts)).is_ok())
    }
}

/// A default as a `skep.toml` has it.
fn written(ptype: &str, text: &str) -> Option<String> {
    match ptype {
        "bool" => text.parse::<bool>().ok().map(|value| value.to_string()),
        "int" | "uint" => text.parse::<i64>().ok().map(|value| value.to_string()),
        _ => Some(quoted(text)),
    }
}

/// Variables that C calls by a name: of others, such as texts to print, the symbol has a dot.
fn variables(facts: &Facts) -> impl Iterator<Item = (&Facts, &Global)> {
    let named = |global: &&Global| {
        let name = &global.name;
        let is_set = [".rodata", ".data", ".bss"].contains(&&*global.section);
        is_set && !name.contains('.') && !name.starts_with("__")
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

/// The outputs that a description names, and one of events for each other buffer whose records can be told.
pub(super) fn outputs(
    objects: &[Object],
    said: &[SaidOutput],
    unmapped: &mut Vec<String>,
) -> String {
    let all: Vec<&Facts> = objects.iter().map(|object| &object.facts).collect();
    let (mut text, mut taken, mut told) = (String::new(), BTreeSet::new(), BTreeSet::new());
    let (mut done, mut left) = (BTreeSet::new(), BTreeSet::new());
    for output in said {
        let name = unique(&label(&output.name, '_'), &taken);
        if let Some(table) = output.table(&name, &all, &mut left) {
            text += &table;
            taken.insert(name);
            done.insert(output.map.as_str());
        }
    }
    let mut buffers: BTreeMap<&str, bool> = BTreeMap::new();
    for facts in all {
        for map in facts.maps.iter().filter(|map| is_buffer(map) && !done.contains(&*map.name)) {
            let is_told = event_type(facts, &map.name, None).is_some();
            *buffers.entry(&map.name).or_insert(true) &= is_told;
        }
    }
    for (map, is_told) in buffers {
        if !is_told {
            let map = shown(map);
            told.insert(format!("nobody can tell the records of the map '{map}': give it an [output] with their struct"));
            continue;
        }
        let name = unique(&label(map, '_'), &taken);
        let _ = write!(text, "\n[output.{name}]\nkind = \"event\"\nmap = {}\n", quoted(map));
        taken.insert(name);
    }
    unmapped.extend(left.into_iter().chain(told));
    text
}

fn is_buffer(map: &MapFacts) -> bool {
    matches!(map.kind, MapKind::RingBuf | MapKind::PerfEventArray)
}

/// What of maps a package has no word for, or only their own loader knows.
pub(super) fn maps(objects: &[Object], unmapped: &mut Vec<String>) {
    let mut told = BTreeSet::new();
    for map in objects.iter().flat_map(|object| &object.facts.maps) {
        let name = shown(&map.name);
        if map.pinned {
            told.insert(format!(
                "the map '{name}' asks to be pinned by its name: maps are the service's own"
            ));
        }
        match map.origin {
            MapOrigin::StructOps if !map.has_link() => _ = told.insert(format!("'{name}' implements a kernel interface without a link: a service attaches what stands in .struct_ops.link")),
            MapOrigin::Btf | MapOrigin::Legacy if map.max_entries == 0 && needs_size(map.kind) => {
                told.insert(format!("the map '{name}' has no size, which its own loader gives it: [map.{}] max_entries = …", skep_spec::source::key(&map.name)));
            }
            MapOrigin::Btf | MapOrigin::Legacy | MapOrigin::Data | MapOrigin::StructOps => {}
        }
    }
    unmapped.extend(told);
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
