//! Symbols that the object leaves to its loader: kernel functions, kernel variables, kernel configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::btf::Kind;
use crate::elf::Elf;
use crate::{Btf, TypeId};

/// A symbol of the kernel that the object names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// The symbol.
    pub name: String,
    /// Whether the object does without it (`__weak`).
    pub weak: bool,
    /// What it is.
    pub kind: OutsideKind,
    /// Its type, where BTF has one.
    pub ty: Option<TypeId>,
}

/// What a symbol of the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutsideKind {
    /// A function (`.ksyms`).
    Function,
    /// A variable (`.ksyms`).
    Variable,
    /// An option of the kernel's configuration (`.kconfig`), or what libbpf knows in its place.
    Config,
    /// The types do not say.
    Unknown,
}

/// Where variables of the kernel's configuration are declared, and the map that holds them.
pub(crate) const CONFIG: &str = ".kconfig";

/// All symbols of the kernel, sorted by name.
pub(crate) fn outsides(elf: &Elf<'_>, btf: Option<&Btf>) -> Vec<Outside> {
    let types = types(btf);
    let undefined = elf.symbols.iter().filter(|s| s.undefined && !s.name.is_empty());
    let outside = |symbol: &crate::elf::Symbol<'_>| {
        let known = types.get(&*symbol.name);
        let (kind, ty) =
            known.map_or((OutsideKind::Unknown, None), |(kind, ty)| (*kind, Some(*ty)));
        Outside { name: symbol.name.to_string(), weak: symbol.weak, kind, ty }
    };
    let mut all: Vec<Outside> = undefined.map(outside).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// Functions that the types declare as the kernel's (`__ksym`).
pub(crate) fn kernel_functions(btf: &Btf) -> impl Iterator<Item = &str> {
    let functions = types(Some(btf)).into_iter();
    functions.filter(|(_, (kind, _))| *kind == OutsideKind::Function).map(|(name, _)| name)
}

fn types(btf: Option<&Btf>) -> BTreeMap<&str, (OutsideKind, TypeId)> {
    let mut types = BTreeMap::new();
    let Some(btf) = btf else { return types };
    for (section, of_variable) in [(".ksyms", OutsideKind::Variable), (CONFIG, OutsideKind::Config)]
    {
        for entry in btf.data_section(section) {
            let (kind, ty) = match btf.kind(entry.ty) {
                Kind::Variable { ty, .. } => (of_variable, *ty),
                Kind::Function { proto, .. } => (OutsideKind::Function, *proto),
                _ => continue,
            };
            types.insert(btf.name(btf.ty(entry.ty)), (kind, ty));
        }
    }
    types
}
