//! What the daemon can do: the runtime, the shelf of packages, and what joins them.

mod maps;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use skep_api::{
    Detail, Install, Member, MemberChange, Metric, Plan, Programs, Removed, Status, Upgrade,
};
use skep_object::fit;
use skep_runtime::programs::ProgramLine;
use skep_runtime::{EventStream, Request, Runtime, RuntimeError, Together, status};
use skep_spec::manifest::OutputKind;
use skep_spec::{Digest, ServiceName};
use skep_trust::{Origin, Package, Verified};

use crate::answer::{self, Beside};
use crate::counters::{self, Counters};
use crate::desired::Desiring;
use crate::ending::Ending;
use crate::error::NodeError;
use crate::history::History;
use crate::looks::{Looks, Read};
use crate::packages::Shelf;
use crate::selection::Selection;
use crate::set::{Before, Change, Set, Standing};
use crate::settings::differing;

/// The daemon behind its API.
pub struct Node {
    runtime: Mutex<Runtime>,
    pub(crate) shelf: Shelf,
    pub(crate) looks: Looks,
    hub: Option<String>,
    pub(crate) history: History,
    /// Held for reading from a package's way in until a service is made of it: in between nothing else says that it is needed.
    coming_in: RwLock<()>,
    /// What the node is to be.
    pub(crate) desiring: Desiring,
}

impl Node {
    /// Joins the parts.
    #[must_use]
    pub fn new(runtime: Runtime, shelf: Shelf, hub: Option<String>) -> Arc<Self> {
        let (history, coming_in) = (History::of(shelf.state()), RwLock::new(()));
        let (looks, desiring) = (Looks::at(&shelf), Desiring::of(shelf.state()));
        let runtime = Mutex::new(runtime);
        let node = Self { runtime, shelf, looks, hub, history, coming_in, desiring };
        node.collect();
        Arc::new(node)
    }

    /// Whether skepd ends.
    #[must_use]
    pub fn ending(&self) -> &Ending {
        self.shelf.ending()
    }

    /// What this node is.
    #[must_use]
    pub fn about(&self) -> skep_api::Node {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        skep_api::Node {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel.trim().to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            hub: self.hub.clone(),
            state_dir: Some(self.shelf.state().to_owned()),
        }
    }

    /// All services.
    ///
    /// # Errors
    /// Never for what the operator did.
    pub fn services(&self) -> Result<Vec<Status>, NodeError> {
        let services = self.runtime().services();
        Ok(services.into_iter().map(|status| self.status(status)).collect())
    }

