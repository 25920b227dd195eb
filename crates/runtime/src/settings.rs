//! Parameters of a service that runs: live ones are written into their variables, others take a switch to the same package.
//!
//! What is set is written down first, then written into the variable; a start finishes what was cut off in between.

use std::collections::{BTreeMap, BTreeSet};

use skep_kernel::maps::MappedVariable;
use skep_spec::{Manifest, ServiceName};

use crate::choose::Objects;
use crate::error::RuntimeError;
use crate::faults::Side;
use crate::install::Request;
use crate::params::{LiveWrite, Params, carried};
use crate::plan::Plan;
use crate::runtime::{Runtime, facts_of};
use crate::state::{Generation, Record, Settings};

/// What a change of parameters is, or was.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Live parameters that change, by name.
    pub live: BTreeMap<String, Change>,
    /// Parameters that are set before the load alone, and whatever is loaded again with them.
    pub loaded: BTreeMap<String, Change>,
    /// What the switch is to the same package with them; none where all are live.
    pub plan: Option<Plan>,
    /// How often the settings changed, with this.
    pub revision: u64,
}

/// A parameter's value before and after; none where the object's own counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What counted.
    pub from: Option<String>,
    /// What counts.
    pub to: Option<String>,
}

/// A variable of a generation in the kernel, and what is written into it.
struct Ready {
    variable: MappedVariable,
    bytes: Vec<u8>,
}

impl Runtime {
    /// What [`Self::set`] would do. Nothing is touched.
    ///
    /// # Errors
    /// There is no such service or parameter, a value is not of its type or in its range, or the switch would be refused.
    pub fn plan_set(&self, request: &Request) -> Result<Setting, RuntimeError> {
        let service = &request.service;
        let settings = self.service_state(service)?.settings.clone();
        let active = self.active(service)?;
        let package = self.package(&active.index)?;
        let (manifest, objects) = (&package.manifest, facts_of(&package)?);
        let before = settings.over(&active.params);
        let after = carried(manifest, &before, request)?;
        Params::resolve(manifest, &after)?.check_variables(objects.values())?;
        let names = manifest.param.keys().filter(|name| before.get(*name) != after.get(*name));
        let change = |name: &String| {
            let default = manifest.param[name].default.as_ref().map(skep_spec::param::Value::text);
            let value = |of: &BTreeMap<String, String>| of.get(name).cloned().or(default.clone());
            (name.clone(), Change { from: value(&before), to: value(&after) })
        };
        let (live, loaded): (BTreeMap<_, _>, BTreeMap<_, _>) = names
            .map(change)
            .partition(|(name, _)| is_live(manifest, &objects, name, (&before, &after)));
        let plan = match loaded.is_empty() {
            true => None,
            false => Some(self.plan_upgrade(&package, request)?),
        };
        let change = (&request.params, &request.unset);
        let is_live = |name: &str| is_setting(manifest, name);
        let revision = settings.after(change, is_live).revision;
        Ok(Setting { live, loaded, plan, revision })
    }

    /// Changes parameters of a service.
    ///
    /// # Errors
    /// As [`Self::plan_set`]; the kernel refuses. Then nothing has changed.
    pub fn set(&mut self, request: &Request) -> Result<Setting, RuntimeError> {
        self.end_what_began()?;
        self.take_up(&request.service)?;
        let setting = self.plan_set(request)?;
        if setting.plan.is_some() {
            let package = self.package(&self.active(&request.service)?.index)?;
            let plan = self.upgrade(&package, request)?.plan;
            return Ok(Setting { plan: Some(plan), ..setting });
        }
        if !setting.live.is_empty() {
            self.set_live(request, setting.live.keys().cloned().collect())?;
        }
        Ok(setting)
    }

    fn set_live(&mut self, request: &Request, names: BTreeSet<String>) -> Result<(), RuntimeError> {
        let service = &request.service;
        let active = self.active(service)?;
        let package = self.package(&active.index)?;
        let known = &self.service_state(service)?.settings;
        let change = (&request.params, &request.unset);
        let next = known.after(change, |name| is_setting(&package.manifest, name));
        let ready = self.ready(service, &active, &next, &names)?;
        let unwritten = next.unwritten.iter().cloned().chain(names).collect();
        self.write_down(service, Settings { unwritten, ..next })?;
        self.write(&ready);
        self.is_written(service)
    }

    /// Writes what was set into the variables of services, where that was cut off.
    pub(crate) fn finish_settings(&mut self) -> Result<(), RuntimeError> {
        for service in self.names() {
            let Some(state) = self.state.services.get(&service) else { continue };
            let (settings, active) = (state.settings.clone(), state.active().cloned());
            let Some(active) = active.filter(|_| !settings.unwritten.is_empty()) else { continue };
            let ready = self.ready(&service, &active, &settings, &settings.unwritten);
            match ready {
                Ok(ready) => {
                    self.write(&ready);
                    self.is_written(&service)?;
                }
                Err(error) => {
                    let error = skep_spec::chain(&error);
                    tracing::error!(%service, "what was set is not in its variables: {error}");
                }
            }
        }
        Ok(())
    }

