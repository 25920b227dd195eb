//! Bringing a generation up: choose, load, attach, fill the idle slots, copy, switch.
//!
//! Install, upgrade and the start after a reboot all go this way. Up to the switch everything can be undone;
//! from the switch on everything can be finished ([`crate::finish`]).

use std::collections::BTreeMap;

use skep_kernel::attach::is_there;
use skep_kernel::maps::prog_array;
use skep_kernel::stub::slot_of;
use skep_kernel::{MapHandle, Program};
use skep_spec::{Manifest, ServiceName};
use skep_trust::Package;

use crate::choose::{Objects, Refused, can_do_without, choose};
use crate::error::RuntimeError;
use crate::hooks::{Placed, make_folder, place};
use crate::load::{LoadedObject, Preparation, map_names, wanted_objects};
use crate::params::Params;
use crate::plan::{MapChange, Report};
use crate::runtime::{Runtime, facts_of};
use crate::state::{
    Generation, Hook, Incarnation, Kind, MapRecord, Mechanism, Op, Outcome, ProgramRecord, Record,
};

/// A generation on its way into the kernel.
pub(crate) struct BringUp<'a> {
    pub(crate) op: Op,
    pub(crate) service: ServiceName,
    pub(crate) package: &'a Package,
    /// Without an incarnation.
    pub(crate) generation: Generation,
    /// The generation that runs.
    pub(crate) from: Option<Generation>,
    pub(crate) changes: BTreeMap<String, MapChange>,
}

/// What is in the kernel already, but runs nowhere.
struct InKernel {
    programs: BTreeMap<String, Program>,
    objects: Objects,
}

