//! An object's facts as they are shown: all of them as JSON, what matters on a page.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use skep_object::gpl::{self, GplUse};
use skep_object::permissions::{self, Power, Reason};
use skep_object::{
    Btf, CoreRelocation, Facts, Global, Loose, MapFacts, MapKind, MapOrigin, Memory, Outside,
    ProgramFacts, ProgramKind, Slot, Source, TypeId, Use, Writers, declared,
};
use skep_spec::manifest::Param;
use skep_spec::{Arch, Manifest};

use crate::subject::{ObjectBytes, Running};

/// An object.
#[derive(Serialize)]
#[allow(missing_docs, reason = "the fields are those of skep_object")]
pub struct Object {
    pub name: String,
    /// Architectures of the package that it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Arch>,
    pub size: usize,
    pub big_endian: bool,
    /// The architecture whose registers it reads, if any.
    pub arch: Option<Arch>,
    pub license: Option<String>,
    pub gpl: Gpl,
    pub hooks: BTreeSet<String>,
    pub helpers: BTreeSet<String>,
    pub kfuncs: BTreeSet<String>,
    pub powers: Vec<Power>,
    pub reasons: Vec<Reason>,
    pub unknown_calls: BTreeSet<String>,
    pub memory: Memory,
    pub programs: Vec<Program>,
    pub maps: Vec<Map>,
    /// Maps that take programs of others, with the programs that hand over to those.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub open_maps: BTreeMap<String, Vec<String>>,
    pub variables: Vec<Variable>,
    pub symbols: Vec<Symbol>,
    pub core_relocations: Vec<CoreRelocation>,
    /// Instructions that belong to no function.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loose: Vec<Loose>,
    /// Programs that are in it and that the package does not run.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<String>,
    /// Parameters by the variables that they write.
    #[serde(skip)]
    pub set_by: BTreeMap<String, String>,
}

/// What asks for a licence that is compatible with the GPL.
#[derive(Serialize)]
pub struct Gpl {
    pub compatible: bool,
    pub uses: Vec<GplUse>,
}

/// A program.
#[derive(Serialize)]
pub struct Program {
    pub name: String,
    pub section: String,
    pub kind: Option<ProgramKind>,
    pub attach_type: Option<&'static str>,
    pub target: String,
    /// Where the defaults of parameters put it, for a target with some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub autoload: bool,
    pub attached: bool,
    pub instructions: usize,
    pub functions: usize,
    pub stack: Option<u32>,
    pub source: Option<Source>,
    pub uses: Vec<Use>,
    pub maps: BTreeSet<String>,
    pub writes: BTreeMap<String, Writers>,
    pub deletes: BTreeSet<String>,
    pub unknown_calls: bool,
    pub writes_registers: bool,
}

/// A map.
#[derive(Serialize)]
pub struct Map {
    pub name: String,
    pub r#type: MapKind,
    pub key_size: u32,
    pub key_type: Option<String>,
    pub value_size: u32,
    pub value_type: Option<String>,
    pub max_entries: u32,
    pub flags: u32,
    pub memory: Memory,
    pub pinned: bool,
    pub origin: MapOrigin,
    /// The worst of all programs.
    pub written: Writers,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<Self>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
}

/// A global variable.
#[derive(Serialize)]
pub struct Variable {
    pub name: String,
    pub section: String,
    pub offset: u64,
    pub size: u64,
    pub r#type: Option<String>,
    pub value: Option<serde_json::Value>,
}

/// A symbol of the kernel.
#[derive(Serialize)]
pub struct Symbol {
    #[serde(flatten)]
    pub outside: Outside,
    pub r#type: Option<String>,
}

