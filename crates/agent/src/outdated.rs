//! What is newer than what runs: each service's channel or registry is asked, and what it has is held against the rules and this
//! kernel as for an upgrade. A registry that does not answer is asked once, and keeps no other service from an answer.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::routing::post;
use skep_api::{ErrorBody, Newest, Outdated, PackageSource, Upgrade, Which};
use skep_oci::RegistryError;
use skep_runtime::status::Status;
use skep_spec::{Digest, PackageRef, Range, ServiceName, Version};

use crate::blocking::blocking;
use crate::error::NodeError;
use crate::http::{Peer, Shared};
use crate::node::{GoesAgain, Node};
use crate::packages::{Note, Shelf};
use crate::server::{Started, started};
use crate::set::Before;

/// The one question.
pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/v1/outdated", post(outdated))
}

async fn outdated(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<Which>, QueryRejection>,
) -> Started {
    peer.is_root("have skepd ask registries")?;
    let names = query?.0.services.unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty()).map(str::parse);
    let names = names.collect::<Result<Vec<ServiceName>, _>>()?;
    started(shared.operations.start(blocking(shared.node, move |node| node.outdated(&names))))
}

/// Registries that did not answer, and what that was.
type Away = BTreeMap<String, ErrorBody>;

impl Node {
    /// What is newer than what runs, of these services or of all.
    ///
    /// # Errors
    /// There is none of a name.
    pub fn outdated(&self, of: &[ServiceName]) -> Result<Vec<Outdated>, NodeError> {
        let all = match of {
            [] => self.runtime().services(),
            of => {
                let runtime = self.runtime();
                let status = |name| Ok(runtime.service(name)?.status);
                of.iter().map(status).collect::<Result<Vec<Status>, NodeError>>()?
            }
        };
        let mut away = Away::new();
        Ok(all.into_iter().map(|status| self.newer(status, &mut away)).collect())
    }

    fn newer(&self, status: Status, away: &mut Away) -> Outdated {
        let Status { service, package, version, index, held, .. } = status;
        let ranges = self.runtime().ranges_of_users(&service);
        let mut answer = Outdated {
            service,
            package,
            version,
            held,
            asked: None,
            ranges,
            newest: None,
            error: None,
        };
        match self.newest(&mut answer, &index, away) {
            Ok(newest) => answer.newest = newest,
            Err(error) => answer.error = Some(error),
        }
        answer
    }

    fn newest(
        &self,
        answer: &mut Outdated,
        runs: &Digest,
        away: &mut Away,
    ) -> Result<Option<Newest>, ErrorBody> {
        let asked = self.shelf.asked(runs).map_err(|error| error.body())?;
        answer.asked = Some(asked.clone());
        let host = asked.registry.clone().unwrap_or_default();
        if let Some(error) = away.get(&host) {
            return Err(error.clone());
        }
        let found = self.shelf.found(&asked, (&answer.version, runs), &answer.ranges);
        let looked = found.and_then(|found| {
            found.map(|newest| self.looked_at(&answer.service, newest)).transpose()
        });
        looked.map_err(|error| {
            let body = error.body();
            if did_not_answer(&error) {
                away.insert(host, body.clone());
            }
            body
        })
    }

    /// Lets it in as for an upgrade, and asks what that would do; nothing of it is kept.
    fn looked_at(&self, service: &ServiceName, mut newest: Newest) -> Result<Newest, NodeError> {
        let _goes_again = GoesAgain(self);
        let _coming_in = self.coming_in();
        let source = PackageSource::Reference(newest.reference.clone());
        let package = match self.shelf.admit(&source, false) {
            Err(error) if is_refusal(&error) => {
                newest.refused = Some(error.body());
                return Ok(newest);
            }
            package => package?,
        };
        newest.trusted = true;
        newest.version = Some(package.manifest.package.version.clone());
        newest.index = Some(package.index);
        let upgrade = Upgrade {
            package: source,
            params: BTreeMap::new(),
            unset: BTreeSet::new(),
            allow_unsigned: false,
            allow_downgrade: false,
        };
        let fitted = self.fitted(service.clone(), upgrade, package, &Before::default());
        let planned = fitted.and_then(|(root, set)| self.planned(&root, &set, &[]));
        newest.refused = planned.err().map(|error| error.body());
        Ok(newest)
    }
}