impl Runtime {
    /// Brings a generation up; programs that the package can do without are left out one by one if the kernel
    /// refuses them.
    pub(crate) fn bring_up(&mut self, up: &BringUp<'_>) -> Result<Generation, RuntimeError> {
        let mut refused = Refused::new();
        loop {
            match self.try_bring_up(up, &refused) {
                Ok(generation) => return Ok(generation),
                Err(error) => match refused_program(&error, &up.package.manifest) {
                    Some((program, why)) if !refused.contains_key(&program) => {
                        refused.insert(program, why);
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    fn try_bring_up(
        &mut self,
        up: &BringUp<'_>,
        refused: &Refused,
    ) -> Result<Generation, RuntimeError> {
        let objects = facts_of(up.package)?;
        let manifest = &up.package.manifest;
        let params = Params::resolve(manifest, &up.generation.params)?;
        params.check_variables(objects.values())?;
        let mut report = Report::default();
        let chosen = choose(manifest, &objects, &params, refused, &mut report)?;
        let hooks = self.state.services.get(&up.service).map(|s| s.hooks.clone());
        let mut placed = place(&hooks.unwrap_or_default(), &chosen);
        are_there(&up.service, &placed)?;
        self.check_hooks(&up.service, &placed)?;
        self.op = up.op;
        self.record(Record::Begin {
            txn: self.state.last_txn + 1,
            service: up.service.clone(),
            op: up.op,
            from: up.from.as_ref().map(|g| g.number),
            to: Some(up.generation.clone()),
            changes: up.changes.clone(),
        })?;
        let switched = self.until_switched(up, objects, &params, &mut placed, report);
        if let Err(error) = switched {
            return Err(self.undo_or(error));
        }
        self.finish_or_set_aside(&up.service)?;
        let service = self.service_state(&up.service)?;
        Ok(service.active().cloned().unwrap_or_else(|| up.generation.clone()))
    }

    fn until_switched(
        &mut self,
        up: &BringUp<'_>,
        objects: Objects,
        params: &Params,
        placed: &mut [Placed],
        mut report: Report,
    ) -> Result<(), RuntimeError> {
        let (kernel, maps) = self.load_generation(up, objects, params, placed, &mut report)?;
        let (switch, word) = self.switch_for(up, placed)?;
        let slot = slot_of(word + 1);
        let incarnation = incarnation(&kernel, placed, maps, report.clone());
        self.record(Record::Loaded { incarnation })?;
        for one in placed.iter_mut().filter(|p| !p.there) {
            let func_ip = calls_func_ip(&kernel.objects, one);
            let program = program_of(&kernel, one)?;
            let at = (&switch, slot);
            self.attach_hook(&up.service, one, program, func_ip, at, &mut report)?;
        }
        let incarnation = self.with_report(report)?;
        self.record(Record::Loaded { incarnation: incarnation.clone() })?;
        self.fill_slots(&up.service, &kernel, placed, slot)?;
        let to = Generation { incarnation: Some(incarnation), ..up.generation.clone() };
        self.read_perfs_of(&up.service, &to)?;
        if let Some(from) = &up.from {
            let changes = listed(&up.changes);
            self.check_moves(&up.service, from, &to, &changes)?;
            self.copy_variables(&up.service, from, &to, &changes)?;
        }
        self.switch(&up.service, &to)
    }

    /// Loads all objects and pins their programs and maps.
    #[allow(clippy::type_complexity)]
    fn load_generation(
        &mut self,
        up: &BringUp<'_>,
        objects: Objects,
        params: &Params,
        placed: &[Placed],
        report: &mut Report,
    ) -> Result<(InKernel, BTreeMap<String, MapRecord>), RuntimeError> {
        let chosen: Vec<_> = placed.iter().map(|p| p.chosen.clone()).collect();
        let names = map_names(&objects);
        let (mut programs, mut maps) = (BTreeMap::new(), BTreeMap::new());
        for (object, bytes) in wanted_objects(up.package, &chosen) {
            let Some(facts) = objects.get(object) else { continue };
            let reuse = self.maps_to_keep(up, object)?;
            let preparation = Preparation {
                service: up.service.as_str(),
                object,
                bytes,
                facts,
                chosen: &chosen,
                params,
                reuse: &reuse,
            };
            let loaded = self.call("load", || preparation.load(report))?;
            self.pin_maps(up, object, &names, &loaded, &mut maps)?;
            let slots = loaded.lost_slots;
            if let Some(record) = maps.values_mut().find(|m| m.object == *object && m.is_lost()) {
                record.counts = slots;
            }
            programs.extend(loaded.programs.into_iter().map(|(f, p)| (format!("{object}/{f}"), p)));
        }
        let kernel = InKernel { programs, objects };
        let folder = self.pins(&up.service).programs(up.generation.number);
        make_folder(&folder)?;
        for one in placed {
            let path = self.pins(&up.service).program(up.generation.number, &one.chosen.name);
            let program = program_of(&kernel, one)?;
            self.call("pin", || program.pin(&path))?;
        }
        Ok((kernel, maps))
    }

    /// The running generation's maps that the new one uses too, by symbol.
    fn maps_to_keep(
        &self,
        up: &BringUp<'_>,
        object: &str,
    ) -> Result<BTreeMap<String, MapHandle>, RuntimeError> {
        let mut keep = BTreeMap::new();
        let Some(from) = &up.from else { return Ok(keep) };
        let records = from.incarnation.iter().flat_map(|i| &i.maps);
        for (name, record) in records.filter(|(_, record)| record.object == object) {
            if up.changes.get(name) == Some(&MapChange::Keep) {
                keep.insert(record.symbol.clone(), self.open_map(&up.service, from, name)?);
            }
        }
        Ok(keep)
    }

    fn pin_maps(
        &self,
        up: &BringUp<'_>,
        object: &str,
        names: &BTreeMap<String, crate::load::MapPlace>,
        loaded: &LoadedObject,
        records: &mut BTreeMap<String, MapRecord>,
    ) -> Result<(), RuntimeError> {
        let pins = self.pins(&up.service);
        make_folder(&pins.maps())?;
        let kept = up.from.as_ref().and_then(|g| g.incarnation.as_ref()).map(|i| &i.maps);
        for (name, place) in names.iter().filter(|(_, place)| place.object == object) {
            let Some(map) = loaded.maps.get(&place.symbol) else { continue };
            let keep = up.changes.get(name) == Some(&MapChange::Keep);
            let old = kept.and_then(|maps| maps.get(name)).filter(|_| keep);
            let made_by = old.map_or(up.generation.number, |old| old.made_by);
            if old.is_none() {
                let path = pins.map(name, made_by);
                self.call("pin", || map.pin(&path))?;
            }
            records.insert(
                name.clone(),
                MapRecord {
                    object: place.object.clone(),
                    symbol: place.symbol.clone(),
                    made_by,
                    id: map.info().id,
                    counts: Vec::new(),
                },
            );
        }
        Ok(())
    }

    /// The switch word's map and its present value; a new one holds 0, so that nothing runs before the first switch.
    fn switch_for(
        &mut self,
        up: &BringUp<'_>,
        placed: &[Placed],
    ) -> Result<(MapHandle, u64), RuntimeError> {
        let path = self.pins(&up.service).switch();
        let known = self.state.services.get(&up.service).and_then(|s| s.switch);
        if let Some(word) = known {
            return Ok((MapHandle::open_pinned(&path)?, word));
        }
        let switch = MapHandle::create_u64s("skep_switch", 1)?;
        if placed.iter().any(|p| p.mechanism == Mechanism::Stub) {
            make_folder(self.pins(&up.service).folder())?;
            self.call("pin", || switch.pin(&path))?;
        }
        Ok((switch, 0))
    }

    /// Puts the new programs into the idle slots of hooks that are attached already; a hook that the new
    /// generation has nothing for gets an empty slot.
    fn fill_slots(
        &mut self,
        service: &ServiceName,
        kernel: &InKernel,
        placed: &[Placed],
        slot: u32,
    ) -> Result<(), RuntimeError> {
        let hooks = self.state.services.get(service).map(|s| s.hooks.clone()).unwrap_or_default();
        for (name, hook) in hooks.iter().filter(|(_, h)| h.mechanism == Mechanism::Stub) {
            let slots = MapHandle::open_pinned(&self.pins(service).slots(name))?;
            match placed.iter().find(|p| p.hook == *name) {
                Some(one) => {
                    let program = program_of(kernel, one)?;
                    self.check_program(
                        service,
                        name,
                        hook,
                        program,
                        calls_func_ip(&kernel.objects, one),
                    )?;
                    self.call("fill", || prog_array::set(&slots, slot, program))?;
                }
                None => drop(self.call("fill", || prog_array::clear(&slots, slot))?),
            }
        }
        self.record(Record::SlotsFilled { slot })
    }

    /// Whether a program may take the place of the one that a hook was attached for.
    fn check_program(
        &self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
        program: &Program,
        func_ip: bool,
    ) -> Result<(), RuntimeError> {
        let why = if !hook.kind.serves(&Kind::from(program.kind())) {
            "is of another kind than the one that runs there"
        } else if func_ip && !hook.func_ip {
            "asks for the address of its function (bpf_get_func_ip), which the hook was not attached for"
        } else {
            return Ok(());
        };
        let why = format!(
            "program '{}' at {} {why}; remove the service and install it again",
            program.name(),
            hook.target
        );
        tracing::debug!(hook = name, "{why}");
        Err(RuntimeError::Hooks { service: service.clone(), why })
    }

    /// Refuses an upgrade of hooks whose program can't be replaced.
    fn check_hooks(&self, service: &ServiceName, placed: &[Placed]) -> Result<(), RuntimeError> {
        let fixed = placed.iter().find(|p| p.there && p.mechanism == Mechanism::Fixed);
        let Some(fixed) = fixed else { return Ok(()) };
        let target = &fixed.chosen.target;
        let why = format!(
            "the kernel can't replace the program at {target} without a gap; remove the service and install it again"
        );
        Err(RuntimeError::Hooks { service: service.clone(), why })
    }

    /// The incarnation under way with the report as it is now.
    fn with_report(&self, report: Report) -> Result<Incarnation, RuntimeError> {
        let to = self.state.pending.as_ref().and_then(|p| p.to.as_ref());
        let incarnation = to.and_then(|to| to.incarnation.clone()).unwrap_or_default();
        Ok(Incarnation { report, ..incarnation })
    }

    pub(crate) fn end(&mut self, result: Outcome) -> Result<(), RuntimeError> {
        self.record(Record::End { result })?;
        if self.journal.wants_checkpoint() {
            self.journal.checkpoint(&self.state)?;
        }
        Ok(())
    }
}

/// Whether what new hooks attach to is there: this is known before anything is loaded.
pub(crate) fn are_there(service: &ServiceName, placed: &[Placed]) -> Result<(), RuntimeError> {
    placed.iter().filter(|one| !one.there).try_for_each(|one| {
        let target = &one.chosen.target;
        is_there(target).map_err(|source| RuntimeError::NoHook {
            service: service.clone(),
            program: one.chosen.name.clone(),
            target: target.clone(),
            source: Box::new(source),
        })
    })
}

/// The program that a failure is about, if the package can do without it.
pub(crate) fn refused_program(
    error: &RuntimeError,
    manifest: &Manifest,
) -> Option<(String, String)> {
    let (program, why) = match error {
        RuntimeError::Attach { program, source, .. }
        | RuntimeError::NoHook { program, source, .. } => {
            (program.clone(), crate::error::chain(source.as_ref()))
        }
        RuntimeError::Load { source, .. } => {
            let function = source.program.as_ref()?;
            let mut named = manifest.program.iter().filter(|(_, p)| p.function == *function);
            (named.next()?.0.clone(), source.summary.clone())
        }
        _ => return None,
    };
    can_do_without(manifest, &program).then_some((program, why))
}

fn program_of<'a>(kernel: &'a InKernel, placed: &Placed) -> Result<&'a Program, RuntimeError> {
    let key = format!("{}/{}", placed.chosen.object, placed.chosen.function);
    let missing = || {
        skep_kernel::KernelError::unsupported(
            "find",
            format!("the program '{key}'"),
            "it was not loaded",
        )
    };
    Ok(kernel.programs.get(&key).ok_or_else(missing)?)
}

fn calls_func_ip(objects: &Objects, placed: &Placed) -> bool {
    let facts = objects.get(&placed.chosen.object);
    let program = facts.and_then(|facts| facts.program(&placed.chosen.function));
    program.is_some_and(|program| program.helpers.contains("get_func_ip"))
}

fn incarnation(
    kernel: &InKernel,
    placed: &[Placed],
    maps: BTreeMap<String, MapRecord>,
    report: Report,
) -> Incarnation {
    let mut programs = BTreeMap::new();
    for one in placed {
        let Ok(program) = program_of(kernel, one) else { continue };
        programs.insert(
            one.chosen.name.clone(),
            ProgramRecord {
                function: one.chosen.function.clone(),
                object: one.chosen.object.clone(),
                id: program.id().unwrap_or(0),
                kind: Kind::from(program.kind()),
                hook: Some(one.hook.clone()),
            },
        );
    }
    Incarnation { programs, maps, report }
}

pub(crate) fn listed(changes: &BTreeMap<String, MapChange>) -> Vec<(String, MapChange)> {
    changes.iter().map(|(name, change)| (name.clone(), change.clone())).collect()
}
