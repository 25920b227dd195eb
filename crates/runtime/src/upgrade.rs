//! Upgrading a service warm: no event lost, none counted twice, state kept or moved.

use std::collections::BTreeMap;

use skep_object::ProgramFacts;
use skep_spec::{Manifest, ServiceName};
use skep_trust::{Package, Verified};

use crate::bring_up::{BringUp, place_there, refused_program};
use crate::choose::{Objects, Refused, choose};
use crate::error::RuntimeError;
use crate::hooks::Placed;
use crate::install::{Request, generation};
use crate::load::{map_names, names_of};
use crate::migrate::{Side, decide};
use crate::params::{Params, carried};
use crate::plan::{HookChange, HookPlan, Identity, MapChange, MapPlan, Plan, Report};
use crate::runtime::{Runtime, facts_of};
use crate::settings::is_setting;
use crate::state::{Generation, Mechanism, Op, Service, Settings};
use crate::status::Detail;

/// What an upgrade did.
#[derive(Clone, Debug)]
pub struct Upgraded {
    /// What was planned; `already` means that nothing was done.
    pub plan: Plan,
    /// The service now.
    pub detail: Detail,
}

/// Which of two versions' manifests says what becomes of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The new one's, which is refused where state would be lost.
    Forward,
    /// The old one's, which led here: what it did is done the other way.
    Back,
}

impl Direction {
    const fn op(self) -> Op {
        match self {
            Self::Forward => Op::Upgrade,
            Self::Back => Op::Rollback,
        }
    }
}

/// The maps that others may open now, and no more of the new version.
pub(crate) fn exports_that_end(
    from: &Generation,
    manifest: &Manifest,
) -> impl Iterator<Item = String> {
    let maps = from.incarnation.iter().flat_map(|incarnation| incarnation.maps.values());
    let exported = |symbol: &str| manifest.map.get(symbol).is_some_and(|map| map.export.is_some());
    let ends = maps.filter(move |map| map.export.is_some() && !exported(&map.symbol));
    ends.map(|map| {
        let symbol = &map.symbol;
        format!("the map '{symbol}' is exported no more: its pin for others goes with the switch")
    })
}

impl Runtime {
    /// What [`Self::upgrade`] would do. Nothing is touched.
    ///
    /// # Errors
    /// What would make the upgrade refuse, but for what only the kernel can say.
    pub fn plan_upgrade(
        &self,
        package: &Verified<Package>,
        install: &Request,
    ) -> Result<Plan, RuntimeError> {
        self.plan(package, install, Direction::Forward).map(|(plan, ..)| plan)
    }

    /// The plan, and the generation that it leads to.
    fn plan(
        &self,
        package: &Verified<Package>,
        install: &Request,
        direction: Direction,
    ) -> Result<(Plan, Generation, Option<Settings>), RuntimeError> {
        let service = self.whole(&install.service)?;
        let from = self.active(&install.service)?;
        let number = service.last_generation.max(service.active) + 1;
        let (params, settings) = match direction {
            Direction::Forward => self.carried(&package.manifest, &from, install)?,
            Direction::Back => (install.params.clone(), None),
        };
        let needs = self.needs_of(&install.service, &package.manifest, Some(&from), direction)?;
        let to = Generation { needs, ..generation(package, number, params) };
        self.what_it_needs_runs(&install.service, &to)?;
        if direction == Direction::Forward {
            self.is_let_go(&install.service, &from, &to.index)?;
        }
        let counts = |of: Option<&Settings>, given: &BTreeMap<String, String>| {
            of.unwrap_or(&service.settings).over(given)
        };
        let already = (to.index, to.platform, counts(settings.as_ref(), &to.params))
            == (from.index, from.platform, counts(None, &from.params));
        let objects = facts_of(package)?;
        let about = (&package.manifest, &objects);
        let params = self.params_towards(install, about, (&to, settings.as_ref()), direction)?;
        let (placed, report) =
            self.placed(&install.service, &package.manifest, &objects, &params)?;
        self.are_free(&install.service, &placed)?;
        if !already {
            let back = direction == Direction::Back;
            self.can_switch(&install.service, &placed, &objects, back)?;
        }
        let hooks = hook_plans(service, &placed);
        let maps = match already {
            true => BTreeMap::new(),
            false => {
                let (manifest, names) =
                    (&package.manifest, &map_names(&objects, from.incarnation.as_ref()));
                let side = Side { manifest, objects: &objects, params: &params, names };
                self.shared_maps(&install.service, &to.needs, &objects)?;
                self.decide_maps(&install.service, &from, side, direction)?
            }
        };
        if !already {
            let changes = changes_of(&maps);
            let names = map_names(&objects, from.incarnation.as_ref());
            Self::maps_stay(&install.service, &placed, &changes, &names)?;
            self.users_can_follow(&install.service, (&from, &to), &package.manifest, &changes)?;
        }
        let plan = Plan {
            service: install.service.clone(),
            separately: separately(&hooks),
            notes: exports_that_end(&from, &package.manifest)
                .chain(report.changes.iter().map(ToString::to_string))
                .collect(),
            from: Some(identity(&from)),
            to: identity(&to),
            already,
            hooks,
            maps,
        };
        Ok((plan, to, settings))
    }