impl Shelf {
    /// Who is to be asked for a newer version of a package that was let in: the channel that led to it, or else its repository,
    /// at the hub where it came from no registry.
    fn asked(&self, runs: &Digest) -> Result<PackageRef, NodeError> {
        let Note { reference, channel, .. } = self.read_note(runs)?;
        let bare = reference.alone();
        Ok(PackageRef { channel, ..self.with_hub(&bare)? })
    }

    /// What a place has that is newer: what to upgrade to, and as much as is known of it before it is let in.
    fn found(
        &self,
        asked: &PackageRef,
        (version, runs): (&Version, &Digest),
        ranges: &[Range],
    ) -> Result<Option<Newest>, NodeError> {
        if asked.channel.is_some() {
            let points_to = self.points_to(asked)?.filter(|digest| digest != runs);
            return Ok(points_to.map(|digest| newest(asked.clone(), None, Some(digest))));
        }
        let highest = highest(self.versions(asked)?, version, ranges);
        Ok(highest
            .map(|version| newest(asked.beside(&asked.name, Some(&version)), Some(version), None)))
    }

    fn points_to(&self, reference: &PackageRef) -> Result<Option<Digest>, NodeError> {
        let (registry, host) = self.registry(reference)?;
        let followed = self.followed(reference, &registry, &host);
        Ok(followed.map_err(|error| self.clock_told(error))?.map(|(_, digest)| digest))
    }
}

const fn newest(reference: PackageRef, version: Option<Version>, index: Option<Digest>) -> Newest {
    Newest { reference, version, index, trusted: false, refused: None }
}

/// The highest version above what runs that every range allows; without ranges a pre-release only for who runs one.
fn highest(versions: Vec<Version>, runs: &Version, ranges: &[Range]) -> Option<Version> {
    let allowed = |version: &Version| match ranges {
        [] => !version.is_prerelease() || runs.is_prerelease(),
        ranges => ranges.iter().all(|range| range.holds(version)),
    };
    let newer = versions.into_iter().filter(|version| runs.is_lower(version) && allowed(version));
    newer.reduce(|highest, next| if highest.is_lower(&next) { next } else { highest })
}

/// Whether who is trusted, or what the bytes are, speaks against a package, and no registry's silence.
const fn is_refusal(error: &NodeError) -> bool {
    matches!(
        error,
        NodeError::Trust(_)
            | NodeError::Keys { .. }
            | NodeError::Behind { .. }
            | NodeError::Signature(_)
            | NodeError::Admit(_)
    )
}

pub(crate) const fn did_not_answer(error: &NodeError) -> bool {
    matches!(
        error,
        NodeError::Registry(RegistryError::Connect { .. } | RegistryError::Hangs { .. })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_counts_that_all_ranges_allow() {
        let highest = |versions: &[&str], runs: &str, ranges: &[&str]| {
            let versions = versions.iter().map(|version| version.parse().unwrap()).collect();
            let ranges: Vec<Range> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            super::highest(versions, &runs.parse().unwrap(), &ranges).map(|v| v.to_string())
        };
        let there = ["1.0.0", "1.4.0", "1.5.0-rc.1", "2.0.0"];
        assert_eq!(highest(&there, "1.0.0", &[]).as_deref(), Some("2.0.0"));
        assert_eq!(highest(&there, "1.0.0", &["^1", ">=1.2"]).as_deref(), Some("1.4.0"));
        assert_eq!(highest(&there, "2.0.0", &[]), None);
        assert_eq!(highest(&["1.5.0-rc.1"], "1.4.0", &[]), None);
        assert_eq!(highest(&["1.5.0-rc.2"], "1.5.0-rc.1", &[]).as_deref(), Some("1.5.0-rc.2"));
    }
}
