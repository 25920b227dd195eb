//! Whether one package's program may use another's map: both must mean the same bytes.

use crate::layout::{LayoutChange, compare};
use crate::{Facts, MapFacts, MapKind, MapOrigin, TypeId};

/// Why a map cannot be used by both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the map '{map}' cannot be shared: {why}")]
pub struct NotShared {
    map: String,
    why: String,
}

impl NotShared {
    /// A map that cannot be shared, and the sentence that says why.
    #[must_use]
    pub fn new(map: &str, why: impl Into<String>) -> Self {
        Self { map: map.to_owned(), why: why.into() }
    }

    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "life.shared"
    }
}

/// A map as one object defines it.
#[derive(Clone, Copy, Debug)]
pub struct Defined<'a> {
    /// The object.
    pub facts: &'a Facts,
    /// The map.
    pub map: &'a MapFacts,
}

/// Holds the definition of who uses a map against that of who exports it: kind, sizes, and the layouts of key and value. How
/// many entries there are is the exporter's to say.
///
/// # Errors
/// They differ, or no two packages can share such a map.
pub fn shared(exporter: Defined<'_>, user: Defined<'_>) -> Result<(), NotShared> {
    let (here, there) = (user.map, exporter.map);
    let refuse = |why: String| Err(NotShared::new(&here.name, why));
    if let Some(why) = unshareable(there).or_else(|| unshareable(here)) {
        return refuse(why);
    }
    if here.kind != there.kind {
        return refuse(format!("it is a {} there, and a {} here", there.kind, here.kind));
    }
    for (what, theirs, ours) in
        [("keys", there.key_size, here.key_size), ("values", there.value_size, here.value_size)]
    {
        if theirs != ours {
            return refuse(format!("its {what} have {theirs} bytes there, and {ours} here"));
        }
    }
    for (what, of) in [("key", KEY), ("value", VALUE)] {
        if let Some(why) = types_differ(exporter, user, of) {
            return refuse(format!("its {what} is another here: {why}"));
        }
    }
    Ok(())
}

/// The type of a map's key, or of its value.
pub type TypeOf = fn(&MapFacts) -> Option<TypeId>;

const KEY: TypeOf = |map| map.key_type;
const VALUE: TypeOf = |map| map.value_type;

/// Whether a type is the same in both; where neither says one, its size must do.
#[must_use]
pub fn same_type(one: Defined<'_>, other: Defined<'_>, of: TypeOf) -> bool {
    match (of(one.map), of(other.map)) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            let btf = one.facts.btf.as_ref().zip(other.facts.btf.as_ref());
            btf.is_some_and(|(one, other)| one.layout_eq(a, other, b))
        }
        _ => false,
    }
}

fn types_differ(exporter: Defined<'_>, user: Defined<'_>, of: TypeOf) -> Option<String> {
    if same_type(exporter, user, of) {
        return None;
    }
    let btf = exporter.facts.btf.as_ref().zip(user.facts.btf.as_ref());
    let types = of(exporter.map).zip(of(user.map));
    let Some(((theirs, ours), (a, b))) = btf.zip(types) else {
        return Some("only one of both says its type".to_owned());
    };
    Some(match compare(theirs, a, ours, b, &Default::default()) {
        LayoutChange::Fields { common, added, removed, blocked } => {
            let moved = common.iter().filter(|pair| pair.old != pair.new).map(|pair| &pair.name);
            let moved: Vec<&String> =
                moved.chain(blocked.iter().map(|field| &field.name)).collect();
            let parts = [("not here", removed), ("only here", added)];
            let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
            let mut said: Vec<String> =
                parts.map(|(what, names)| format!("{what} {}", some(names.iter()))).collect();
            if !moved.is_empty() {
                said.push(format!("elsewhere or of another type {}", some(moved.into_iter())));
            }
            said.join("; ")
        }
        _ => "nothing of it is the same".to_owned(),
    })
}

/// The first of some names.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const NAMED: usize = 8;
    let more = names.len().saturating_sub(NAMED);
    let named: Vec<String> = names.take(NAMED).map(|name| format!("'{name}'")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

/// Why a map can belong to one package only.
fn unshareable(map: &MapFacts) -> Option<String> {
    let kind = map.kind;
    match kind {
        _ if map.origin == MapOrigin::Data => Some("it holds variables".to_owned()),
        MapKind::RingBuf | MapKind::PerfEventArray | MapKind::UserRingBuf => {
            Some(format!("a {kind} has one reader"))
        }
        _ if kind.holds_objects() => {
            Some(format!("a {kind} holds its package's own programs or maps"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &[u8] = include_bytes!("../../../spec/vectors/files/objects/shared.o");

    fn said(user: &str) -> String {
        let facts = Facts::parse(SHARED).unwrap();
        let defined = |name| Defined { facts: &facts, map: facts.map(name).unwrap() };
        match shared(defined("flows"), defined(user)) {
            Ok(()) => "shared".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_difference_is_said() {
        assert_eq!(said("other_names"), "shared");
        let users = [
            "other_kind",
            "other_key",
            "other_order",
            "longer",
            "untyped",
            "ring",
            "calls",
            ".data",
        ];
        insta::assert_snapshot!(users.map(said).join("\n"));
    }
}
