//! How the layout of a map's value changed between two versions of an object.

mod carry;
mod fields;
mod leaves;

use std::collections::{BTreeMap, BTreeSet};

pub use fields::{FieldAt, FieldChange, FieldClass, fields};
use skep_spec::life::FieldSpan;

use crate::btf::Same;
use crate::{Btf, TypeId};
pub(crate) use leaves::effort;
use leaves::{Leaf, leaves};

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutChange {
    /// Nothing: the same map can serve both.
    Equal,
    /// Fields came, went, moved or changed, and at least one can be carried over.
    Fields {
        /// In both, in the order of the new version.
        common: Vec<FieldPair>,
        /// Only in the new version.
        added: Vec<String>,
        /// Only in the old version.
        removed: Vec<String>,
        /// In both, but not to be carried over.
        blocked: Vec<Blocked>,
    },
    /// Nothing can be carried over, and why.
    Incompatible(String),
}

/// A field that both versions have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPair {
    /// Its path in the new version, `a.b` for nested ones; empty for a value that is itself a number.
    pub name: String,
    /// Where its first element was; of a member of an unnamed union, where the whole union was.
    pub old: FieldSpan,
    /// Where it is, likewise.
    pub new: FieldSpan,
    /// How many of them lie there one after the other: more than 1 for arrays.
    pub count: u32,
    /// Whether it is an integer that can be added; otherwise only its bytes can be taken over.
    pub number: bool,
    /// Whether that integer has a sign.
    pub signed: bool,
}

/// A field of both versions whose contents mean something else now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Its path in the new version.
    pub name: String,
    /// Why, for people.
    pub why: String,
}

/// The paths by which a manifest names what is compared of a type; none where there are too many, or two of one path.
#[must_use]
pub fn paths(btf: &Btf, ty: TypeId) -> Option<BTreeSet<String>> {
    Some(leaves(btf, ty).ok()?.into_iter().map(|leaf| leaf.name).collect())
}

/// Compares two types of map values. `renames` maps paths of the new version to those of the old.
#[must_use]
pub fn compare(
    old: &Btf,
    old_ty: TypeId,
    new: &Btf,
    new_ty: TypeId,
    renames: &BTreeMap<String, String>,
) -> LayoutChange {
    let nothing_moves = || {
        let leaves = leaves(old, old_ty).ok().zip(leaves(new, new_ty).ok());
        leaves.is_some_and(|(before, after)| effective(renames, &before, &after).is_empty())
    };
    match old.layout_eq(old_ty, new, new_ty) && (renames.is_empty() || nothing_moves()) {
        true => LayoutChange::Equal,
        false => compare_fields(old, old_ty, new, new_ty, renames),
    }
}

/// Compares them field by field, also where they are equal.
#[must_use]
pub fn compare_fields(
    old: &Btf,
    old_ty: TypeId,
    new: &Btf,
    new_ty: TypeId,
    renames: &BTreeMap<String, String>,
) -> LayoutChange {
    let (before, after) = match (leaves(old, old_ty), leaves(new, new_ty)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(why), _) | (_, Err(why)) => return LayoutChange::Incompatible(why),
    };
    let is_struct = |btf: &Btf, ty| btf.composite(ty).is_some();
    if is_struct(old, old_ty) != is_struct(new, new_ty) {
        return LayoutChange::Incompatible(format!(
            "the value was {}, it is {} now",
            old.describe(old_ty),
            new.describe(new_ty)
        ));
    }
    let renames = effective(renames, &before, &after);
    decide(&Pairs::of(&before, &after, &renames), &mut Same::new(old, new))
}

/// The renames that do something: a leaf of the new version was another one of the old version, which no leaf before it took. A
/// manifest keeps those of earlier versions, and what they renamed is there under its new name.
fn effective<'a>(
    renames: &'a BTreeMap<String, String>,
    before: &[Leaf],
    after: &[Leaf],
) -> BTreeMap<&'a str, &'a str> {
    let mut left: BTreeSet<&str> = before.iter().map(|leaf| &*leaf.name).collect();
    let named = after.iter().filter_map(|leaf| renames.get_key_value(&leaf.name));
    let all = named.map(|(name, from)| (name.as_str(), from.as_str()));
    all.filter(|(name, from)| name != from && left.remove(from)).collect()
}

fn decide(pairs: &Pairs<'_>, same: &mut Same<'_>) -> LayoutChange {
    let (mut common, mut added, mut blocked) = (vec![], vec![], vec![]);
    for (leaf, old) in &pairs.now {
        match old.map(|old| carry::carried(old, leaf, same)) {
            None => added.push(leaf.name.clone()),
            Some(Ok(pair)) => common.push(pair),
            Some(Err(why)) => blocked.push(Blocked { name: leaf.name.clone(), why }),
        }
    }
    if common.is_empty() {
        let why = match blocked.first() {
            Some(blocked) if blocked.name.is_empty() => format!("the value: {}", blocked.why),
            Some(blocked) => format!("field '{}': {}", blocked.name, blocked.why),
            None => "no field is in both versions".to_owned(),
        };
        return LayoutChange::Incompatible(why);
    }
    let removed = pairs.gone.iter().map(|leaf| leaf.name.clone()).collect();
    LayoutChange::Fields { common, added, removed, blocked }
}

/// The leaves of both versions, brought together by their paths.
struct Pairs<'a> {
    /// Those of the new version, with what they were.
    now: Vec<(&'a Leaf, Option<&'a Leaf>)>,
    /// Those that only the old version has.
    gone: Vec<&'a Leaf>,
}

impl<'a> Pairs<'a> {
    /// What a leaf is renamed from belongs to no other leaf, wherever that stands.
    fn of(before: &'a [Leaf], after: &'a [Leaf], renames: &BTreeMap<&str, &'a str>) -> Self {
        let mut left: BTreeMap<&str, &Leaf> =
            before.iter().map(|leaf| (leaf.name.as_str(), leaf)).collect();
        let renamed = |leaf: &Leaf| renames.get(leaf.name.as_str()).copied();
        let claimed: BTreeSet<&str> = after.iter().filter_map(renamed).collect();
        let old_name = |leaf: &'a Leaf| match renamed(leaf) {
            Some(old) => Some(old),
            None => Some(leaf.name.as_str()).filter(|name| !claimed.contains(name)),
        };
        let now = after
            .iter()
            .map(|leaf| (leaf, old_name(leaf).and_then(|name| left.remove(name))))
            .collect();
        let gone = before.iter().filter(|leaf| left.contains_key(leaf.name.as_str())).collect();
        Self { now, gone }
    }
}