    /// A version's parameters with the settings; what it cannot have of those is an error on the way forward alone.
    fn params_towards(
        &self,
        install: &Request,
        (manifest, objects): (&Manifest, &Objects),
        (to, settings): (&Generation, Option<&Settings>),
        direction: Direction,
    ) -> Result<Params, RuntimeError> {
        let service = &install.service;
        if direction == Direction::Forward {
            let counts = settings.unwrap_or(&self.service_state(service)?.settings);
            let given = counts.over(&to.params);
            Params::resolve(manifest, &given)?.check_variables(objects.values())?;
        }
        let params = self.params_of(service, settings, (manifest, objects), &to.params)?;
        Ok(params.without(&install.unset))
    }

    /// The parameters of a new version, and what becomes of the settings: live parameters that are set now, or were before, are
    /// the service's own.
    fn carried(
        &self,
        manifest: &Manifest,
        from: &Generation,
        install: &Request,
    ) -> Result<(BTreeMap<String, String>, Option<Settings>), RuntimeError> {
        let known = &self.service_state(&install.service)?.settings;
        let mut params = carried(manifest, &known.over(&from.params), install)?;
        let change = (&install.params, &install.unset);
        let next = known.after(change, |name| is_setting(manifest, name));
        params.retain(|name, _| !next.params.contains_key(name));
        let given = from
            .params
            .iter()
            .filter(|(name, _)| next.params.contains_key(*name) && !install.unset.contains(*name));
        params.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        Ok((params, Some(next).filter(|next| next != known)))
    }

    /// The programs that run here and their hooks, as [`Self::bring_up`] comes to them but for what only loading shows.
    pub(crate) fn placed(
        &self,
        service: &ServiceName,
        manifest: &Manifest,
        objects: &Objects,
        params: &Params,
    ) -> Result<(Vec<Placed>, Report), RuntimeError> {
        let hooks = self.state.services.get(service).map(|state| state.hooks.clone());
        let (hooks, mut refused) = (hooks.unwrap_or_default(), Refused::new());
        loop {
            let mut report = Report::default();
            let chosen = choose(manifest, objects, params, &refused, &mut report)?;
            let error = match place_there(service, &hooks, chosen, &mut report) {
                Ok(placed) => return Ok((placed, report)),
                Err(error) => error,
            };
            match refused_program(&error, manifest) {
                Some((program, why)) if !refused.contains_key(&program) => {
                    refused.insert(program, why);
                }
                _ => return Err(error),
            }
        }
    }

    /// Replaces the running generation by another package or other parameters. The running one is kept for
    /// [`Self::rollback`]; the one before it goes.
    ///
    /// # Errors
    /// State would be lost that the manifest does not give up; a hook can't be switched; the kernel refuses. Then
    /// nothing has changed. [`RuntimeError::Unfinished`] alone comes after the switch.
    pub fn upgrade(
        &mut self,
        package: &Verified<Package>,
        install: &Request,
    ) -> Result<Upgraded, RuntimeError> {
        self.end_what_began()?;
        self.upgrade_to(package, install, Direction::Forward)
    }

    pub(crate) fn upgrade_to(
        &mut self,
        package: &Verified<Package>,
        install: &Request,
        direction: Direction,
    ) -> Result<Upgraded, RuntimeError> {
        self.take_up(&install.service)?;
        let (plan, generation, settings) = self.plan(package, install, direction)?;
        if plan.already {
            self.keep_what_runs(&install.service)?;
            return Ok(Upgraded { plan, detail: self.service(&install.service)? });
        }
        let from = self.active(&install.service)?;
        self.bring_up(&BringUp {
            op: direction.op(),
            service: install.service.clone(),
            package,
            generation,
            from: Some(from),
            changes: changes_of(&plan.maps),
            then: None,
            settings,
        })?;
        Ok(Upgraded { plan, detail: self.service(&install.service)? })
    }

    fn decide_maps(
        &self,
        service: &ServiceName,
        from: &Generation,
        to: Side<'_>,
        direction: Direction,
    ) -> Result<BTreeMap<String, MapPlan>, RuntimeError> {
        let old = self.package(&from.index)?;
        let old_objects = facts_of(&old)?;
        if direction == Direction::Forward {
            refuse_timers(service, &old_objects)?;
        }
        let about = (&old.manifest, &old_objects);
        let old_params = self.params_of(service, None, about, &from.params)?;
        let names = &from.incarnation.as_ref().map(names_of).unwrap_or_default();
        let from_side =
            Side { manifest: &old.manifest, objects: &old_objects, params: &old_params, names };
        let held = |map: &str| {
            let keys = self.open_map(service, from, map).and_then(|map| Ok(map.keys()?.len()));
            let unknown = |error: &_| tracing::warn!(%service, map, %error, "entries not counted");
            keys.inspect_err(unknown).ok().map(|entries| entries as u64)
        };
        let decided = match direction {
            Direction::Forward => decide(from_side, to, &held),
            Direction::Back => decide(to, from_side, &|_| None).map(reversed),
        };
        let refuse = |source| RuntimeError::Migrate { service: service.clone(), source };
        decided.map_err(refuse)
    }
}

