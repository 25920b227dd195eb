//! Bringing a generation up: choose, load, attach, fill the idle slots, copy, switch.
//!
//! Install, upgrade and the start after a reboot all go this way. Up to the switch everything can be undone;
//! from the switch on everything can be finished ([`crate::finish`]).

use std::collections::BTreeMap;

use skep_kernel::attach::is_there;
use skep_kernel::maps::prog_array;
use skep_kernel::stub::slot_of;
use skep_kernel::{KernelError, MapHandle};
use skep_spec::{Manifest, ServiceName, Site, chain};
use skep_trust::Package;

use crate::choose::{Chosen, Objects, Refused, can_do_without, choose};
use crate::error::RuntimeError;
use crate::export::check_exports;
use crate::hooks::{Placed, make_folder, place};
use crate::in_kernel::InKernel;
use crate::new_names::by_new_names;
use crate::params::Params;
use crate::plan::{MapChange, Report};
use crate::runtime::{Runtime, facts_of};
use crate::state::{Generation, Hook, Incarnation, Mechanism, Op, Record, Settings, Then};
use crate::stop::comes_back;
use crate::together::{Anew, Shared};

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
    /// What the service is to be behind it: one that stays stopped is attached to nothing.
    pub(crate) then: Option<Then>,
    /// The settings from then on, where they change with it.
    pub(crate) settings: Option<Settings>,
}