    /// Writes all settings into the variables of a generation that does not run yet.
    pub(crate) fn carry_settings(
        &self,
        service: &ServiceName,
        to: &Generation,
    ) -> Result<(), RuntimeError> {
        let settings = &self.service_state(service)?.settings;
        let names: BTreeSet<String> = settings.params.keys().cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        let ready = self.ready(service, to, settings, &names)?;
        self.write(&ready);
        Ok(())
    }

    /// The parameters of a generation, with the settings of its service: those that come with it, or those that there are. What
    /// it cannot have, since it is older, counts for others alone.
    pub(crate) fn params_of(
        &self,
        service: &ServiceName,
        comes: Option<&Settings>,
        (manifest, objects): (&Manifest, &Objects),
        given: &BTreeMap<String, String>,
    ) -> Result<Params, RuntimeError> {
        let resolve = |given: &BTreeMap<String, String>| {
            let params = Params::resolve(manifest, given)?;
            params.check_variables(objects.values())?;
            Ok::<_, RuntimeError>(params)
        };
        let known = self.state.services.get(service).map(|service| &service.settings);
        let Some(settings) = comes.or(known).filter(|settings| !settings.params.is_empty()) else {
            return resolve(given);
        };
        let mut with = given.clone();
        for name in settings.params.keys().filter(|name| manifest.param.contains_key(*name)) {
            let one = BTreeMap::from([(name.clone(), settings.params[name].clone())]);
            let next = Settings { params: one, ..Settings::default() }.over(&with);
            match resolve(&next) {
                Ok(_) => with = next,
                Err(error) => {
                    let (version, error) = (&manifest.package.version, skep_spec::chain(&error));
                    tracing::warn!(%service, %version, name, "runs without what was set: {error}");
                }
            }
        }
        resolve(&with)
    }

    /// Maps the variables of these parameters, so that writing cannot fail later; nothing where the
    /// kernel has none of it: the load writes them then.
    fn ready(
        &self,
        service: &ServiceName,
        generation: &Generation,
        settings: &Settings,
        names: &BTreeSet<String>,
    ) -> Result<Vec<Ready>, RuntimeError> {
        let Some(incarnation) = &generation.incarnation else { return Ok(Vec::new()) };
        let package = self.package(&generation.index)?;
        let objects = facts_of(&package)?;
        let about = (&package.manifest, &objects);
        let params = self.params_of(service, Some(settings), about, &generation.params)?;
        let mut ready = Vec::new();
        for write in params.live_writes(&objects, names)? {
            let LiveWrite { object, section, offset, bytes } = write;
            let is_it =
                |map: &&crate::state::MapRecord| map.object == object && map.symbol == section;
            let found = incarnation.maps.iter().find(|(_, map)| is_it(map));
            let Some((name, _)) = found else { continue }; // no program of that object runs
            let map = self.open_map(service, generation, name)?;
            let variable = map.variable(offset, bytes.len())?;
            ready.push(Ready { variable, bytes });
        }
        Ok(ready)
    }

    fn write(&self, ready: &[Ready]) {
        for Ready { variable, bytes } in ready {
            self.faults.point("setting", "write", Side::Before);
            variable.store(bytes);
            self.faults.point("setting", "write", Side::After);
        }
    }

    fn write_down(
        &mut self,
        service: &ServiceName,
        settings: Settings,
    ) -> Result<(), RuntimeError> {
        let service = service.clone();
        self.record(Record::Setting { service, settings, with_switch: false })
    }

    fn is_written(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        let settings = self.service_state(service)?.settings.clone();
        self.write_down(service, Settings { unwritten: BTreeSet::new(), ..settings })?;
        self.checkpoint()
    }
}

/// Whether a parameter is the service's own, and not the generation's.
pub(crate) fn is_setting(manifest: &Manifest, name: &str) -> bool {
    manifest.param.get(name).is_some_and(|param| param.data.is_some())
}

/// Whether a parameter's change is one store into each of its variables, and nothing else.
fn is_live(
    manifest: &Manifest,
    objects: &Objects,
    name: &str,
    (before, after): (&BTreeMap<String, String>, &BTreeMap<String, String>),
) -> bool {
    let Some((param, variable)) =
        manifest.param.get(name).and_then(|param| Some((param, param.data.as_deref()?)))
    else {
        return false;
    };
    let reference = format!("${{param.{name}}}");
    let texts = manifest.program.values().flat_map(|one| [&one.target, &one.pid]);
    let mut texts = texts.flatten().cloned().chain(
        manifest.map.values().filter_map(|map| map.max_entries.as_ref()).map(|size| size.text()),
    );
    let comes_or_goes = before.contains_key(name) != after.contains_key(name);
    let chosen_by =
        |one: &skep_spec::manifest::Program| one.requires_param.as_deref() == Some(name);
    let chooses = !param.set.is_empty() || manifest.program.values().any(chosen_by);
    let mut globals = objects.values().flat_map(|facts| &facts.globals);
    let is_one_store =
        |at: u64, size: u64| matches!(size, 1 | 2 | 4 | 8) && at.is_multiple_of(size);
    let takes_a_load = texts.any(|text| text.contains(&reference)) || comes_or_goes && chooses;
    !takes_a_load
        && globals.all(|global| global.name != variable || is_one_store(global.offset, global.size))
}
