//! Moving state: variables before the switch, entries after it.

use std::collections::BTreeMap;

use skep_kernel::maps::Update;
use skep_kernel::merge::Merger;
use skep_kernel::{KernelError, MapHandle};
use skep_spec::ServiceName;
use skep_spec::nearest::nearest;

use crate::error::RuntimeError;
use crate::plan::{FieldMove, MapChange};
use crate::runtime::Runtime;
use crate::state::{Generation, Record};

/// Entries moved between two records of the journal.
const BATCH: usize = 4096;

impl Runtime {
    /// Copies variables into the generation that does not run yet.
    pub(crate) fn copy_variables(
        &mut self,
        service: &ServiceName,
        from: &Generation,
        to: &Generation,
        changes: &BTreeMap<String, MapChange>,
    ) -> Result<(), RuntimeError> {
        for (map, change) in changes {
            let MapChange::Variables { copied, .. } = change else { continue };
            if copied.is_empty() {
                continue;
            }
            let (old, new) = self.both(service, from, to, map)?;
            self.call("copy", || copy(&old, &new, copied))?;
            self.record(Record::Precopied { map: map.clone() })?;
        }
        Ok(())
    }

    /// That the kernel will take the moves which follow the switch, when there is no way back.
    pub(crate) fn check_moves(
        &self,
        service: &ServiceName,
        from: &Generation,
        to: &Generation,
        changes: &BTreeMap<String, MapChange>,
    ) -> Result<(), RuntimeError> {
        moves(changes).try_for_each(|one| self.merger(service, from, to, one).map(drop))
    }

    /// Moves the entries of a quiet generation's maps into those of the one that runs, batch by batch.
    pub(crate) fn move_entries(
        &mut self,
        service: &ServiceName,
        from: &Generation,
        to: &Generation,
        changes: &BTreeMap<String, MapChange>,
    ) -> Result<(), RuntimeError> {
        let merged = self.state.pending.as_ref().map(|p| p.merged.clone()).unwrap_or_default();
        for (map, fields) in moves(changes).filter(|(map, _)| !merged.contains(*map)) {
            let (merger, old) = self.merger(service, from, to, (map, fields))?;
            let keys = old.keys()?;
            let batches = keys.len().div_ceil(BATCH).max(1);
            for number in 0..batches {
                let end = keys.len().min((number + 1) * BATCH);
                let merged =
                    self.call("merge", || merger.merge_keys(&keys[number * BATCH..end]))?;
                self.record(Record::Merged {
                    map: map.to_owned(),
                    batch: number as u64,
                    last: number + 1 == batches,
                    no_room: merged.no_room as u64,
                })?;
            }
        }
        Ok(())
    }

    /// What moves the entries of one map, and the old map.
    fn merger(
        &self,
        service: &ServiceName,
        from: &Generation,
        to: &Generation,
        (map, fields): (&str, &[FieldMove]),
    ) -> Result<(Merger, MapHandle), RuntimeError> {
        let (old, new) = self.both(service, from, to, map)?;
        Ok((Merger::new(&old, &new, fields)?, old))
    }

    fn both(
        &self,
        service: &ServiceName,
        from: &Generation,
        to: &Generation,
        map: &str,
    ) -> Result<(MapHandle, MapHandle), RuntimeError> {
        Ok((self.open_map(service, from, map)?, self.open_map(service, to, map)?))
    }

    /// A map of a generation, by its pin.
    pub(crate) fn open_map(
        &self,
        service: &ServiceName,
        generation: &Generation,
        map: &str,
    ) -> Result<MapHandle, RuntimeError> {
        let maps = generation.incarnation.as_ref().map(|i| &i.maps);
        let Some(record) = maps.and_then(|maps| maps.get(map)) else {
            let there = maps.into_iter().flatten().filter(|(_, map)| !map.is_lost());
            let there: Vec<&str> = there.map(|(name, _)| name.as_str()).collect();
            return Err(RuntimeError::NoSuch {
                service: service.clone(),
                what: "map",
                name: map.to_owned(),
                near: nearest(map, there.iter().copied()).map(str::to_owned),
                there: there.join(", "),
            });
        };
        Ok(MapHandle::open_pinned(&self.pins(service).map(map, record.made_by))?)
    }
}

/// Puts the old version's bytes over the new one's; nobody runs the new version.
fn copy(old: &MapHandle, new: &MapHandle, fields: &[FieldMove]) -> Result<(), KernelError> {
    let key = 0u32.to_ne_bytes();
    let (Some(from), Some(mut to)) = (old.lookup(&key)?, new.lookup(&key)?) else { return Ok(()) };
    for field in fields {
        let range = |offset: u32, width: u32| offset as usize..(offset + width) as usize;
        let source = from.get(range(field.old.offset, field.old.width));
        let target = to.get_mut(range(field.new.offset, field.new.width));
        if let (Some(source), Some(target)) = (source, target) {
            target.copy_from_slice(source);
        }
    }
    new.update(&key, &to, Update::Any)
}

/// The maps whose entries move, with their fields.
fn moves(changes: &BTreeMap<String, MapChange>) -> impl Iterator<Item = (&str, &[FieldMove])> {
    changes.iter().filter_map(|(map, change)| {
        let fields = match change {
            MapChange::Migrate { fields } => fields,
            MapChange::Variables { moved, .. } if !moved.is_empty() => moved,
            _ => return None,
        };
        Some((map.as_str(), fields.as_slice()))
    })
}