impl BringUp<'_> {
    fn attaches(&self) -> bool {
        self.then != Some(Then::Stopped)
    }
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
        let (about, given) = ((manifest, &objects), &up.generation.params);
        let params = self.params_of(&up.service, up.settings.as_ref(), about, given)?;
        let mut report = Report::default();
        let chosen = choose(manifest, &objects, &params, refused, &mut report)?;
        let hooks = self.state.services.get(&up.service).map(|s| s.hooks.clone());
        let hooks = hooks.unwrap_or_default();
        let mut placed = self.hooks_for(up, &hooks, chosen, &mut report)?;
        self.can_switch(&up.service, &placed, &objects, up.op == Op::Rollback)?;
        let mut shared = self.shared_maps(&up.service, &up.generation.needs, &objects)?;
        if up.from.is_none() {
            let anew = Anew { manifest, objects: &objects, placed: &placed };
            shared.extend(self.maps_of_users(&up.service, anew)?);
        }
        check_exports(&up.service, manifest)?;
        let way = (up.from.as_ref().map(|from| from.number), Some(up.generation.clone()));
        self.begin(up.op, &up.service, way, (up.changes.clone(), up.then))?;
        if up.op == Op::Rollback {
            self.op = Op::Upgrade; // one that loads is an upgrade in all but what becomes of the newer generation
        }
        if let Some(settings) = up.settings.clone() {
            let service = up.service.clone();
            self.record(Record::Setting { service, settings, with_switch: true })?;
        }
        let switched = self.until_switched(up, objects, &params, (&mut placed, &shared), report);
        if let Err(error) = switched {
            return Err(self.undo_or(error));
        }
        self.finish_or_set_aside(&up.service)?;
        let service = self.service_state(&up.service)?;
        Ok(service.active().cloned().unwrap_or_else(|| up.generation.clone()))
    }

    /// Gives each program a hook that is free, or, where it is attached later, one that is looked for then.
    fn hooks_for(
        &self,
        up: &BringUp<'_>,
        hooks: &BTreeMap<String, Hook>,
        chosen: Vec<Chosen>,
        report: &mut Report,
    ) -> Result<Vec<Placed>, RuntimeError> {
        if up.attaches() {
            let placed = place_there(&up.service, hooks, chosen, report)?;
            self.are_free(&up.service, &placed)?;
            return Ok(placed);
        }
        let placed = place_there(&up.service, hooks, chosen.clone(), report);
        let placed = placed.unwrap_or_else(|_| place(hooks, &chosen));
        let hooked = placed.iter().filter(|one| one.hook.is_some());
        comes_back(&up.service, hooked.map(|one| &one.chosen.target))?;
        Ok(placed)
    }

    /// Refuses a place of which the kernel would take the program of another service, and not say so.
    pub(crate) fn are_free(
        &self,
        service: &ServiceName,
        placed: &[Placed],
    ) -> Result<(), RuntimeError> {
        let others = || self.state.services.iter().filter(|(name, _)| *name != service);
        for one in placed.iter().filter(|one| !one.there) {
            let target = &one.chosen.target;
            let is_group = target.site() == Some(Site::Group);
            let mut having =
                others().filter(|(_, other)| other.hooks.values().any(|h| h.target == *target));
            let Some((other, _)) = having.next().filter(|_| is_group) else { continue };
            let why = format!("the service '{other}' is there, and the kernel has one at a time");
            return Err(RuntimeError::NoHook {
                service: service.clone(),
                program: one.chosen.name.clone(),
                target: target.clone(),
                source: Box::new(KernelError::unsupported("attach at", target.to_string(), why)),
            });
        }
        Ok(())
    }

    fn until_switched(
        &mut self,
        up: &BringUp<'_>,
        objects: Objects,
        params: &Params,
        (placed, shared): (&mut [Placed], &Shared),
        mut report: Report,
    ) -> Result<(), RuntimeError> {
        let kernel = self.load_generation(up, objects, params, (placed, shared), &mut report)?;
        kernel.check_probes(&up.service, placed)?;
        let (switch, word) = self.switch_for(up, placed)?;
        let slot = slot_of(word + 1);
        let loaded = kernel.incarnation(placed, report.clone());
        self.record(Record::Loaded { incarnation: loaded.clone() })?;
        self.carry_probes(&up.service, up.from.as_ref(), &loaded)?;
        for one in placed.iter_mut().filter(|p| !p.there) {
            let payload = kernel.payload(one)?;
            let to = (&switch, slot);
            self.attach_hook((&up.service, up.attaches()), one, &payload, to, &mut report)?;
        }
        let incarnation = Incarnation { report, ..loaded }; // with what attaching adapted
        self.record(Record::Loaded { incarnation: incarnation.clone() })?;
        kernel.fill_interfaces(placed)?;
        self.fill_slots(&up.service, &kernel, placed, slot)?;
        let to = Generation { incarnation: Some(incarnation), ..up.generation.clone() };
        if !up.attaches() {
            return self.switch_nothing(&up.service);
        }
        self.read_perfs_of(&up.service, &to)?;
        if let Some(from) = &up.from {
            self.check_moves(&up.service, from, &to, &up.changes)?;
            self.copy_variables(&up.service, from, &to, &up.changes)?;
        }
        self.switch(&up.service, &to)
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
            match placed.iter().find(|p| p.hook.as_ref() == Some(name)) {
                Some(one) => {
                    let program = kernel.program(one)?;
                    Self::check_program(service, hook, program)?;
                    self.call("fill", || prog_array::set(&slots, slot, program))?;
                }
                None => drop(self.call("fill", || prog_array::clear(&slots, slot))?),
            }
        }
        self.record(Record::SlotsFilled { slot })
    }
}

/// Gives each program a hook, and sees that what new hooks attach to is there, by this kernel's name for it.
pub(crate) fn place_there(
    service: &ServiceName,
    hooks: &BTreeMap<String, Hook>,
    mut chosen: Vec<Chosen>,
    report: &mut Report,
) -> Result<Vec<Placed>, RuntimeError> {
    let placed = place(hooks, &chosen);
    match are_there(service, &placed) {
        Ok(()) => Ok(placed),
        Err(error) => {
            if !by_new_names(&mut chosen, report) {
                return Err(error);
            }
            let placed = place(hooks, &chosen);
            are_there(service, &placed).map(|()| placed)
        }
    }
}

/// Whether what new hooks attach to is there: this is known before anything is loaded.
fn are_there(service: &ServiceName, placed: &[Placed]) -> Result<(), RuntimeError> {
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
        | RuntimeError::NoHook { program, source, .. } => (program.clone(), chain(source.as_ref())),
        RuntimeError::Load { source, .. } => {
            let function = source.program.as_ref()?;
            let mut named = manifest.program.iter().filter(|(_, p)| p.function == *function);
            (named.next()?.0.clone(), source.summary.clone())
        }
        _ => return None,
    };
    can_do_without(manifest, &program).then_some((program, why))
}
