//! Deeds on services, each with its line in the history.

use std::time::{SystemTime, UNIX_EPOCH};

use skep_api::{Deed, Detail, Install, Member, MemberChange, Standing, Touched};
use skep_runtime::Recovery;
use skep_spec::ServiceName;

use crate::error::NodeError;
use crate::node::Node;

/// Which services a deed touched beside the one that was spoken of.
pub(crate) trait Touches {
    /// Their names.
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
        let before = self.standing_of(service);
        let done = work();
        let others = done.as_ref().map(T::others).unwrap_or_default();
        for other in others.iter().filter(|other| *other != service) {
            let with = Some(service.clone());
            self.history.add(&self.told(what, by, other, (None, with)));
        }
        let error = done.as_ref().err().map(NodeError::text);
        let told = self.told(what, by, service, (before, None));
        self.history.add(&Deed { error, ..told });
        done
    }

    /// Installs what only the package itself gives its name: that is known once it is let in, and not where it is not.
    pub(crate) fn install_unnamed(&self, by: &str, install: Install) -> Result<Detail, NodeError> {
        let detail = self.install(install)?;
        for service in detail.others() {
            let with = Some(detail.status.service.clone());
            self.history.add(&self.told("install", by, &service, (None, with)));
        }
        self.history.add(&self.told("install", by, &detail.status.service, (None, None)));
        Ok(detail)
    }

    /// Writes down what a start of skepd ended, or loaded again.
    pub fn tell_recovery(&self, recovery: &Recovery) {
        for one in &recovery.interrupted {
            let error = "skepd had ended in the middle of it, and it was undone";
            let error = (!one.finished).then(|| error.to_owned());
            let told = self.told(one.op.name(), "skepd", &one.service, (None, None));
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (what, by, to) = (what.to_owned(), by.to_owned(), self.standing_of(service));
        Deed { at: now.as_secs(), service: service.clone(), what, from, to, by, with, error: None }
    }

    fn standing_of(&self, service: &ServiceName) -> Option<Standing> {
        let (generation, version) = self.runtime().standing(service)?;
        Some(Standing { generation, version })
    }
}
