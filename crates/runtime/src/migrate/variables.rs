//! Global variables across an upgrade: by name, where their types are the same.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::layout::{FieldPair, LayoutChange, compare_fields};
use skep_object::{Btf, Global, TypeId};
use skep_spec::manifest::Merge;

use super::pair::{Pair, Version, field_move, plan, reset};
use crate::plan::{Exactness, FieldMove, FieldSpan, MapChange, MapPlan};

impl Pair<'_> {
    /// Constants are the version's own; variables are copied, or moved where the manifest says how.
    pub(super) fn variables(&self, resets: bool) -> MapPlan {
        if self.new.map.is_constant() {
            let why = "constants are each version's own";
            return plan(MapChange::Reset, why, Exactness::Exact);
        }
        if resets {
            return reset();
        }
        let (mut copied, mut moved, mut left, mut told) = (vec![], vec![], vec![], vec![]);
        let mut several = BTreeSet::new();
        for new in self.globals(self.new) {
            if [self.old, self.new].iter().any(|of| self.has_several(*of, &new.name)) {
                several.insert(new.name.as_str());
                continue;
            }
            let Some(old) = self.globals(self.old).find(|old| old.name == new.name) else {
                continue;
            };
            if self.new.side.params.is_set_live(&new.name) {
                told.push(new.name.as_str());
                continue;
            }
            match self.variable(old, new) {
                Some(found) if self.merge_of(&new.name).is_some() => moved.extend(found),
                Some(found) => copied.extend(found),
                None => left.push(new.name.as_str()),
            }
        }
        let exactness = match (copied.is_empty(), moved.is_empty()) {
            (true, true) if left.is_empty() && several.is_empty() && !told.is_empty() => {
                Exactness::Exact
            }
            (true, true) => Exactness::Dropped,
            (true, false) => self.exactness(&moved),
            _ => Exactness::Copied,
        };
        let several: Vec<&str> = several.into_iter().collect();
        let why = said(copied.len() + moved.len(), &left, &several, &told);
        plan(MapChange::Variables { copied, moved }, why, exactness)
    }

    fn globals<'a>(&self, of: Version<'a>) -> impl Iterator<Item = &'a Global> {
        of.facts.globals.iter().filter(move |global| global.section == of.map.name)
    }

    /// Whether several variables of a version have this name: static ones of sources that were linked.
    fn has_several(&self, of: Version<'_>, name: &str) -> bool {
        self.globals(of).filter(|global| global.name == name).nth(1).is_some()
    }

    /// How one variable is carried over; none if its type changed.
    fn variable(&self, old: &Global, new: &Global) -> Option<Vec<FieldMove>> {
        let place = |global: &Global| {
            let offset = u32::try_from(global.offset).ok()?;
            Some(FieldSpan { offset, width: u32::try_from(global.size).ok()? })
        };
        let (from, to) = (place(old)?, place(new)?);
        let types = self.types().and_then(|(a, b)| Some((a, old.ty?, b, new.ty?)));
        if let (Some(merge), Some(types)) = (self.merge_of(&new.name), types) {
            return moved(&new.name, types, (from, to), merge);
        }
        let same = types.is_none_or(|(a, old_ty, b, new_ty)| a.layout_eq(old_ty, b, new_ty));
        if !same || from.width != to.width {
            return None;
        }
        let name = new.name.clone();
        let (count, signed, merge) = (1, false, Merge::Last);
        Some(vec![FieldMove { name, old: from, new: to, count, signed, merge }])
    }
}

/// The fields of a variable that the manifest says how to merge; none if one of them cannot be moved.
fn moved(
    name: &str,
    (a, old, b, new): (&Btf, TypeId, &Btf, TypeId),
    (from, to): (FieldSpan, FieldSpan),
    merge: Merge,
) -> Option<Vec<FieldMove>> {
    let pairs = compare_fields(a, old, b, new, &BTreeMap::new());
    let LayoutChange::Fields { common, blocked, .. } = pairs else { return None };
    if !blocked.is_empty() {
        return None;
    }
    let inside = |pair: FieldPair| {
        let mut field = field_move(&pair, if pair.number { merge } else { Merge::Last });
        field.old.offset += from.offset;
        field.new.offset += to.offset;
        FieldMove { name: name.to_owned(), ..field }
    };
    Some(common.into_iter().map(inside).collect())
}

fn said(carried: usize, left: &[&str], several: &[&str], told: &[&str]) -> String {
    let mut why = match carried {
        0 if !told.is_empty() && left.is_empty() && several.is_empty() => String::new(),
        1 => "1 variable is carried over by name".to_owned(),
        several => format!("{several} variables are carried over by name"),
    };
    if !left.is_empty() {
        why += &format!("; not those whose type changed: {}", left.join(", "));
    }
    if !several.is_empty() {
        why += &format!("; not those of which several have one name: {}", several.join(", "));
    }
    if !told.is_empty() {
        let and = if why.is_empty() { "" } else { "; " };
        why += &format!("{and}{} as the operator set it", told.join(", "));
    }
    why
}
