//! Mending pins: those that went are put back where the kernel still has what they named. A generation that does not run and
//! of which more is gone is given up; a service of whose running generation more is gone is loaded again from its package.

use std::path::{Path, PathBuf};

use skep_kernel::maps::{MapInfo, kind};
use skep_kernel::program::LoadKind;
use skep_kernel::{KernelError, MapHandle, Program, bpffs};
use skep_spec::{ServiceName, chain};

use crate::error::RuntimeError;
use crate::failure::Failure;
use crate::hooks::make_folder;
use crate::recover::{Recovery, of_one};
use crate::runtime::Runtime;
use crate::state::{Generation, Op, Record};

impl Runtime {
    /// Puts a service's pins back, or writes down that what they named is gone, which the kernel alone can say. Says whether it
    /// is whole but for hooks.
    pub(crate) fn mend_or_lose(
        &mut self,
        name: &ServiceName,
        recovery: &mut Recovery,
    ) -> Result<bool, RuntimeError> {
        self.op = Op::Recover;
        let mended = self.mend(name, recovery);
        let Err(error) = of_one(mended)? else { return Ok(true) };
        let why = chain(&error);
        if !matches!(error, RuntimeError::Gone { .. }) {
            // It may pass: what runs is left as it is.
            let why = format!("its pins cannot be looked after ({why})");
            self.fail(name, Failure::Partly(why), recovery);
            return Ok(false);
        }
        self.record(Record::Lost { service: name.clone(), why: why.clone() })?;
        recovery.lost.push((name.clone(), why));
        Ok(false)
    }

    /// Puts back the pins of programs and maps that went, or that name something else now.
    fn mend(&mut self, name: &ServiceName, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let service = self.service_state(name)?.clone();
        let others = service.generations.values().filter(|g| g.number != service.active);
        for generation in service.active().into_iter().chain(others) {
            match self.mend_generation(name, generation, &mut recovery.pinned_again) {
                Err(error @ RuntimeError::Gone { .. })
                    if !self.may_run(name, generation.number) =>
                {
                    self.lose_generation(name, generation, chain(&error), recovery)?;
                }
                mended => mended?,
            }
        }
        if service.switch.is_some() {
            let path = self.pins(name).switch();
            let mut stubs = service.hooks.keys().map(|hook| self.pins(name).stub(hook));
            match stubs.find_map(|stub| maps_of(&stub)?.1) {
                Some(switch) => self.mend_map(&path, switch, &mut recovery.pinned_again)?,
                None => drop(MapHandle::open_pinned(&path).map_err(|e| gone_if_absent(e, &path))?),
            }
        }
        Ok(())
    }

    /// Whether a generation runs, or does if a rollback that began had switched.
    fn may_run(&self, name: &ServiceName, generation: u64) -> bool {
        let back = self.state.begun(name).filter(|begun| begun.switching.is_some());
        let back = back.and_then(|begun| Some(begun.to.as_ref()?.number));
        let active = self.state.services.get(name).map(|service| service.active);
        [active, back].contains(&Some(generation))
    }

    fn lose_generation(
        &mut self,
        name: &ServiceName,
        generation: &Generation,
        mut why: String,
        recovery: &mut Recovery,
    ) -> Result<(), RuntimeError> {
        let number = generation.number;
        let begun = self.state.begun(name);
        if begun.is_some_and(|begun| begun.progress.switched && begun.from == Some(number)) {
            why += "; what had not been moved out of its maps yet went with it";
        }
        let said = format!("generation {number} ({}): {why}", generation.version);
        let service = name.clone();
        self.record(Record::LostGeneration { service, generation: number, why })?;
        recovery.generations_lost.push((name.clone(), said));
        Ok(())
    }

    fn mend_generation(
        &self,
        name: &ServiceName,
        generation: &Generation,
        again: &mut Vec<PathBuf>,
    ) -> Result<(), RuntimeError> {
        let Some(incarnation) = &generation.incarnation else { return Ok(()) };
        let pins = self.pins(name);
        for (program, record) in &incarnation.programs {
            let path = pins.program(generation.number, program);
            let opened = Program::open_pinned(&path, record.kind.clone());
            if !opened.is_ok_and(|program| program.id().is_ok_and(|id| id == record.id)) {
                let program = Program::by_id(record.id).map_err(|e| gone_if_absent(e, &path))?;
                self.put_back(&path, again, |path| program.pin(path))?;
            }
        }
        for (map, record) in &incarnation.maps {
            self.mend_map(&pins.map(map, record.made_by), record.id, again)?;
        }
        Ok(())
    }

    fn mend_map(&self, path: &Path, id: u32, again: &mut Vec<PathBuf>) -> Result<(), RuntimeError> {
        if MapHandle::open_pinned(path).is_ok_and(|map| map.info().id == id) {
            return Ok(());
        }
        let map = MapHandle::by_id(id).map_err(|e| gone_if_absent(e, path))?;
        if map.info().kind == kind::PROG_ARRAY {
            return Err(RuntimeError::gone(path)); // the kernel empties it with its last pin
        }
        self.put_back(path, again, |path| map.pin(path))
    }

    fn put_back(
        &self,
        path: &Path,
        again: &mut Vec<PathBuf>,
        pin: impl FnOnce(&Path) -> Result<(), KernelError>,
    ) -> Result<(), RuntimeError> {
        path.parent().map_or(Ok(()), make_folder)?;
        self.call("pin", || bpffs::unpin(path).and_then(|()| pin(path)))?;
        again.push(path.to_owned());
        Ok(())
    }
}

/// The maps of a pinned stub by id: its slots and the switch word.
pub(crate) fn maps_of(stub: &Path) -> Option<(Option<u32>, Option<u32>)> {
    let stub = Program::open_pinned(stub, LoadKind::default()).ok()?;
    let maps = stub.info().ok()?.map_ids.into_iter().filter_map(|id| MapHandle::by_id(id).ok());
    let (slots, switch): (Vec<_>, Vec<_>) =
        maps.map(|map| map.info().clone()).partition(|map| map.kind == kind::PROG_ARRAY);
    let first = |maps: &[MapInfo]| maps.first().map(|map| map.id);
    Some((first(&slots), first(&switch)))
}

/// What could not be opened for another reason than that it is gone, may be there.
fn gone_if_absent(error: KernelError, path: &Path) -> RuntimeError {
    if error.is_not_found() { RuntimeError::gone(path) } else { error.into() }
}