impl Object {
    /// What runs of an object, of a package's as its manifest says.
    pub fn read(
        object: &ObjectBytes,
        Running { facts, left_out }: Running,
        manifest: Option<&Manifest>,
    ) -> Self {
        let summary = declared::summary(manifest, &facts);
        let btf = facts.btf.as_ref();
        Self {
            name: object.name.clone(),
            architectures: object.architectures.clone(),
            size: object.bytes.len(),
            big_endian: facts.big_endian,
            arch: facts.arch_hint,
            gpl: Gpl {
                compatible: facts
                    .license
                    .as_deref()
                    .is_some_and(skep_spec::license::is_gpl_compatible),
                uses: gpl::uses(&facts),
            },
            license: facts.license.clone(),
            hooks: summary.hooks,
            helpers: summary.helpers,
            kfuncs: summary.kfuncs,
            powers: summary.powers,
            reasons: permissions::reasons(&facts),
            unknown_calls: summary.unknown_calls,
            memory: summary.map_memory,
            programs: facts.programs.iter().map(|facts| program(facts, manifest)).collect(),
            maps: facts.maps.iter().map(|m| map(m, &facts)).collect(),
            open_maps: facts.open_maps(),
            variables: facts.globals.into_iter().map(|global| variable(global, btf)).collect(),
            symbols: facts.outside.iter().map(|outside| symbol(outside, btf)).collect(),
            core_relocations: facts.core_relocations,
            loose: facts.loose,
            left_out,
            set_by: manifest.map(set_by).unwrap_or_default(),
        }
    }
}

fn set_by(manifest: &Manifest) -> BTreeMap<String, String> {
    let bound = |(name, param): (&String, &Param)| {
        let variables = param.rodata.iter().chain(&param.data).chain(param.set.keys());
        variables.map(|variable| (variable.clone(), name.clone())).collect::<Vec<_>>()
    };
    manifest.param.iter().flat_map(bound).collect()
}

fn program(program: &ProgramFacts, manifest: Option<&Manifest>) -> Program {
    let target = program.target.to_string();
    Program {
        place: manifest.and_then(|manifest| declared::place(manifest, &target)),
        target,
        name: program.name.clone(),
        section: program.section.clone(),
        kind: ProgramKind::of_section(&program.section),
        attach_type: program.attach_type,
        autoload: program.autoload,
        attached: program.attached,
        instructions: program.insns,
        functions: program.functions,
        stack: program.stack,
        source: program.source.clone(),
        uses: program.uses.clone(),
        maps: program.maps.clone(),
        writes: program.writes.clone(),
        deletes: program.deletes.clone(),
        unknown_calls: program.unknown_calls,
        writes_registers: program.writes_registers,
    }
}

fn map(map_facts: &MapFacts, facts: &Facts) -> Map {
    let ty = |ty| described(facts.btf.as_ref(), ty);
    Map {
        name: map_facts.name.clone(),
        r#type: map_facts.kind,
        key_size: map_facts.key_size,
        key_type: ty(map_facts.key_type),
        value_size: map_facts.value_size,
        value_type: ty(map_facts.value_type),
        max_entries: map_facts.max_entries,
        flags: map_facts.flags,
        memory: map_facts.memory(),
        pinned: map_facts.pinned,
        origin: map_facts.origin,
        written: facts.writers(&map_facts.name),
        inner: map_facts.inner.as_ref().map(|inner| Box::new(map(inner, facts))),
        slots: map_facts.slots.clone(),
    }
}

fn variable(global: Global, btf: Option<&Btf>) -> Variable {
    Variable {
        r#type: described(btf, global.ty),
        value: btf.and_then(|btf| global.value(btf)),
        name: global.name,
        section: global.section,
        offset: global.offset,
        size: global.size,
    }
}

fn symbol(outside: &Outside, btf: Option<&Btf>) -> Symbol {
    Symbol { r#type: described(btf, outside.ty), outside: outside.clone() }
}

fn described(btf: Option<&Btf>, ty: Option<TypeId>) -> Option<String> {
    Some(btf?.describe(ty?)).filter(|text| !text.is_empty())
}