/// What a version armed runs on beside the next one, until its maps go with the upgrade after that.
fn refuse_timers(service: &ServiceName, objects: &Objects) -> Result<(), RuntimeError> {
    let arms = |program: &ProgramFacts| {
        let helper = program.helpers.contains("timer_start").then_some("bpf_timer_start");
        let names = ["bpf_wq_start", "bpf_wq_start_impl"];
        helper.or_else(|| names.into_iter().find(|name| program.kfuncs.contains(*name)))
    };
    let programs = objects.values().flat_map(|facts| &facts.programs);
    match programs.into_iter().find_map(|program| Some((program, arms(program)?))) {
        None => Ok(()),
        Some((program, by)) => Err(RuntimeError::Timers {
            service: service.clone(),
            program: program.name.clone(),
            by,
        }),
    }
}

fn changes_of(maps: &BTreeMap<String, MapPlan>) -> BTreeMap<String, MapChange> {
    maps.iter().map(|(map, plan)| (map.clone(), plan.change.clone())).collect()
}

fn reversed(maps: BTreeMap<String, MapPlan>) -> BTreeMap<String, MapPlan> {
    let back = |plan: MapPlan| MapPlan { change: plan.change.reversed(), ..plan };
    maps.into_iter().map(|(map, plan)| (map, back(plan))).collect()
}

fn identity(generation: &Generation) -> Identity {
    Identity {
        generation: generation.number,
        package: generation.package.clone(),
        version: generation.version.clone(),
        index: generation.index,
    }
}

fn hook_plans(service: &Service, placed: &[Placed]) -> Vec<HookPlan> {
    let attached = placed.iter().filter_map(|p| Some((p, p.hook.clone()?)));
    let coming = attached.map(|(p, hook)| HookPlan {
        hook,
        target: p.chosen.target.clone(),
        program: Some(p.chosen.name.clone()),
        mechanism: p.mechanism,
        change: if p.there { HookChange::Kept } else { HookChange::Added },
    });
    let goes = |name: &String| !placed.iter().any(|p| p.hook.as_ref() == Some(name));
    let going = service.hooks.iter().filter(|(name, _)| goes(name)).map(|(name, hook)| HookPlan {
        hook: name.clone(),
        target: hook.target.clone(),
        program: None,
        mechanism: hook.mechanism,
        change: HookChange::Removed,
    });
    coming.chain(going).collect()
}

/// Hooks that the one store of the switch word does not switch.
fn separately(hooks: &[HookPlan]) -> Vec<String> {
    let stubs = hooks.iter().filter(|hook| hook.mechanism == Mechanism::Stub).count();
    let by_itself = |hook: &&HookPlan| hook.mechanism != Mechanism::Stub;
    if stubs == 0 && hooks.len() <= 1 {
        return Vec::new(); // a link update of the only hook is one store as well
    }
    let words = |hook: &HookPlan| match hook.mechanism {
        Mechanism::Update => format!("{} at {}: by a link update", hook.hook, hook.target),
        Mechanism::Replace => {
            format!("{} at {}: by replacing what holds it", hook.hook, hook.target)
        }
        _ => format!("{} at {}: can't be replaced at all", hook.hook, hook.target),
    };
    hooks.iter().filter(by_itself).map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiled::{alone, compiled};

    fn objects(body: &str) -> Objects {
        let source = format!(
            "static long (*timer_start)(void *, unsigned long long, unsigned long long) = (void *)171;\n\
             extern int bpf_wq_start(void *, unsigned) __attribute__((section(\".ksyms\")));\n\
             static __attribute__((noinline)) int arm(void *at) {{ {body} }}\n\
             __attribute__((section(\"xdp\"))) int x(void *packet) {{ return arm(packet); }}\n"
        );
        alone(&compiled(&source))
    }

    #[test]
    fn what_arms_timers_is_not_upgraded_warm() {
        let refused = |body| refuse_timers(&"x".parse().unwrap(), &objects(body));
        refused("return 2;").unwrap();
        for (body, by) in [
            ("return timer_start(at, 1, 0);", "bpf_timer_start"),
            ("return bpf_wq_start(at, 0);", "bpf_wq_start"),
        ] {
            let error = refused(body).unwrap_err();
            assert_eq!(error.code(), "arms-timers");
            let said = error.to_string();
            assert!(said.contains(&format!("its program 'x' calls {by}, ")), "{said}");
        }
    }
}
