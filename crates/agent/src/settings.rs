//! Parameters of services that run.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::routing::patch;
use bytes::Bytes;
use skep_api::{ParamChange, ParamValue, ParamsSet, SetParams};
use skep_object::fit;
use skep_runtime::{Change, Request, Setting};
use skep_spec::{Manifest, ServiceName};

use crate::answer;
use crate::blocking::blocking;
use crate::deeds::Touches;
use crate::error::NodeError;
use crate::http::{Peer, Shared, read};
use crate::node::Node;
use crate::server::{DryRun, Started, started};

/// The one path.
pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/v1/services/{service}/settings", patch(set))
}

async fn set(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    query: Result<Query<DryRun>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Started {
    peer.may_change()?;
    let (name, set): (ServiceName, SetParams) = (name.parse()?, read(body)?);
    let by = peer.name();
    started(match query?.dry_run {
        true => {
            shared.operations.start(blocking(shared.node, move |node| node.plan_set(&name, set)))
        }
        false => shared.operations.start(blocking(shared.node, move |node| {
            node.deed(("set", &by), &name, || node.set(&name, set))
        })),
    })
}

impl Touches for ParamsSet {}

impl Node {
    /// What a change of parameters would do.
    ///
    /// # Errors
    /// As [`Self::set`], but for what only the kernel can say.
    pub fn plan_set(&self, service: &ServiceName, set: SetParams) -> Result<ParamsSet, NodeError> {
        let request = asked(service, &set)?;
        Ok(answer(self.runtime().plan_set(&request)?))
    }

    /// Changes parameters of a service: live ones at once, others by a switch to the same package, if policy allows it now.
    ///
    /// # Errors
    /// There is no such service or parameter; a value does not fit; the kernel refuses.
    pub fn set(&self, service: &ServiceName, set: SetParams) -> Result<ParamsSet, NodeError> {
        let request = asked(service, &set)?;
        let mut runtime = self.runtime();
        if runtime.plan_set(&request)?.plan.is_some_and(|plan| !plan.already) {
            let active = runtime.service(service)?;
            let index = active.status.index;
            self.shelf.check_return(&index, set.allow_unsigned)?;
            let gone = |source| skep_runtime::RuntimeError::Package { index, source };
            let package = skep_runtime::Packages::package(&self.shelf, &index).map_err(gone)?;
            let mut given = active.params();
            given.retain(|name, _| !set.unset.contains(name));
            given.extend(set.params);
            fit(&package.manifest, &package.objects, &given)?;
        }
        Ok(answer(runtime.set(&request)?))
    }
}

fn asked(service: &ServiceName, set: &SetParams) -> Result<Request, NodeError> {
    let SetParams { params, unset, .. } = set;
    match unset.iter().find(|name| params.contains_key(*name)) {
        Some(name) => Err(NodeError::Request(format!("{name} is to be set and to be forgotten"))),
        None => {
            let (params, unset) = (params.clone(), unset.clone());
            Ok(Request { service: service.clone(), params, unset })
        }
    }
}

fn answer(setting: Setting) -> ParamsSet {
    let Setting { live, loaded, plan, revision } = setting;
    let changes = |changes: BTreeMap<String, Change>| {
        let change = |(name, Change { from, to })| (name, ParamChange { from, to });
        changes.into_iter().map(change).collect()
    };
    let (live, loaded) = (changes(live), changes(loaded));
    ParamsSet { live, loaded, plan: plan.map(answer::plan), revision }
}

/// The parameters that somebody set to another value than the manifest has as their default.
pub(crate) fn differing(
    manifest: &Manifest,
    params: BTreeMap<String, String>,
) -> BTreeMap<String, ParamValue> {
    let value = |(name, value): (String, String)| {
        let param = manifest.param.get(&name)?;
        let default = param.default.as_ref().map(skep_spec::param::Value::text);
        let live = param.data.is_some();
        (default.as_ref() != Some(&value)).then_some((name, ParamValue { value, default, live }))
    };
    params.into_iter().filter_map(value).collect()
}
