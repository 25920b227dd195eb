//! Maps of two versions: what changed, and what a warm upgrade can keep.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use skep_spec::manifest::{Map, Upgrade};
use skep_spec::param::{Value, parse_size};

use super::Version;
use super::room::Room;
use crate::event::event_type;
use crate::layout::{FieldChange, FieldClass, FieldPair, LayoutChange, compare, fields};
use crate::{Btf, MapFacts, MapKind, MapOrigin, TypeId};

/// A map of either version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDifference {
    /// The map.
    pub name: String,
    /// What a warm upgrade can keep of it.
    pub keeps: Keeps,
    /// Why, where the word does not say it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Attributes that changed, in words: `max_entries: 64, was 16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Fields of the key that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<FieldChange>,
    /// Fields of the value, or of a ring's records, that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub value: Vec<FieldChange>,
}

/// What a warm upgrade can keep of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    /// The same map serves both versions.
    All,
    /// Entries can be moved, field by field, if the manifest says how.
    Movable,
    /// Entries are moved, field by field, as the manifest says.
    Moved,
    /// The new version starts empty, as the manifest says.
    Reset,
    /// It changed, and the manifest does not say what becomes of its contents: the upgrade is refused.
    Refused,
    /// Variables are carried over by name.
    Variables,
    /// Each version has its own, and nothing is lost by that.
    Own,
    /// Nothing: its contents cannot be moved.
    Nothing,
    /// Nobody looked: the maps before it took all that is spent on them.
    Unknown,
    /// Only the new version has it.
    New,
    /// Only the old version has it.
    Gone,
}

impl fmt::Display for Keeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "kept as it is",
            Self::Movable => "can be moved, if the manifest says how",
            Self::Moved => "moved, as the manifest says",
            Self::Reset => "starts empty, as the manifest says",
            Self::Refused => "the upgrade is refused",
            Self::Variables => "variables are carried over by name",
            Self::Own => "each version has its own",
            Self::Nothing => "cannot be kept",
            Self::Unknown => "not compared",
            Self::New => "new",
            Self::Gone => "gone",
        })
    }
}

pub(super) fn maps(old: Version<'_>, new: Version<'_>) -> Vec<MapDifference> {
    let maps = old.facts.maps.iter().chain(&new.facts.maps);
    let names: BTreeSet<&str> = maps.map(|map| map.name.as_str()).collect();
    let room = old.facts.btf.as_ref().zip(new.facts.btf.as_ref());
    let room = RefCell::new(Room::between(room));
    let difference = |name: &str| match (old.facts.map(name), new.facts.map(name)) {
        (Some(before), Some(after)) => {
            let mut map = Pair { old, new, before, after, room: &room }.difference();
            room.borrow_mut().take(&mut map);
            Some(map)
        }
        (None, Some(_)) => Some(alone(name, Keeps::New)),
        (Some(_), None) => Some(alone(name, Keeps::Gone)),
        (None, None) => None,
    };
    names.into_iter().filter_map(difference).collect()
}

fn alone(name: &str, keeps: Keeps) -> MapDifference {
    let (name, why) = (name.to_owned(), String::new());
    MapDifference { name, keeps, why, attributes: vec![], key: vec![], value: vec![] }
}

struct Pair<'a> {
    old: Version<'a>,
    new: Version<'a>,
    before: &'a MapFacts,
    after: &'a MapFacts,
    room: &'a RefCell<Room<'a>>,
}

