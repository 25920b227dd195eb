//! What is known of the place where an object is to run: it tells which code is dead there.

use std::collections::BTreeSet;

use skep_object::btf::Kind;
use skep_object::{Btf, CoreKind, Guard, MapKind, TypeId, Use};

use crate::{Feature, KernelFacts, Support};

/// Where an object is to run. What is unknown counts as true: only code that certainly never runs is dead.
#[derive(Clone, Debug)]
pub struct Ground<'a> {
    /// What the kernel can do.
    pub kernel: &'a KernelFacts,
    /// The types that it tells, if it does and they were read.
    pub types: Option<&'a Btf>,
    /// Constants that may get another value than the object's own, such as those that parameters set.
    pub changed: BTreeSet<&'a str>,
}

impl Ground<'_> {
    /// Whether a program never gets to what it uses.
    #[must_use]
    pub fn is_dead(&self, used: &Use) -> bool {
        used.guards.iter().any(|guard| self.fails(guard))
    }

    fn fails(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Constant { name, off } => {
                let variable = name.split_once('+').map_or(name.as_str(), |(variable, _)| variable);
                *off && !self.changed.contains(variable)
            }
            Guard::Symbol { name, present } => {
                is_not(&self.kernel.support(&Feature::Kfunc(name.clone())), *present)
            }
            Guard::Type { ask, path, present } => is_not(&self.has(*ask, path), *present),
        }
    }

    fn has(&self, ask: CoreKind, path: &str) -> Support {
        if let Some(feature) = feature(path) {
            return self.kernel.support(&feature);
        }
        let found = self.types.and_then(|types| match ask {
            CoreKind::FieldExists => field(types, path),
            CoreKind::EnumValueExists => enumerator(types, path),
            _ => None,
        });
        match found {
            Some(true) => Support::Yes,
            Some(false) => Support::No,
            None => Support::Unknown("the kernel's types do not tell".to_owned()),
        }
    }
}

/// Whether an answer is known and another than what is wanted.
fn is_not(support: &Support, wanted: bool) -> bool {
    match support {
        Support::Yes => !wanted,
        Support::No => wanted,
        Support::Unknown(_) => false,
    }
}

/// Enumerators that stand for what a kernel can do.
fn feature(path: &str) -> Option<Feature> {
    let (list, name) = path.split_once("::")?;
    let lower = |prefix: &str| Some(name.strip_prefix(prefix)?.to_ascii_lowercase());
    match list {
        "bpf_func_id" => {
            name.strip_prefix("BPF_FUNC_").map(|name| Feature::Helper(name.to_owned()))
        }
        "bpf_map_type" => MapKind::from_name(&lower("BPF_MAP_TYPE_")?).map(Feature::Map),
        _ => None,
    }
}

/// Whether every struct of that name lacks a field. A type that is not there may be a module's, and a field of another type
/// is none to CO-RE, so that neither tells anything.
fn field(types: &Btf, path: &str) -> Option<bool> {
    let (root, steps) = path.split_once('.')?;
    let mut roots = types.types().filter(|(_, ty)| {
        matches!(ty.kind, Kind::Struct(_) | Kind::Union(_)) && types.name(*ty) == root
    });
    let (first, _) = roots.next()?;
    let lacks = |id| has_path(types, id, steps) == Some(false);
    (lacks(first) && roots.all(|(id, _)| lacks(id))).then_some(false)
}

fn has_path(types: &Btf, root: TypeId, steps: &str) -> Option<bool> {
    let mut at = root;
    for step in steps.split('.') {
        let (name, is_element) =
            step.split_once('[').map_or((step, false), |(name, _)| (name, true));
        let Some(ty) = member(types, at, name, MOST_NESTED) else { return Some(false) };
        if is_element {
            return None;
        }
        at = types.skip_modifiers(ty);
    }
    Some(true)
}

/// Deepest nesting of anonymous structs that is looked into.
const MOST_NESTED: usize = 8;

fn member(types: &Btf, of: TypeId, name: &str, depth: usize) -> Option<TypeId> {
    let composite = types.composite(of)?;
    composite.members.iter().find_map(|member| match types.name(member) {
        "" => self::member(types, types.skip_modifiers(member.ty), name, depth.checked_sub(1)?),
        found => (found == name).then_some(member.ty),
    })
}

fn enumerator(types: &Btf, path: &str) -> Option<bool> {
    let (list, name) = path.split_once("::")?;
    let id = types.find(list, |kind| matches!(kind, Kind::Enum(_) | Kind::Enum64(_)))?;
    let (Kind::Enum(list) | Kind::Enum64(list)) = types.kind(id) else { return None };
    Some(list.values.iter().any(|value| types.name(value) == name))
}
