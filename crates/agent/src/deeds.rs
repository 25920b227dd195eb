//! Deeds on services, each with its line in the history.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use skep_api::{Deed, Detail, Install, Member, MemberChange, PackageSource, Standing, Touched};
use skep_oci::Store;
use skep_runtime::{Recovery, Stands, Unended};
use skep_spec::{PackageRef, ServiceName};

use crate::error::NodeError;
use crate::node::Node;

/// How all services stood.
type Stood = BTreeMap<ServiceName, Stands>;

/// Which services a deed touched beside the one that was spoken of.
pub(crate) trait Touches {
    /// Whether it goes from one service to the next by itself, so that where it fails those before are as it left them.
    const ONE_BY_ONE: bool = false;

    /// Their names, where it was done.
    fn others(&self) -> Vec<ServiceName> {
        Vec::new()
    }
}

impl Touches for Detail {
    fn others(&self) -> Vec<ServiceName> {
        let changed = |member: &&Member| member.change != MemberChange::Kept;
        self.together.iter().filter(changed).map(|member| member.service.clone()).collect()
    }
}

impl<A> Touches for (A, Detail) {
    fn others(&self) -> Vec<ServiceName> {
        self.1.others()
    }
}

impl Touches for Touched {
    const ONE_BY_ONE: bool = true;

    fn others(&self) -> Vec<ServiceName> {
        self.services.clone()
    }
}

impl Touches for skep_api::Status {}
impl Touches for skep_api::Removed {}
impl Touches for skep_api::Committed {}

impl Node {
    /// Does what `by` asked for to a service, and writes it down with what came of it.
    pub(crate) fn deed<T: Touches>(
        &self,
        (what, by): (&str, &str),
        service: &ServiceName,
        work: impl FnOnce() -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        self.written_down((what, by), service, None, work)
    }

    /// The same of what brings a package: where it fails, which one is written down, too.
    pub(crate) fn deed_with<T: Touches>(
        &self,
        (what, by): (&str, &str),
        service: &ServiceName,
        package: &PackageSource,
        work: impl FnOnce() -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        self.written_down((what, by), service, Some(wanted(package)), work)
    }

    fn written_down<T: Touches>(
        &self,
        (what, by): (&str, &str),
        service: &ServiceName,
        wanted: Option<String>,
        work: impl FnOnce() -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        let before = self.runtime().standings();
        let done = work();
        self.tell_others((what, by), &before, Some(service), &done);
        let error = done.as_ref().err().map(NodeError::text);
        let tried = wanted.filter(|_| error.is_some());
        let told = self.told(what, by, service, (stood(&before, service), None));
        self.history.add(&Deed { tried, error, ..told });
        done
    }

    /// Installs what only the package itself gives its name: that is known once it is let in, and not where it is not.
    pub(crate) fn install_unnamed(&self, by: &str, install: Install) -> Result<Detail, NodeError> {
        let before = self.runtime().standings();
        let done = self.install(install);
        let service = done.as_ref().ok().map(|detail| detail.status.service.clone());
        self.tell_others(("install", by), &before, service.as_ref(), &done);
        if let Some(service) = service {
            self.history.add(&self.told("install", by, &service, (None, None)));
        }
        done
    }

    /// Writes down what became of others than the service that was spoken of, whatever came of it.
    fn tell_others<T: Touches>(
        &self,
        (what, by): (&str, &str),
        before: &Stood,
        service: Option<&ServiceName>,
        done: &Result<T, NodeError>,
    ) {
        let mut others: BTreeMap<ServiceName, Option<String>> = match done {
            Ok(done) => done.others().into_iter().map(|other| (other, None)).collect(),
            Err(error) => error.others().into_iter().collect(),
        };
        if T::ONE_BY_ONE {
            let now = self.runtime().standings();
            let changed = now.into_iter().filter(|(name, stands)| before.get(name) != Some(stands));
            changed.for_each(|(name, _)| _ = others.entry(name).or_default());
        }
        for (other, error) in others.into_iter().filter(|(other, _)| Some(other) != service) {
            let told = self.told(what, by, &other, (stood(before, &other), service.cloned()));
            self.history.add(&Deed { error, ..told });
        }
    }

    /// Writes down what a start of skepd ended, or loaded again.
    pub fn tell_recovery(&self, recovery: &Recovery) {
        for one in &recovery.interrupted {
            let error = (!one.finished).then(|| undone_since(one.unended).to_owned());
            let from = one.from.clone();
            let from = from.map(|(generation, version)| Standing { generation, version });
            let told = self.told(one.op.name(), "skepd", &one.service, (from, None));
            self.history.add(&Deed { error, ..told });
        }
        for service in &recovery.started {
            self.history.add(&self.told("activate", "skepd", service, (None, None)));
        }
        for (service, why) in &recovery.failed {
            let told = self.told("activate", "skepd", service, (None, None));
            self.history.add(&Deed { error: Some(why.clone()), ..told });
        }
    }

    fn told(
        &self,
        what: &str,
        by: &str,
        service: &ServiceName,
        (from, with): (Option<Standing>, Option<ServiceName>),
    ) -> Deed {
        let (what, by, to) = (what.to_owned(), by.to_owned(), self.standing_of(service));
        let (at, service) = (now(), service.clone());
        Deed { at, service, what, from, to, by, with, tried: None, error: None }
    }

    fn standing_of(&self, service: &ServiceName) -> Option<Standing> {
        let (generation, version) = self.runtime().standing(service)?;
        Some(Standing { generation, version })
    }
}

/// What a package is called by who asks for it: by its version where a name says one.
fn wanted(package: &PackageSource) -> String {
    let (path, chosen) = match package {
        PackageSource::Reference(reference) => return of_reference(reference),
        PackageSource::Layout { path, package } => {
            let layout = Store::open(path).and_then(|store| store.the_package(package.as_ref()));
            (path, layout.ok().map(|(reference, _)| reference).or_else(|| package.clone()))
        }
        PackageSource::Bundle { path, package } => (path, package.clone()),
    };
    chosen.map_or_else(|| path.display().to_string(), |reference| of_reference(&reference))
}

fn of_reference(reference: &PackageRef) -> String {
    match (&reference.version, &reference.digest, &reference.channel) {
        (Some(version), ..) => version.to_string(),
        (None, Some(digest), _) => format!("@{digest}"),
        (None, None, Some(channel)) => format!("@{channel}"),
        (None, None, None) => "@stable".to_owned(),
    }
}

/// The clock's seconds, as state and history have them.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn stood(before: &Stood, service: &ServiceName) -> Option<Standing> {
    let Stands { generation, version, .. } = before.get(service)?.clone();
    Some(Standing { generation, version })
}

/// Why a start of skepd undid something.
const fn undone_since(unended: Unended) -> &'static str {
    match unended {
        Unended::Operation => "skepd had ended in the middle of it, and it was undone",
        Unended::Set => {
            "skepd had ended in the middle of what was done to it and others, and all of that was undone"
        }
        Unended::Owed => "what was done with it to others had been undone, and now this was, too",
    }
}