impl Pair<'_> {
    fn difference(&self) -> MapDifference {
        let record = |version: Version<'_>, map: &MapFacts| match self.after.origin {
            MapOrigin::Data => None, // its variables are listed by themselves
            _ if self.is_ring() => version.record(&map.name),
            _ => map.value_type,
        };
        let key = (self.before.key_type, self.after.key_type);
        let value = (record(self.old, self.before), record(self.new, self.after));
        let attributes = self.attributes().into_iter().chain(self.slots()).chain(self.written());
        let name = self.after.name.clone();
        let attributes = attributes.collect();
        if !self.room.borrow_mut().spend(&[key, value]) {
            let why = "the maps before it have too many fields".to_owned();
            let (keeps, key, value) = (Keeps::Unknown, vec![], vec![]);
            return MapDifference { name, keeps, why, attributes, key, value };
        }
        let (keeps, why) = self.keeps();
        let (key, value) = (self.fields(key.0, key.1), self.fields(value.0, value.1));
        MapDifference { name, keeps, why, attributes, key, value }
    }

    fn keeps(&self) -> (Keeps, String) {
        let said = |keeps, why: &str| (keeps, why.to_owned());
        match self.after.kind {
            _ if self.after.origin == MapOrigin::Data => match self.after.is_constant() {
                true => said(Keeps::Own, "constants"),
                false if self.upgrade() == Some(Upgrade::Reset) => said(Keeps::Reset, ""),
                false => said(Keeps::Variables, ""),
            },
            MapKind::RingBuf | MapKind::PerfEventArray | MapKind::UserRingBuf => {
                match self.same_ring() {
                    true => said(Keeps::All, ""),
                    false => said(Keeps::Own, "the old one is read to its end first"),
                }
            }
            _ if self.upgrade() == Some(Upgrade::Reset) => said(Keeps::Reset, ""),
            kind if kind.holds_of_others() && self.is_alike() => said(Keeps::All, ""),
            kind if kind.holds_objects() => {
                said(Keeps::Own, "it holds the version's own programs or maps")
            }
            _ => self.entries(),
        }
    }

    fn entries(&self) -> (Keeps, String) {
        let said = |keeps, why: &str| (keeps, why.to_owned());
        let same_key = self.same(|map| map.key_type);
        if self.is_alike() && same_key && self.same(|map| map.value_type) {
            return said(Keeps::All, "");
        }
        let (keeps, why) = self.movable();
        match (self.new.manifest.is_some(), self.upgrade(), keeps) {
            (false, ..) => (keeps, why),
            (true, Some(Upgrade::Migrate), Keeps::Movable) => (Keeps::Moved, why),
            (true, Some(Upgrade::Migrate), _) => (Keeps::Refused, why),
            (true, _, Keeps::Movable) => {
                said(Keeps::Refused, "upgrade is neither migrate nor reset")
            }
            (true, ..) => (Keeps::Refused, format!("upgrade is not reset, and {why}")),
        }
    }

    /// Whether entries can be moved, if the manifest wishes it.
    fn movable(&self) -> (Keeps, String) {
        let said = |why: &str| (Keeps::Nothing, why.to_owned());
        if !self.same(|map| map.key_type) || self.before.key_size != self.after.key_size {
            return said("its key changed");
        }
        if let Err(why) = self.before.movable_to(self.after) {
            return said(&why);
        }
        let (entries, room) = (self.old.entries(self.before), self.new.entries(self.after));
        let smaller = entries > room && !self.after.kind.forgets();
        if smaller && self.before.kind.is_array() {
            return said(&format!("{entries} entries do not fit {room}"));
        }
        let (Some((a, b)), Some(old), Some(new)) =
            (self.types(), self.before.value_type, self.after.value_type)
        else {
            return said("its value has no type in BTF");
        };
        let (keeps, mut why) = match compare(a, old, b, new, &self.renames()) {
            LayoutChange::Equal => (Keeps::Movable, String::new()),
            LayoutChange::Incompatible(why) => said(&why),
            LayoutChange::Fields { common, blocked, removed, .. } => match blocked.first() {
                Some(field) => said(&format!("field '{}': {}", field.name, field.why)),
                None => self.told(&common, &removed),
            },
        };
        if smaller && keeps == Keeps::Movable {
            why += if why.is_empty() { "" } else { "; " };
            why += &format!("refused while more than {room} entries are in it");
        }
        (keeps, why)
    }

    /// Whether the manifest, where there is one, says how each number is merged.
    fn told(&self, common: &[FieldPair], removed: &[String]) -> (Keeps, String) {
        let merge = |path: &str| self.policy().and_then(|map| map.merge_of(path));
        let numbers = common.iter().filter(|pair| pair.number && merge(&pair.name).is_none());
        let unsaid: Vec<&str> = numbers.map(|pair| pair.name.as_str()).collect();
        if self.upgrade() == Some(Upgrade::Migrate) && !unsaid.is_empty() {
            let why = format!("the manifest does not say how to merge {}", unsaid.join(", "));
            return (Keeps::Nothing, why);
        }
        let lost = match removed.is_empty() {
            true => String::new(),
            false => format!("{} would be lost", removed.join(", ")),
        };
        (Keeps::Movable, lost)
    }

    /// What the new version's manifest says of the map.
    fn policy(&self) -> Option<&Map> {
        self.new.manifest?.map.get(&self.after.name)
    }

    fn upgrade(&self) -> Option<Upgrade> {
        self.policy()?.upgrade
    }

    fn renames(&self) -> BTreeMap<String, String> {
        self.policy().map(|map| map.rename.clone()).unwrap_or_default()
    }

    /// What decides how exact a warm upgrade is: how programs write it.
    fn written(&self) -> Option<String> {
        let name = &self.after.name;
        let (old, new) = (self.old.facts.writers(name), self.new.facts.writers(name));
        (old != new && !self.is_ring()).then(|| format!("written: {new}, was {old}"))
    }

    fn attributes(&self) -> Vec<String> {
        let (old, new) = (self.before, self.after);
        let kinds = (old.kind.to_string(), new.kind.to_string());
        let number = |number: u32| number.to_string();
        let rows = [
            ("type", kinds.0, kinds.1),
            ("key_size", number(old.key_size), number(new.key_size)),
            ("value_size", number(old.value_size), number(new.value_size)),
            ("max_entries", number(self.old.entries(old)), number(self.new.entries(new))),
            ("flags", format!("{:#x}", old.flags), format!("{:#x}", new.flags)),
        ];
        let changed = rows.into_iter().filter(|(_, old, new)| old != new);
        changed.map(|(what, old, new)| format!("{what}: {new}, was {old}")).collect()
    }

    /// Whether nothing differs that a kernel makes the map by.
    fn is_alike(&self) -> bool {
        self.attributes().is_empty()
    }

    /// What asks to be pinned, which no node does, and what stands in its slots from the start.
    fn slots(&self) -> Vec<String> {
        let held = |map: &MapFacts| {
            let each = map.slots.iter().map(|slot| format!("{} {}", slot.index, slot.name));
            let each = each.collect::<Vec<_>>().join(", ");
            if each.is_empty() { "none".to_owned() } else { each }
        };
        let (old, new) = (self.before, self.after);
        let rows = [
            ("pinned", old.pinned.to_string(), new.pinned.to_string()),
            ("slots filled", held(old), held(new)),
        ];
        let changed = rows.into_iter().filter(|(_, old, new)| old != new);
        changed.map(|(what, old, new)| format!("{what}: {new}, was {old}")).collect()
    }

    fn is_ring(&self) -> bool {
        matches!(self.after.kind, MapKind::RingBuf | MapKind::PerfEventArray | MapKind::UserRingBuf)
    }

    fn same_ring(&self) -> bool {
        let name = &self.after.name;
        let (Some(old), Some(new)) = (self.old.record(name), self.new.record(name)) else {
            return false;
        };
        self.is_alike() && self.room.borrow_mut().are_same(old, new)
    }

    fn types(&self) -> Option<(&Btf, &Btf)> {
        Some((self.old.facts.btf.as_ref()?, self.new.facts.btf.as_ref()?))
    }

    /// Whether a type is the same; where neither version says one, its size must do.
    fn same(&self, of: fn(&MapFacts) -> Option<TypeId>) -> bool {
        match (of(self.before), of(self.after)) {
            (Some(old), Some(new)) => self.room.borrow_mut().are_same(old, new),
            (None, None) => true,
            _ => false,
        }
    }

    /// What is not as it was.
    fn fields(&self, old: Option<TypeId>, new: Option<TypeId>) -> Vec<FieldChange> {
        let (Some(old), Some(new), Some((a, b))) = (old, new, self.types()) else {
            return Vec::new();
        };
        let mut all = fields(a, old, b, new, &self.renames()).unwrap_or_default();
        all.retain(|field| field.class != FieldClass::Same);
        all
    }
}

impl Version<'_> {
    /// The type of a ring's records: what an output says, or what its definition and names tell.
    fn record(self, map: &str) -> Option<TypeId> {
        let mut outputs = self.manifest.into_iter().flat_map(|manifest| manifest.output.values());
        let told =
            outputs.find_map(|output| output.r#struct.as_deref().filter(|_| output.map == map));
        event_type(self.facts, map, told)
    }

    /// Entries by the manifest, if it names a number, or by the object.
    fn entries(self, map: &MapFacts) -> u32 {
        let told =
            self.manifest.and_then(|manifest| manifest.map.get(&map.name)?.max_entries.as_ref());
        let number = told.and_then(|told| match told {
            Value::Int(number) => Some(i128::from(*number)),
            Value::Text(text) => parse_size(text),
            Value::Bool(_) => None,
        });
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(map.max_entries)
    }
}
