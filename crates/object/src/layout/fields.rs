//! What became of each field, in a word.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Content, Leaf, Leaves, Span};
use crate::{Btf, TypeId};

/// What became of a field between two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldClass {
    /// It is where and what it was.
    Same,
    /// It is what it was, elsewhere.
    Moved,
    /// It holds all that it held, and more.
    Widened,
    /// It holds less.
    Narrowed,
    /// Its bytes mean something else.
    Retyped,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

impl fmt::Display for FieldClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Moved => "moved",
            Self::Widened => "widened",
            Self::Narrowed => "narrowed",
            Self::Retyped => "retyped",
            Self::Added => "added",
            Self::Removed => "removed",
        })
    }
}

/// A field of either version. Of one that is widened or narrowed, the place may have changed too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its path, in the new version where it is there; empty for a value that is no struct.
    pub name: String,
    /// What became of it.
    pub class: FieldClass,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<FieldAt>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<FieldAt>,
}

/// A field of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldAt {
    /// Bytes from the start of the value.
    pub offset: u32,
    /// Bytes, of all elements.
    pub size: u32,
    /// The type as C writes it.
    #[serde(rename = "type")]
    pub ty: String,
}

/// What became of every field of a type, in the order of the new version, with what is gone at the end; none where there
/// are too many to compare. `renames` maps paths of the new version to those of the old.
#[must_use]
pub fn fields(
    old: &Btf,
    old_ty: TypeId,
    new: &Btf,
    new_ty: TypeId,
    renames: &BTreeMap<String, String>,
) -> Option<Vec<FieldChange>> {
    let (before, after) = (Leaves::of(old, old_ty)?, Leaves::of(new, new_ty)?);
    let mut left: BTreeMap<&str, &Leaf> =
        before.leaves.iter().map(|leaf| (leaf.name.as_str(), leaf)).collect();
    let mut changes = Vec::new();
    for leaf in &after.leaves {
        let old_name = renames.get(&leaf.name).unwrap_or(&leaf.name);
        let old = left.remove(old_name.as_str());
        changes.push(FieldChange {
            name: leaf.name.clone(),
            class: old.map_or(FieldClass::Added, |old| class(old, leaf)),
            old: old.map(FieldAt::of),
            new: Some(FieldAt::of(leaf)),
        });
    }
    let gone = before.leaves.iter().filter(|leaf| left.contains_key(leaf.name.as_str()));
    changes.extend(gone.map(|leaf| FieldChange {
        name: leaf.name.clone(),
        class: FieldClass::Removed,
        old: Some(FieldAt::of(leaf)),
        new: None,
    }));
    Some(changes)
}

impl FieldAt {
    fn of(leaf: &Leaf) -> Self {
        let Span { offset, size } = leaf.span;
        let ty =
            if leaf.count == 1 { leaf.ty.clone() } else { format!("{}[{}]", leaf.ty, leaf.count) };
        Self { offset, size: size.saturating_mul(leaf.count), ty }
    }
}

fn class(old: &Leaf, new: &Leaf) -> FieldClass {
    let (before, after) = (FieldAt::of(old), FieldAt::of(new));
    let same_number = matches!(
        (&old.content, &new.content),
        (Content::Number { signed: a }, Content::Number { signed: b }) if a == b
    );
    let element = |ty: &str| ty.split('[').next().unwrap_or(ty).to_owned();
    let same_kind = same_number
        || old.content == new.content
            && !matches!(old.content, Content::Number { .. })
            && element(&old.ty) == element(&new.ty);
    // An array of wider numbers is read number by number.
    let narrower = after.size < before.size || (same_number && new.span.size < old.span.size);
    match () {
        () if !same_kind => FieldClass::Retyped,
        () if narrower => FieldClass::Narrowed,
        () if after.size > before.size => FieldClass::Widened,
        () if after.offset != before.offset => FieldClass::Moved,
        () => FieldClass::Same,
    }
}