    /// One service.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn service(&self, name: &ServiceName) -> Result<Detail, NodeError> {
        let detail = self.runtime().service(name)?;
        Ok(self.detail(detail))
    }

    /// Installs a package as a service.
    ///
    /// # Errors
    /// The package is refused, or the runtime refuses: nothing is left of it, unless that could not be undone.
    pub fn install(&self, install: Install) -> Result<Detail, NodeError> {
        self.install_agreed(install, None)
    }

    /// The same of the package that somebody agreed to, and of no other one that goes by its name meanwhile.
    pub(crate) fn install_agreed(
        &self,
        install: Install,
        agreed: Option<Digest>,
    ) -> Result<Detail, NodeError> {
        let _goes_again = GoesAgain(self);
        let _coming_in = self.coming_in();
        let (root, set) = self.coming(install, agreed)?;
        self.keep(&root, &set)?;
        tell_unsigned(&root);
        let detail = set.done(&mut self.runtime(), &root)?.detail;
        Ok(Detail { together: set.members, ..self.detail(detail) })
    }

    /// What an install would install, what it needs first.
    ///
    /// # Errors
    /// As [`Self::install`], but for what only the kernel can say.
    pub fn plan_install(&self, install: Install) -> Result<Vec<Member>, NodeError> {
        let _goes_again = GoesAgain(self);
        let _coming_in = self.coming_in();
        let (root, set) = self.coming(install, None)?;
        self.runtime().plan_together(&set.with(&[], &root))?;
        let unsigned = *root.package.origin() == Origin::Unsigned;
        let about = root.package.into_inner().manifest.package;
        let (service, change) = (root.request.service, MemberChange::Installed);
        let (package, version) = (about.name, about.version);
        let root = Member { service, package, version, change, unsigned };
        Ok(set.members.into_iter().chain([root]).collect())
    }

    fn coming(&self, install: Install, agreed: Option<Digest>) -> Result<(Change, Set), NodeError> {
        let package = self.shelf.admit(&install.package, install.allow_unsigned)?;
        is_agreed(package.index, agreed)?;
        self.coming_as(install, package, &Before::default())
    }

    /// What an install of a package that was let in would change, once others came.
    pub(crate) fn coming_as(
        &self,
        install: Install,
        package: Verified<Package>,
        before: &Before,
    ) -> Result<(Change, Set), NodeError> {
        fit(&package.manifest, &package.objects, &install.params)?;
        let short = package.manifest.package.name.short().to_owned();
        let service = install.service.map_or_else(|| short.parse(), Ok)?;
        let standing = self.standing(&service, before);
        if standing.services.contains(&service) {
            return Err(RuntimeError::Exists { service }.into());
        }
        let set = Set::of((&package, &service), &install.package, &self.shelf, &standing)?;
        let request = Request { service, params: install.params, unset: BTreeSet::new() };
        Ok((Change { package, request, from: None }, set))
    }

    /// Services are about to be made of these.
    fn keep(&self, root: &Change, set: &Set) -> Result<(), NodeError> {
        let mut changes = set.changes.iter().chain([root]);
        changes.try_for_each(|change| self.shelf.keep(&change.package.index))
    }

    /// Where services stand once others came.
    fn standing(&self, but: &ServiceName, before: &Before) -> Standing {
        let runtime = self.runtime();
        let (providers, others) = (runtime.providers(), runtime.needs_of_others(but));
        let services = runtime.names();
        drop(runtime);
        let standing = Standing { providers, others, services, coming: before.stays.clone() };
        before.changes.iter().fold(standing, Standing::after)
    }

    /// What an upgrade would do.
    ///
    /// # Errors
    /// As [`Self::upgrade`], but for what only the kernel can say.
    pub fn plan(&self, service: ServiceName, upgrade: Upgrade) -> Result<Plan, NodeError> {
        let _goes_again = GoesAgain(self);
        let _coming_in = self.coming_in();
        let (root, set) = self.admitted(service, upgrade, None)?;
        self.planned(&root, &set, &[])
    }

    /// What a change that was found would do once others came.
    pub(crate) fn planned(
        &self,
        root: &Change,
        set: &Set,
        before: &[&Change],
    ) -> Result<Plan, NodeError> {
        let together = set.members.clone();
        if set.changes.is_empty() && before.is_empty() && root.from.is_some() {
            let plan = answer::plan(self.runtime().plan_upgrade(&root.package, &root.request)?);
            return Ok(Plan { together, ..plan });
        }
        let runtime = self.runtime();
        let members = set.with(before, root);
        runtime.plan_together(&members)?;
        let service = &root.request.service;
        let later =
            format!("what becomes of {service} itself is planned when what it needs is there");
        let notes = runtime.exports_that_end(&members).into_iter().chain([later]).collect();
        drop(runtime);
        Ok(Plan { notes, together, ..Plan::default() })
    }

    /// Upgrades a service.
    ///
    /// # Errors
    /// The package is refused, or the runtime refuses; the old generation then runs on.
    pub fn upgrade(
        &self,
        service: ServiceName,
        upgrade: Upgrade,
    ) -> Result<(Plan, Detail), NodeError> {
        self.upgrade_agreed(service, upgrade, None)
    }

    /// The same to the package that somebody agreed to, and to no other one that goes by its name meanwhile.
    pub(crate) fn upgrade_agreed(
        &self,
        service: ServiceName,
        upgrade: Upgrade,
        agreed: Option<Digest>,
    ) -> Result<(Plan, Detail), NodeError> {
        let _goes_again = GoesAgain(self);
        let _coming_in = self.coming_in();
        let (root, set) = self.admitted(service, upgrade, agreed)?;
        self.keep(&root, &set)?;
        tell_unsigned(&root);
        let Together { plan, detail } = set.done(&mut self.runtime(), &root)?;
        let plan = plan.map(answer::plan).unwrap_or_default();
        Ok((plan, Detail { together: set.members, ..self.detail(detail) }))
    }

    /// Returns to the generation before the last upgrade, with the services that go back with it. Each must be let in by policy now,
    /// but for those that may go back unsigned.
    ///
    /// # Errors
    /// There is none, one is not trusted, one that may go back does not, or the kernel refuses.
    pub fn rollback(
        &self,
        service: &ServiceName,
        unsigned: &BTreeSet<ServiceName>,
    ) -> Result<Detail, NodeError> {
        let mut runtime = self.runtime();
        runtime.service(service)?;
        let all = runtime.goes_back_with(service);
        if let Some(stays) = unsigned.iter().find(|name| !all.contains(name)) {
            let why = format!("{stays} does not go back with {service}, and needs no leave");
            return Err(NodeError::Request(why));
        }
        for name in &all {
            let detail = runtime.service(name)?;
            let kept = detail.status.previous.map(|previous| previous.generation);
            let previous = detail.generations.iter().find(|one| Some(one.number) == kept);
            if let Some(previous) = previous {
                let checked = self.shelf.check_return(&previous.index, unsigned.contains(name));
                checked.map_err(|error| error.of_companion(name, service))?;
            }
        }
        let detail = runtime.rollback(service)?;
        let went = |name: &ServiceName| runtime.service(name).ok().map(|detail| detail.status);
        let with = all.iter().filter(|name| *name != service).filter_map(went);
        let with: Vec<status::Status> = with.collect();
        drop(runtime);
        let member = |status: status::Status| Member {
            unsigned: self.shelf.answers(&status.index).unsigned,
            service: status.service,
            package: status.package,
            version: status.version,
            change: MemberChange::RolledBack,
        };
        let together = with.into_iter().map(member).collect();
        Ok(Detail { together, ..self.detail(detail) })
    }

    /// Removes a service, and says which services nobody needs any more for that.
    ///
    /// # Errors
    /// There is none, another one needs it, or the kernel refuses.
    pub fn remove(&self, service: &ServiceName) -> Result<Removed, NodeError> {
        let mut runtime = self.runtime();
        runtime.service(service)?;
        let mut unused = runtime.needs(service);
        runtime.remove(service)?;
        unused.retain(|needed| runtime.needed_by(needed).is_empty());
        drop(runtime);
        self.collect();
        Ok(Removed { unused })
    }

    /// Removes from the store what no service needs, unless a package is coming in: the next removal does it then.
    pub(crate) fn collect(&self) {
        if self.desiring.is_at_work() {
            return; // what its plan let in is needed by the steps to come
        }
        let Ok(_nothing_comes_in) = self.coming_in.try_write() else { return };
        let used = self.runtime().packages_in_use();
        if let Err(error) = self.shelf.keep_only(&used) {
            tracing::warn!("the store keeps what no service needs: {}", error.text());
        }
    }

    pub(crate) fn coming_in(&self) -> RwLockReadGuard<'_, ()> {
        self.coming_in.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new reader of a service's events.
    ///
    /// # Errors
    /// There is no such service, it has no events, or none that the selection speaks of.
    pub fn events(
        &self,
        service: &ServiceName,
        (follow, since): (bool, Option<u64>),
        selection: &Selection,
    ) -> Result<EventStream, NodeError> {
        let mut runtime = self.runtime();
        selection.fits(&runtime.event_decoders(service)?)?;
        Ok(match (since, follow) {
            (Some(since), follow) => runtime.events_since(service, since, follow)?,
            (None, true) => runtime.events(service)?,
            (None, false) => runtime.waiting_events(service)?,
        })
    }

    /// What a service's maps count and hold, with the rows of a `table` or without.
    ///
    /// # Errors
    /// There is no such service, it does not run, or its package is gone.
    pub fn metrics(&self, service: &ServiceName, table: bool) -> Result<Vec<Metric>, NodeError> {
        let index = self.runtime().service(service)?.status.index;
        let gone = |source| RuntimeError::Package { index, source };
        let read = self.looks.read(&self.shelf, &index).map_err(gone)?;
        let Read { package, objects } = &*read;
        Ok(self.read_maps(service, package, OutputKind::is_metric, |opened| {
            counters::metrics(opened, package, objects, table)
        }))
    }

    /// Reads what maps hold while others may work on services: once more where this one was upgraded meanwhile, as entries were on
    /// their way then.
    fn read_maps<T>(
        &self,
        service: &ServiceName,
        package: &Package,
        wanted: fn(OutputKind) -> bool,
        read: impl Fn(&[counters::Open<'_>]) -> T,
    ) -> T {
        let mut tries = 3;
        loop {
            let opened = counters::open(&self.runtime(), package, service, wanted);
            let done = read(&opened);
            let Some(generation) = opened.first().map(counters::Open::generation) else {
                return done;
            };
            tries -= 1;
            if tries == 0 || self.runtime().generation(service) == Some(generation) {
                return done;
            }
        }
    }

    /// Programs of services, or all of this kernel.
    ///
    /// # Errors
    /// There is no such service, or the kernel does not list them.
    pub fn programs(&self, asked: &Programs) -> Result<Vec<ProgramLine>, NodeError> {
        let owned = {
            let runtime = self.runtime();
            asked.service.as_ref().map(|service| runtime.service(service)).transpose()?;
            runtime.owned_programs()
        };
        let mut lines = owned.lines(asked.all)?;
        lines.retain(|line| asked.service.is_none() || line.service == asked.service);
        Ok(lines)
    }

    fn admitted(
        &self,
        service: ServiceName,
        upgrade: Upgrade,
        agreed: Option<Digest>,
    ) -> Result<(Change, Set), NodeError> {
        self.runtime().service(&service)?;
        let package = self.shelf.admit(&upgrade.package, upgrade.allow_unsigned)?;
        is_agreed(package.index, agreed)?;
        self.fitted(service, upgrade, package, &Before::default())
    }

    /// What an upgrade to a package that was let in would change, once others came.
    pub(crate) fn fitted(
        &self,
        service: ServiceName,
        upgrade: Upgrade,
        package: Verified<Package>,
        before: &Before,
    ) -> Result<(Change, Set), NodeError> {
        let detail = self.runtime().service(&service)?;
        let mut given = detail.params();
        given.retain(|name, _| !upgrade.unset.contains(name));
        given.extend(upgrade.params.clone());
        let running = detail.status;
        fit(&package.manifest, &package.objects, &given)?;
        let to = &package.manifest.package;
        if to.name != running.package {
            let (runs, other) = (running.package, to.name.clone());
            return Err(NodeError::OtherPackage { service, runs, other });
        }
        if to.version.is_lower(&running.version) && !upgrade.allow_downgrade {
            let (runs, older) = (running.version, to.version.clone());
            return Err(NodeError::Downgrade { service, runs, older });
        }
        let standing = self.standing(&service, before);
        let set = Set::of((&package, &service), &upgrade.package, &self.shelf, &standing)?;
        let Upgrade { params, unset, .. } = upgrade;
        let (request, from) = (Request { service, params, unset }, Some(running.generation));
        Ok((Change { package, request, from }, set))
    }

    pub(crate) fn status(&self, status: status::Status) -> Status {
        let answers = self.looks.answers(&self.shelf, &status.index);
        answer::status(status, answers)
    }

    /// The same without a wait for anybody: none where that would take its time.
    pub(crate) fn service_at_once(&self, name: &ServiceName) -> Option<Result<Detail, NodeError>> {
        let runtime = self.runtime.try_lock().ok()?;
        let (answers, read) = self.looks.at_hand(&runtime.told_at_once(name)?)?;
        if read.counts() {
            return None;
        }
        let detail = runtime.service(name);
        drop(runtime);
        let answered = |detail| {
            let beside = beside(&detail, &read, Counters::default());
            answer::detail(detail, answers, beside)
        };
        Some(detail.map(answered).map_err(NodeError::from))
    }

    fn detail(&self, detail: status::Detail) -> Detail {
        let (service, index) = (&detail.status.service, &detail.status.index);
        let answers = self.looks.answers(&self.shelf, index);
        let beside = self.looks.read(&self.shelf, index).map(|read| {
            let Read { package, objects } = &*read;
            let counters = match read.counts() {
                true => self.read_maps(service, package, OutputKind::counts, |opened| {
                    counters::read(opened, package, objects)
                }),
                false => Counters::default(),
            };
            beside(&detail, &read, counters)
        });
        answer::detail(detail, answers, beside.unwrap_or_default())
    }

    /// Nobody finds it poisoned: a panic ends skepd (`panic = "abort"`), and the next start takes up what was under way.
    pub(crate) fn runtime(&self) -> MutexGuard<'_, Runtime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn beside(detail: &status::Detail, read: &Read, counters: Counters) -> Beside {
    let manifest = &read.package.manifest;
    Beside { counters, unheeded: manifest.unheeded(), params: differing(manifest, detail.params()) }
}

/// That a package is the one that somebody agreed to, where somebody did.
pub(crate) fn is_agreed(found: Digest, agreed: Option<Digest>) -> Result<(), NodeError> {
    match agreed {
        Some(agreed) if agreed != found => Err(NodeError::OtherThanAgreed { agreed, found }),
        _ => Ok(()),
    }
}

/// Removes what was let in and is no service's, once it is known what became of it.
pub(crate) struct GoesAgain<'a>(pub(crate) &'a Node);

impl Drop for GoesAgain<'_> {
    fn drop(&mut self) {
        self.0.collect();
    }
}

/// The line that an audit looks for: once where a package comes in, never where one that runs is looked at.
fn tell_unsigned(Change { package, request, .. }: &Change) {
    if *package.origin() == Origin::Unsigned {
        let (about, service) = (&package.manifest.package, &request.service);
        let (name, version, digest) = (&about.name, &about.version, &package.index);
        tracing::warn!(%service, package = %name, %version, %digest, "let in without a signature");
    }
}
