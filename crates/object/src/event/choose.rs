//! Which struct the records of a buffer are.

use crate::btf::{Kind, Type};
use crate::{Btf, Facts, TypeId};

/// The type of the records of a ring or perf buffer, in this order: the name that was told; the `value` of the map's
/// definition; what globals named `unused…` point to (a habit of Go programs); a struct named like the map (`events`:
/// `event`); `struct event`; the only struct whose name ends in `event` or `event_t`.
///
/// None where nothing fits, where what was told is not there, or where structs of one name differ and nothing says which.
#[must_use]
pub fn event_type(facts: &Facts, map: &str, told: Option<&str>) -> Option<TypeId> {
    let btf = facts.btf.as_ref()?;
    if let Some(told) = told {
        return told_type(facts, btf, map, told);
    }
    value_of(facts, btf, map)
        .or_else(|| pointed_by_unused(btf))
        .or_else(|| named_like(btf, map))
        .or_else(|| structure(btf, "event"))
        .or_else(|| only_event(btf))
}

/// The type of a name; of several that differ the map's value, if it is one of them.
fn told_type(facts: &Facts, btf: &Btf, map: &str, told: &str) -> Option<TypeId> {
    let first = btf.type_by_name(told).filter(|ty| btf.size_of(*ty).is_some())?;
    let others = namesakes(btf, first);
    if others.is_empty() {
        return Some(first);
    }
    let value = value_of(facts, btf, map).map(|ty| btf.skip_modifiers(ty));
    value.filter(|ty| *ty == first || others.contains(ty))
}

/// Structs with the name of this one that are laid out differently: two linked sources may each have their own.
#[must_use]
pub fn namesakes(btf: &Btf, first: TypeId) -> Vec<TypeId> {
    let name = btf.name(btf.ty(first));
    let is_other = |(id, ty): &(TypeId, &Type)| {
        let same = matches!(ty.kind, Kind::Struct(_)) && btf.name(*ty) == name;
        same && is_record(btf, *id) && !btf.layout_eq(first, btf, *id)
    };
    if name.is_empty() || !matches!(btf.kind(first), Kind::Struct(_)) {
        return Vec::new();
    }
    btf.types().filter(is_other).map(|(id, _)| id).collect()
}

fn value_of(facts: &Facts, btf: &Btf, map: &str) -> Option<TypeId> {
    facts.map(map).and_then(|m| m.value_type).filter(|ty| is_record(btf, *ty))
}

/// Perf buffers may say `__type(value, u32)`, which is the size of a file descriptor.
fn is_record(btf: &Btf, ty: TypeId) -> bool {
    btf.composite(ty).is_some_and(|c| !c.members.is_empty())
}

/// Only as the value of a map does a union count.
fn is_struct(btf: &Btf, ty: TypeId) -> bool {
    is_record(btf, ty) && matches!(btf.kind(btf.skip_modifiers(ty)), Kind::Struct(_))
}

/// The only struct of a name, however often it is there.
fn structure(btf: &Btf, name: &str) -> Option<TypeId> {
    let found = btf.find(name, |k| matches!(k, Kind::Struct(c) if !c.members.is_empty()))?;
    namesakes(btf, found).is_empty().then_some(found)
}

fn pointed_by_unused(btf: &Btf) -> Option<TypeId> {
    let mut pointed = btf
        .types()
        .filter(|(_, ty)| btf.name(*ty).starts_with("unused"))
        .filter_map(|(_, ty)| match ty.kind {
            Kind::Variable { ty, .. } => Some(btf.pointee(ty)),
            _ => None,
        })
        .filter(|ty| is_struct(btf, *ty));
    let first = pointed.next()?;
    let others = namesakes(btf, first);
    pointed.all(|ty| !others.contains(&ty)).then_some(first)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An object whose sources each had a struct `event` of their own.
    fn facts(more: &str) -> Facts {
        let folder = tempfile::tempdir().unwrap();
        let (c, object) = (folder.path().join("t.c"), folder.path().join("t.o"));
        let source = format!(
            "struct ring {{ int (*type)[27]; int (*max_entries)[4096]; }};\n\
             struct ring rb_a __attribute__((section(\".maps\")));\n{more}\n\
             __attribute__((section(\"xdp\"))) int x(void *c) {{\n\
             struct event {{ unsigned long reads, writes; }}; static const struct event *volatile a; return a != 0; }}\n\
             __attribute__((section(\"xdp\"))) int y(void *c) {{\n\
             struct event {{ unsigned port, peer; char name[8]; }}; static const struct event *volatile b; return b != 0; }}\n"
        );
        std::fs::write(&c, source).unwrap();
        let mut clang = std::process::Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
        assert!(clang.status().unwrap().success());
        Facts::parse(&std::fs::read(object).unwrap()).unwrap()
    }

    #[test]
    fn of_two_structs_of_one_name_none_is_guessed() {
        let facts = facts("struct one { int n; }; const struct one *volatile named;");
        let btf = facts.btf.as_ref().unwrap();
        let first = btf.type_by_name("event").unwrap();
        assert_eq!(namesakes(btf, first).len(), 1);
        assert_eq!(event_type(&facts, "rb_a", Some("event")), None);
        assert_eq!(event_type(&facts, "rb_a", None), None, "struct event is no guess either");
        let one = event_type(&facts, "rb_a", Some("one")).unwrap();
        assert_eq!(btf.describe(one), "struct one");
    }
}
