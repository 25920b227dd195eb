//! Which struct the records of a buffer are.

use crate::btf::Kind;
use crate::{Btf, Facts, TypeId};

/// The type of the records of a ring or perf buffer, in this order: the name that was told; the `value` of the map's
/// definition; what globals named `unused…` point to (a habit of Go programs); a struct named like the map (`events`:
/// `event`); `struct event`; the only struct whose name ends in `event` or `event_t`.
///
/// None where nothing fits, or where what was told is not there.
#[must_use]
pub fn event_type(facts: &Facts, map: &str, told: Option<&str>) -> Option<TypeId> {
    let btf = facts.btf.as_ref()?;
    if let Some(told) = told {
        return btf.type_by_name(told).filter(|ty| btf.size_of(*ty).is_some());
    }
    let value = facts.map(map).and_then(|m| m.value_type).filter(|ty| is_record(btf, *ty));
    value
        .or_else(|| pointed_by_unused(btf))
        .or_else(|| named_like(btf, map))
        .or_else(|| structure(btf, "event"))
        .or_else(|| only_event(btf))
}

/// Perf buffers may say `__type(value, u32)`, which is the size of a file descriptor.
fn is_record(btf: &Btf, ty: TypeId) -> bool {
    btf.composite(ty).is_some_and(|c| !c.members.is_empty())
}

/// Only as the value of a map does a union count.
fn is_struct(btf: &Btf, ty: TypeId) -> bool {
    is_record(btf, ty) && matches!(btf.kind(btf.skip_modifiers(ty)), Kind::Struct(_))
}

fn structure(btf: &Btf, name: &str) -> Option<TypeId> {
    btf.find(name, |k| matches!(k, Kind::Struct(c) if !c.members.is_empty()))
}

fn pointed_by_unused(btf: &Btf) -> Option<TypeId> {
    btf.types()
        .filter(|(_, ty)| btf.name(*ty).starts_with("unused"))
        .filter_map(|(_, ty)| match ty.kind {
            Kind::Variable { ty, .. } => Some(btf.pointee(ty)),
            _ => None,
        })
        .find(|ty| is_struct(btf, *ty))
}

fn named_like(btf: &Btf, map: &str) -> Option<TypeId> {
    let one = map.strip_suffix('s').filter(|one| !one.is_empty()).unwrap_or(map);
    let names = [one.to_owned(), map.to_owned(), format!("{one}_t"), format!("{one}_event")];
    names.iter().find_map(|name| structure(btf, name))
}

fn only_event(btf: &Btf) -> Option<TypeId> {
    let mut found = btf.types().filter(|(id, ty)| {
        let name = btf.name(*ty);
        let named = name.ends_with("event") || name.ends_with("event_t");
        named && matches!(ty.kind, Kind::Struct(_)) && is_record(btf, *id)
    });
    match (found.next(), found.next()) {
        (Some((id, _)), None) => Some(id),
        _ => None,
    }
}
