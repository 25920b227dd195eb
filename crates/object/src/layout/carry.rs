//! Whether the contents of a leaf can be carried over to the leaf of the same path.

use std::collections::BTreeMap;

use super::leaves::{Content, Leaf};
use super::{FieldPair, FieldSpan};
use crate::btf::{Enum, Kind, Same};
use crate::shown::brief;
use crate::{Btf, TypeId};

/// The pair of two leaves, or why there is none.
pub(super) fn carried(old: &Leaf, new: &Leaf, same: &mut Same<'_>) -> Result<FieldPair, String> {
    let pair = |old: FieldSpan, new_span: FieldSpan, count| FieldPair {
        name: new.name.clone(),
        old,
        new: new_span,
        count,
        number: false,
        signed: false,
    };
    if let (Some(before), Some(after)) = (&old.shared, &new.shared) {
        meaning(old, new, same)?;
        // Which member holds, nobody knows: the union goes as a whole.
        return Ok(pair(before.span, after.span, 1));
    }
    for leaf in [old, new] {
        match &leaf.content {
            Content::Kernel(what) => {
                return Err(format!("a {what} belongs to the kernel and cannot be moved"));
            }
            Content::Bits(_) => return Err("bit fields cannot be moved".to_owned()),
            _ => {}
        }
    }
    meaning(old, new, same)?;
    if let Some(why) = narrower(old, new) {
        return Err(why);
    }
    Ok(match old.content {
        Content::Number { signed } if !is_text(old, new) => {
            FieldPair { number: true, signed, ..pair(old.span, new.span, old.count) }
        }
        _ if is_text(old, new) => {
            // The longer text begins with the shorter one.
            let width = bytes(old);
            pair(FieldSpan { width, ..old.span }, FieldSpan { width, ..new.span }, 1)
        }
        _ => pair(old.span, new.span, old.count),
    })
}

/// Whether the bytes of an element mean the same, however wide it is; or why not.
pub(super) fn meaning(old: &Leaf, new: &Leaf, same: &mut Same<'_>) -> Result<(), String> {
    match (&old.shared, &new.shared) {
        (None, None) => {}
        (Some(before), Some(after)) if same.types(before.ty, after.ty) => return Ok(()),
        (Some(_), Some(_)) => {
            return Err("it shares its place with others in a union that changed".to_owned());
        }
        (Some(_), None) => {
            return Err("it shared its place with others in a union".to_owned());
        }
        (None, Some(_)) => {
            return Err("it shares its place with others in a union now".to_owned());
        }
    }
    let (left, right) = (same.left, same.right);
    let other = || {
        let (was, is) = (left.describe(old.ty), right.describe(new.ty));
        if was == is { format!("{is} changed") } else { format!("it was {was}, it is {is} now") }
    };
    match (&old.content, &new.content) {
        (Content::Number { signed: a }, Content::Number { signed: b }) if a != b => {
            let word = |signed: &bool| if *signed { "signed" } else { "unsigned" };
            Err(format!("it was {}, it is {} now", word(a), word(b)))
        }
        (Content::Number { .. }, Content::Number { .. }) | (Content::Text, Content::Text) => Ok(()),
        // An array of the same bytes that calls them something else.
        (Content::Text, Content::Number { .. }) | (Content::Number { .. }, Content::Text)
            if same.types(element(left, old.ty), element(right, new.ty)) =>
        {
            Ok(())
        }
        (Content::Bytes, Content::Bytes) => match enums(old, new, same) {
            Some((before, after)) => keeps_enumerators(before, after, same),
            None if same.types(old.ty, new.ty) => Ok(()),
            None => Err(other()),
        },
        (before, after) if before == after && same.types(old.ty, new.ty) => Ok(()),
        _ => Err(other()),
    }
}

/// Whether less fits into the new one, and how that is said.
pub(super) fn narrower(old: &Leaf, new: &Leaf) -> Option<String> {
    if is_text(old, new) {
        let (was, is) = (bytes(old), bytes(new));
        return (was > is).then(|| format!("it had {was} bytes, it has {is} now"));
    }
    if old.span.width > new.span.width {
        return Some(format!("it had {} bytes, it has {} now", old.span.width, new.span.width));
    }
    (old.count > new.count)
        .then(|| format!("it had {} elements, it has {} now", old.count, new.count))
}

fn is_text(old: &Leaf, new: &Leaf) -> bool {
    [old, new].iter().any(|leaf| leaf.content == Content::Text)
}

/// Of all its elements. A value has at most 2^32 - 1.
fn bytes(leaf: &Leaf) -> u32 {
    leaf.span.width.saturating_mul(leaf.count)
}

/// Of an array its elements' type, of anything else its own.
fn element(btf: &Btf, ty: TypeId) -> TypeId {
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Array(array) => array.element,
        _ => ty,
    }
}

fn enums<'a>(old: &Leaf, new: &Leaf, same: &Same<'a>) -> Option<(&'a Enum, &'a Enum)> {
    let of = |btf: &'a Btf, ty| match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Enum(list) | Kind::Enum64(list) => Some(list),
        _ => None,
    };
    Some((of(same.left, old.ty)?, of(same.right, new.ty)?))
}

/// A number that was stored must have the name that it had; new names do no harm.
fn keeps_enumerators(old: &Enum, new: &Enum, same: &Same<'_>) -> Result<(), String> {
    if old.size != new.size {
        return Err(format!("it had {} bytes, it has {} now", old.size, new.size));
    }
    let names = new.values.iter().map(|value| (same.right.name(value), value.value));
    let now: BTreeMap<&str, i64> = names.collect();
    for enumerator in &old.values {
        let (name, was) = (same.left.name(enumerator), enumerator.value);
        match now.get(name) {
            None => return Err(format!("the enumerator {} is gone", brief(name))),
            Some(is) if *is != was || (was < 0 && old.signed != new.signed) => {
                let name = brief(name);
                return Err(format!("the enumerator {name} was {was}, it is {is} now"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
