//! What would become of services that come together, before anything of them is in the kernel.

use skep_object::share::{Defined, NotShared, shared};
use skep_spec::manifest::Dependency;
use skep_spec::{PackageName, ServiceName};
use skep_trust::Package;

use super::{Member, Sharing};
use crate::choose::Objects;
use crate::error::RuntimeError;
use crate::export::check_exports;
use crate::params::{Params, carried};
use crate::runtime::{Runtime, facts_of};
use crate::state::Need;
use crate::upgrade::exports_that_end;

impl Runtime {
    /// That services can be installed and upgraded in this order, as far as that is known before the kernel is asked.
    ///
    /// # Errors
    /// What would make [`Self::together`] refuse one of them.
    pub fn plan_together(&self, members: &[Member<'_>]) -> Result<(), RuntimeError> {
        for (at, member) in members.iter().enumerate() {
            self.is_as_planned(member)?;
            self.can_come(member, &members[..at])?;
            self.users_outside(member, members)?;
        }
        Ok(())
    }

    /// The maps that others may open now, and no more once these have come.
    #[must_use]
    pub fn exports_that_end(&self, members: &[Member<'_>]) -> Vec<String> {
        let ends = |member: &Member<'_>| {
            let (service, manifest) = (&member.request.service, &member.package.manifest);
            let ends = self.runs(service).map(|from| exports_that_end(from, manifest));
            let said = ends.into_iter().flatten().map(|end| format!("{service}: {end}"));
            said.collect::<Vec<_>>()
        };
        members.iter().flat_map(ends).collect()
    }

    fn can_come(&self, member: &Member<'_>, before: &[Member<'_>]) -> Result<(), RuntimeError> {
        let (service, manifest) = (&member.request.service, &member.package.manifest);
        let objects = facts_of(member.package)?;
        let params = match member.from {
            Some(_) => {
                self.whole(service)?;
                let from = self.active(service)?;
                self.is_let_go(service, &from, &member.package.index)?;
                carried(manifest, &from.params, member.request)?
            }
            None => member.request.params.clone(),
        };
        let params = Params::resolve(manifest, &params)?;
        params.check_variables(objects.values())?;
        let (placed, _) = self.placed(service, manifest, &objects, &params)?;
        self.are_free(service, &placed)?;
        check_exports(service, manifest)?;
        for (package, dependency) in &manifest.dependencies {
            let gives = |one: &&Member<'_>| one.package.manifest.package.name == *package;
            match before.iter().find(gives) {
                Some(comes) => gives_maps(service, (comes, package), dependency, &objects)?,
                None => self.gives_now(member, package, dependency, &objects)?,
            }
        }
        Ok(())
    }

    /// That a package that runs, and stays as it is, gives what one needs.
    fn gives_now(
        &self,
        member: &Member<'_>,
        package: &PackageName,
        dependency: &Dependency,
        objects: &Objects,
    ) -> Result<(), RuntimeError> {
        let service = &member.request.service;
        let known = self.runs(service).and_then(|active| active.needs.get(package));
        let given = known.map(|need| &need.service).or_else(|| self.provider(package));
        let active = given.and_then(|given| self.runs(given));
        let Some((given, active)) = given.zip(active) else { return Ok(()) }; // the set has it, or was refused
        if self.is_stopped(given) {
            let (service, needed) = (service.clone(), given.clone());
            return Err(RuntimeError::NeedsStopped { service, needed });
        }
        let (version, maps) = (dependency.version.clone(), dependency.maps.clone());
        if !version.holds(&active.version) {
            return Err(RuntimeError::Missing {
                service: service.clone(),
                package: package.clone(),
                range: version,
                there: Some(active.version.clone()),
            });
        }
        let need = Need { service: given.clone(), version, maps };
        self.shared_maps(service, &[(package.clone(), need)].into(), objects).map(drop)
    }

    /// That who needs one of them, and is none of them, keeps the maps that it uses.
    fn users_outside(
        &self,
        member: &Member<'_>,
        members: &[Member<'_>],
    ) -> Result<(), RuntimeError> {
        let (service, manifest) = (&member.request.service, &member.package.manifest);
        let is_member = |user: &ServiceName| members.iter().any(|m| m.request.service == *user);
        for (user, need) in self.users(service).filter(|(user, _)| !is_member(user)) {
            let is_exported = |symbol: &&String| {
                manifest.map.get(*symbol).is_some_and(|map| map.export.is_some())
            };
            if let Some(symbol) = need.maps.iter().find(|symbol| !is_exported(symbol)) {
                let version = &manifest.package.version;
                let why = format!("it uses the map '{symbol}', which {version} does not export");
                let (service, by) = (service.clone(), user.clone());
                return Err(RuntimeError::InUse { service, by, why });
            }
        }
        Ok(())
    }
}

/// That a package that is to come exports the maps that another one needs, as that defines them.
fn gives_maps(
    user: &ServiceName,
    (comes, package): (&Member<'_>, &PackageName),
    dependency: &Dependency,
    objects: &Objects,
) -> Result<(), RuntimeError> {
    let theirs = facts_of(comes.package)?;
    for symbol in &dependency.maps {
        fits(comes.package, &theirs, symbol, objects).map_err(|source| {
            RuntimeError::Sharing(Box::new(Sharing {
                user: user.clone(),
                service: comes.request.service.clone(),
                package: package.clone(),
                version: comes.package.manifest.package.version.to_string(),
                runs: "would run",
                source,
            }))
        })?;
    }
    Ok(())
}

fn fits(
    package: &Package,
    theirs: &Objects,
    symbol: &str,
    objects: &Objects,
) -> Result<(), NotShared> {
    let not = |why: &str| NotShared::new(symbol, why);
    let exported = package.manifest.map.iter().filter(|(_, map)| map.export.is_some());
    let exported: Vec<&str> = exported.map(|(name, _)| name.as_str()).collect();
    if !exported.contains(&symbol) {
        let there = if exported.is_empty() { "no map".to_owned() } else { exported.join(", ") };
        return Err(not(&format!("it exports {there}")));
    }
    let mut defined = theirs.values().filter_map(|facts| Some((facts, facts.map(symbol)?)));
    let (facts, map) = defined.next().ok_or_else(|| not("its object has none"))?;
    let exporter = Defined { facts, map };
    let mut users =
        objects.values().filter_map(|facts| Some((facts, facts.map(symbol)?))).peekable();
    if users.peek().is_none() {
        return Err(not("no object of its user defines one of that name"));
    }
    users.try_for_each(|(facts, map)| shared(exporter, Defined { facts, map }))
}
