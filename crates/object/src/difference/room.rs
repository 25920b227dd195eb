//! How much is spent on the maps of two versions, whose author nobody knows: on comparing their types, and on telling of them.

use std::collections::BTreeMap;

use super::MapDifference;
use crate::btf::Same;
use crate::layout::{FieldAt, FieldChange, effort};
use crate::limits::{COMPARED_PARTS, TOLD_BYTES, TOLD_FIELDS};
use crate::{Btf, TypeId};

/// Most bytes of a reason, and of an attribute, where all maps together tell too much.
const WHY_BYTES: usize = 256;

/// What is left.
pub(super) struct Room<'a> {
    /// Parts of types that may still be looked at.
    parts: usize,
    /// Fields that may still be told.
    fields: usize,
    /// Bytes of what is told.
    bytes: usize,
    /// The types of both versions; what was found of one map's types is not looked for again for the next one's.
    same: Option<Same<'a>>,
    /// Parts of the types that were asked for: maps often share them.
    efforts: [BTreeMap<TypeId, usize>; 2],
}

/// A type of the old version and one of the new.
type Types = (Option<TypeId>, Option<TypeId>);

impl<'a> Room<'a> {
    pub(super) fn between(types: Option<(&'a Btf, &'a Btf)>) -> Self {
        Self {
            parts: COMPARED_PARTS,
            fields: TOLD_FIELDS,
            bytes: TOLD_BYTES,
            same: types.map(|(old, new)| Same::new(old, new)),
            efforts: Default::default(),
        }
    }

    /// Takes what it costs to compare these types; once there is too little, nothing more is compared.
    pub(super) fn spend(&mut self, types: &[Types]) -> bool {
        for (old, new) in types {
            let cost = self.effort(0, *old) + self.effort(1, *new);
            let Some(left) = self.parts.checked_sub(cost) else {
                self.parts = 0;
                return false;
            };
            self.parts = left;
        }
        true
    }

    /// Of a type of the old version (0) or the new one (1); nothing is looked at where nothing is left to spend.
    fn effort(&mut self, side: usize, ty: Option<TypeId>) -> usize {
        let (Some(ty), Some(same)) = (ty, &self.same) else { return 0 };
        if self.parts == 0 {
            return 1;
        }
        let btf = if side == 0 { same.left } else { same.right };
        let Some(known) = self.efforts.get_mut(side) else { return 0 };
        *known.entry(ty).or_insert_with(|| effort(btf, ty))
    }

    /// Whether two types are the same.
    pub(super) fn are_same(&mut self, old: TypeId, new: TypeId) -> bool {
        let Some(same) = &mut self.same else { return false };
        let before = same.looked_at();
        let answer = same.types(old, new);
        self.parts = self.parts.saturating_sub(same.looked_at() - before);
        answer
    }

    /// Leaves out what a map tells where all maps together tell too much.
    pub(super) fn take(&mut self, map: &mut MapDifference) {
        let place = |at: &Option<FieldAt>| at.as_ref().map_or(0, |at| at.ty.len());
        let size = |field: &FieldChange| field.name.len() + place(&field.old) + place(&field.new);
        let fields = map.key.iter().chain(&map.value);
        let (count, bytes) = (fields.clone().count(), fields.map(size).sum::<usize>());
        let words = map.why.len() + map.attributes.iter().map(String::len).sum::<usize>();
        let left = self.fields.checked_sub(count).zip(self.bytes.checked_sub(bytes + words));
        if let Some(left) = left {
            (self.fields, self.bytes) = left;
            return;
        }
        for text in map.attributes.iter_mut().chain([&mut map.why]) {
            text.truncate(text.floor_char_boundary(WHY_BYTES));
        }
        if count > 0 {
            (map.key, map.value) = (Vec::new(), Vec::new());
            map.attributes.push("fields that changed: too many to tell".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::Keeps;
    use crate::layout::FieldClass;

    fn map() -> MapDifference {
        let field = FieldChange {
            name: "n".repeat(10),
            class: FieldClass::Added,
            old: None,
            new: Some(FieldAt { offset: 0, size: 8, ty: "t".repeat(10) }),
        };
        let (name, why) = ("m".to_owned(), String::new());
        let (keeps, attributes, key) = (Keeps::Movable, vec![], vec![]);
        MapDifference { name, keeps, why, attributes, key, value: vec![field] }
    }

    #[test]
    fn fields_are_told_while_there_is_room() {
        let mut room = Room { bytes: 25, ..Room::between(None) };
        let mut told = map();
        room.take(&mut told);
        assert_eq!((room.bytes, told.value.len(), told.attributes.len()), (5, 1, 0));
        told.why = "w".repeat(1 << 20);
        room.take(&mut told);
        assert_eq!((room.bytes, told.value.len(), told.why.len()), (5, 0, WHY_BYTES));
        assert_eq!(told.attributes, ["fields that changed: too many to tell"]);
    }

    #[test]
    fn fields_are_counted_however_short_their_names_are() {
        let mut room = Room { fields: 1, ..Room::between(None) };
        let (mut first, mut second) = (map(), map());
        room.take(&mut first);
        room.take(&mut second);
        assert_eq!((first.value.len(), second.value.len()), (1, 0));
    }
}
