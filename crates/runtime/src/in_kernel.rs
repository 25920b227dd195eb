//! A generation in the kernel that runs nowhere yet: its programs and maps, loaded and pinned.

use std::collections::BTreeMap;

use skep_kernel::attach::usdt;
use skep_kernel::object::Sections;
use skep_kernel::{KernelError, MapHandle, Program, attach};
use skep_spec::{ServiceName, Target};

use crate::at_map::interface;
use crate::bring_up::BringUp;
use crate::choose::{Chosen, Objects};
use crate::error::RuntimeError;
use crate::hooks::{Payload, Placed, make_folder};
use crate::load::{LoadedObject, MapPlace, Preparation, map_names, wanted_objects};
use crate::params::Params;
use crate::plan::{MapChange, Report};
use crate::replaceable::asks_func_ip;
use crate::runtime::Runtime;
use crate::state::{Incarnation, MapRecord, ProgramRecord};
use crate::together::Shared;

/// What of a generation is loaded.
pub(crate) struct InKernel {
    /// By object and function.
    programs: BTreeMap<String, Program>,
    maps: BTreeMap<String, MapRecord>,
    objects: Objects,
    /// By object, where a program attaches by its section.
    sections: BTreeMap<String, Sections>,
}

fn key(object: &str, function: &str) -> String {
    format!("{object}/{function}")
}

impl InKernel {
    pub(crate) fn program(&self, placed: &Placed) -> Result<&Program, KernelError> {
        let key = key(&placed.chosen.object, &placed.chosen.function);
        let missing = || {
            let thing = format!("the program '{key}'");
            KernelError::unsupported("find", thing, "it was not loaded")
        };
        self.programs.get(&key).ok_or_else(missing)
    }

    /// A program with what attaching it takes.
    pub(crate) fn payload(&self, placed: &Placed) -> Result<Payload<'_>, KernelError> {
        Ok(Payload {
            program: self.program(placed)?,
            calls_func_ip: self.calls_func_ip(placed),
            sections: self.sections.get(&placed.chosen.object),
        })
    }

    /// Refuses programs at probes whose arguments they could not find on this kernel.
    pub(crate) fn check_probes(
        &self,
        service: &ServiceName,
        placed: &[Placed],
    ) -> Result<(), RuntimeError> {
        for one in placed {
            let program = self.program(one)?;
            usdt::check_told(program, &one.chosen.target).map_err(|source| {
                RuntimeError::Attach {
                    service: service.clone(),
                    program: one.chosen.name.clone(),
                    source: Box::new(source),
                }
            })?;
        }
        Ok(())
    }

    /// Gives the maps of kernel interfaces that are registered their functions, so that they can take the places of those that
    /// run.
    pub(crate) fn fill_interfaces(&self, placed: &[Placed]) -> Result<(), KernelError> {
        for one in placed.iter().filter(|one| one.there) {
            let sections = self.sections.get(&one.chosen.object);
            if let Some((map, sections)) = interface(&one.chosen.target).zip(sections) {
                sections.fill_interface(map)?;
            }
        }
        Ok(())
    }

    /// Whether a program asks for the address of its function, which a stub must then pass on.
    fn calls_func_ip(&self, placed: &Placed) -> bool {
        let facts = self.objects.get(&placed.chosen.object);
        let program = facts.and_then(|facts| facts.program(&placed.chosen.function));
        program.is_some_and(asks_func_ip)
    }

    /// What the generation is on this boot.
    pub(crate) fn incarnation(&self, placed: &[Placed], report: Report) -> Incarnation {
        let record = |one: &Placed| {
            let program = self.program(one).ok()?;
            let record = ProgramRecord {
                function: one.chosen.function.clone(),
                object: one.chosen.object.clone(),
                id: program.id().unwrap_or(0),
                kind: program.kind().clone(),
                hook: one.hook.clone(),
            };
            Some((one.chosen.name.clone(), record))
        };
        let programs = placed.iter().filter_map(record).collect();
        Incarnation { programs, maps: self.maps.clone(), report }
    }
}

impl Runtime {
    /// Loads all objects and pins their programs and maps.
    pub(crate) fn load_generation(
        &mut self,
        up: &BringUp<'_>,
        objects: Objects,
        params: &Params,
        (placed, shared): (&[Placed], &Shared),
        report: &mut Report,
    ) -> Result<InKernel, RuntimeError> {
        let chosen: Vec<_> = placed.iter().map(|p| p.chosen.clone()).collect();
        let running = up.from.as_ref().and_then(|from| from.incarnation.as_ref());
        let names = map_names(&objects, running);
        let (mut programs, mut maps) = (BTreeMap::new(), BTreeMap::new());
        let mut sections = BTreeMap::new();
        for (object, bytes) in wanted_objects(up.package, &chosen) {
            let Some(facts) = objects.get(object) else { continue };
            let reuse = self.maps_to_reuse(up, object, &names, shared)?;
            let preparation = Preparation {
                service: up.service.as_str(),
                object,
                bytes,
                facts,
                chosen: &chosen,
                params,
                reuse: &reuse,
                btf: self.dirs.btf.as_deref(),
            };
            let loaded = self.call("load", || preparation.load(report))?;
            self.pin_maps(up, object, &names, &loaded, &mut maps)?;
            let slots = loaded.lost_slots;
            if let Some(record) = maps.values_mut().find(|m| m.object == *object && m.is_lost()) {
                record.counts = slots;
            }
            let needs = |target: &Target| !attach::is_known(target) || interface(target).is_some();
            let by_section = |c: &Chosen| c.object == *object && needs(&c.target);
            if chosen.iter().any(by_section) {
                sections.insert(object.clone(), loaded.sections);
            }
            programs.extend(loaded.programs.into_iter().map(|(f, p)| (key(object, &f), p)));
        }
        let kernel = InKernel { programs, maps, objects, sections };
        let folder = self.pins(&up.service).programs(up.generation.number);
        make_folder(&folder)?;
        for one in placed {
            let path = self.pins(&up.service).program(up.generation.number, &one.chosen.name);
            let program = kernel.program(one)?;
            self.call("pin", || program.pin(&path))?;
        }
        Ok(kernel)
    }

    /// The running generation's maps that the new one uses too, and those of other services, by symbol.
    fn maps_to_reuse(
        &self,
        up: &BringUp<'_>,
        object: &str,
        names: &BTreeMap<String, MapPlace>,
        shared: &Shared,
    ) -> Result<BTreeMap<String, MapHandle>, RuntimeError> {
        let mut keep = BTreeMap::new();
        for (place, map) in shared.iter().filter(|(place, _)| place.object == object) {
            keep.insert(place.symbol.clone(), MapHandle::by_id(map.info().id)?);
        }
        let Some(from) = &up.from else { return Ok(keep) };
        for (name, place) in names.iter().filter(|(_, place)| place.object == object) {
            let own = !shared.contains_key(place);
            if own && up.changes.get(name) == Some(&MapChange::Keep) {
                keep.insert(place.symbol.clone(), self.open_map(&up.service, from, name)?);
            }
        }
        Ok(keep)
    }

    fn pin_maps(
        &self,
        up: &BringUp<'_>,
        object: &str,
        names: &BTreeMap<String, MapPlace>,
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
            let exported = up.package.manifest.map.get(&place.symbol);
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
                    export: exported.and_then(|map| map.export.clone()),
                },
            );
        }
        Ok(())
    }
}
