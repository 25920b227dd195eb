//! How a node stands beside what it is to be: nobody is asked but skepd itself.

use std::collections::BTreeSet;

use skep_api::{DesiredState, ErrorBody, WantedState};
use skep_runtime::RuntimeError;
use skep_spec::life::ServiceState;
use skep_spec::manifest::Param;
use skep_spec::{Digest, Manifest, ServiceName};

use super::difference::{self, Defaults, Stands};
use super::record::Line;
use crate::error::NodeError;
use crate::node::Node;

impl Node {
    /// Which services the node is to have, and how they are.
    ///
    /// # Errors
    /// What is desired cannot be read.
    pub fn desired(&self) -> Result<DesiredState, NodeError> {
        let record = self.recorded()?;
        let names: BTreeSet<ServiceName> =
            record.services.iter().map(|line| line.wanted.service.clone()).collect();
        let beside = match record.revision {
            0 => BTreeSet::new(),
            _ => self.runtime().names().into_iter().filter(|name| !names.contains(name)).collect(),
        };
        let is_there = record.revision > 0;
        Ok(DesiredState {
            revision: record.revision,
            at: is_there.then_some(record.at),
            by: is_there.then(|| record.by.clone()),
            prune: record.prune,
            reached: record.reached,
            error: self.desiring.failed().clone(),
            services: record.services.into_iter().map(|line| self.line_state(line)).collect(),
            beside,
        })
    }

    fn line_state(&self, Line { wanted, index }: Line) -> WantedState {
        let (stands, ails) = match self.stands(&wanted.service) {
            Ok(Some((stands, ails))) => (Some(stands), ails),
            Ok(None) => (None, None),
            Err(error) => {
                let why = vec![error.text()];
                return WantedState { wanted, index: Some(index), in_sync: false, why };
            }
        };
        let defaults = match &stands {
            Some(stands) => self.defaults(&stands.index),
            None => Defaults::new(),
        };
        let differs = difference::said(stands.as_ref(), &wanted, (index, &defaults));
        let why: Vec<String> = differs.into_iter().chain(ails.map(|error| error.message)).collect();
        WantedState { wanted, index: Some(index), in_sync: why.is_empty(), why }
    }

    /// A service as it is, and what is wrong with it; none where there is none of that name.
    ///
    /// # Errors
    /// It is there, and it cannot be said how.
    pub(super) fn stands(
        &self,
        service: &ServiceName,
    ) -> Result<Option<(Stands, Option<ErrorBody>)>, NodeError> {
        let detail = match self.runtime().service(service) {
            Err(RuntimeError::NoService { .. }) => return Ok(None),
            detail => detail?,
        };
        let params = detail.params();
        let status = detail.status;
        let (code, stopped) = match status.state {
            ServiceState::Stopped => ("stuck", true),
            ServiceState::Failed => ("not-running", false),
            ServiceState::Partial => ("runs-partly", false),
            ServiceState::Running => ("stuck", false),
        };
        let stands = Stands { index: status.index, params, held: status.held, stopped };
        let ails = status.failed.or(status.half_done).or(status.owed);
        let body = |message| {
            let (code, causes, hint) = (code.to_owned(), Vec::new(), None);
            ErrorBody { code, standard: None, message, causes, hint }
        };
        Ok(Some((stands, ails.map(body))))
    }

    /// The defaults of a package that runs; none where it cannot be read.
    pub(super) fn defaults(&self, index: &Digest) -> Defaults {
        let read = self.looks.read(&self.shelf, index);
        read.map(|read| defaults_of(&read.package.manifest)).unwrap_or_default()
    }
}

/// The values that count where nobody sets others.
pub(super) fn defaults_of(manifest: &Manifest) -> Defaults {
    let default =
        |(name, param): (&String, &Param)| Some((name.clone(), param.default.as_ref()?.text()));
    manifest.param.iter().filter_map(default).collect()
}
