//! Sets of services: the one under way, and what those that are over left undone.

use std::fmt;

use serde::{Deserialize, Serialize};
use skep_spec::ServiceName;

use super::{Generation, Op, State};

/// Where the services of a set go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To what was asked for: what is half done is undone.
    #[default]
    There,
    /// To the generations before, which are gone then: what is half done goes on.
    Back,
}

impl Way {
    pub(crate) fn is_there(&self) -> bool {
        *self == Self::There
    }
}

/// A service of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMember {
    /// Its name.
    pub service: ServiceName,
    /// The generation that ran when the set began; none where there was no such service.
    pub before: Option<u64>,
}

/// A service that is still to go back, after others of its set or with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Its name.
    pub service: ServiceName,
    /// The generation that goes. Once another one runs, somebody has worked on the service since, and nothing is owed.
    pub from: u64,
    /// The generation that it goes back to; none where it is to be removed.
    pub to: Option<u64>,
    /// Which way its set went.
    #[serde(default, skip_serializing_if = "Way::is_there")]
    pub way: Way,
    /// Why it did not when it was last tried.
    pub why: String,
}

impl fmt::Display for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Some(to) => write!(f, "it is still to go back to generation {to}")?,
            None => f.write_str("it is still to be removed")?,
        }
        let with = match self.way {
            Way::There => "as all that was changed with it",
            Way::Back => "with others that went back",
        };
        write!(f, ", {with}: {}", self.why)
    }
}

impl State {
    /// What is owed of a service.
    pub(crate) fn owed(&self, service: &ServiceName) -> Option<&Owed> {
        self.owed.iter().find(|owed| owed.service == *service)
    }

    /// What came after a set stays: a service is owed as long as the generation runs that its set left.
    pub(super) fn forgive_changed(&mut self) {
        let services = &self.services;
        self.owed.retain(|owed| {
            services.get(&owed.service).is_some_and(|service| {
                let is_kept = |to| service.generations.contains_key(&to);
                service.active == owed.from && owed.to.is_none_or(is_kept)
            })
        });
    }

    /// What somebody installs or upgrades relies on what it needs as it is now, and so on.
    pub(super) fn forgive_needed(&mut self, op: Op, by: &Generation) {
        if matches!(op, Op::Install | Op::Upgrade) {
            let needs = by.needs.values().map(|need| need.service.clone());
            self.owed = self.owed_but(needs.collect());
        }
    }

    /// What is owed but for these services and what they need, directly or not.
    pub(crate) fn owed_but(&self, mut stay: Vec<ServiceName>) -> Vec<Owed> {
        let mut at = 0;
        while let Some(service) = stay.get(at) {
            let active = self.services.get(service).and_then(|service| service.active());
            let needs = active.into_iter().flat_map(|active| active.needs.values());
            let more = needs.map(|need| need.service.clone());
            let more: Vec<_> = more.filter(|service| !stay.contains(service)).collect();
            stay.extend(more);
            at += 1;
        }
        self.owed.iter().filter(|owed| !stay.contains(&owed.service)).cloned().collect()
    }
}
