//! What became of each field, in a word.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::leaves::{Leaf, leaves};
use super::{FieldSpan, Pairs, carry, effective};
use crate::btf::Same;
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
    old_types: &Btf,
    old_ty: TypeId,
    new_types: &Btf,
    new_ty: TypeId,
    renames: &BTreeMap<String, String>,
) -> Option<Vec<FieldChange>> {
    let (before, after) = (leaves(old_types, old_ty).ok()?, leaves(new_types, new_ty).ok()?);
    let renames = effective(renames, &before, &after);
    let pairs = Pairs::of(&before, &after, &renames);
    let mut same = Same::new(old_types, new_types);
    let now = pairs.now.iter().map(|(leaf, old)| FieldChange {
        name: leaf.name.clone(),
        class: old.map_or(FieldClass::Added, |old| class(old, leaf, &mut same)),
        old: old.map(|leaf| FieldAt::of(leaf, old_types)),
        new: Some(FieldAt::of(leaf, new_types)),
    });
    let mut changes: Vec<FieldChange> = now.collect();
    changes.extend(pairs.gone.iter().map(|leaf| FieldChange {
        name: leaf.name.clone(),
        class: FieldClass::Removed,
        old: Some(FieldAt::of(leaf, old_types)),
        new: None,
    }));
    Some(changes)
}

impl FieldAt {
    fn of(leaf: &Leaf, btf: &Btf) -> Self {
        let FieldSpan { offset, width: size } = leaf.span;
        let mut ty = btf.describe(leaf.ty);
        if leaf.count > 1 {
            ty += &format!("[{}]", leaf.count);
        }
        Self { offset, size: size.saturating_mul(leaf.count), ty }
    }
}

fn class(old: &Leaf, new: &Leaf, same: &mut Same<'_>) -> FieldClass {
    match () {
        () if carry::meaning(old, new, same).is_err() => FieldClass::Retyped,
        () if carry::narrower(old, new).is_some() => FieldClass::Narrowed,
        () if holds_more(old, new, same) => FieldClass::Widened,
        () if old.span.offset != new.span.offset => FieldClass::Moved,
        () => FieldClass::Same,
    }
}

/// Wider or longer, or an enumeration with more names.
fn holds_more(old: &Leaf, new: &Leaf, same: &mut Same<'_>) -> bool {
    new.span.width > old.span.width
        || new.count > old.count
        || old.shared.is_none() && old.content.is_bytes() && !same.types(old.ty, new.ty)
}
