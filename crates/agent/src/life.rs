//! Services that are stopped, started and committed.

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use skep_api::{Committed, Deed, Past, Start, Status, Stop, Touched};
use skep_spec::ServiceName;

use crate::blocking::blocking;
use crate::error::NodeError;
use crate::http::{Peer, Shared};
use crate::node::Node;
use crate::server::{Started, started};

/// What is asked of a service's life beside its versions.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/services/{service}/stop", post(stop))
        .route("/v1/services/{service}/start", post(start))
        .route("/v1/services/{service}/restart", post(restart))
        .route("/v1/services/{service}/commit", post(commit))
        .route("/v1/services/{service}/hold", put(hold).delete(unhold))
        .route("/v1/services/{service}/history", get(history))
}

async fn stop(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    query: Result<Query<Stop>, QueryRejection>,
) -> Started {
    peer.may_change()?;
    let (name, Query(stop)): (ServiceName, _) = (name.parse()?, query?);
    let by = peer.name();
    let work = blocking(shared.node, move |node| {
        node.deed(("stop", &by), &name, || node.stop(&name, stop))
    });
    started(shared.operations.start(work))
}

async fn start(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    query: Result<Query<Start>, QueryRejection>,
) -> Started {
    peer.may_change()?;
    let (name, Query(start)): (ServiceName, _) = (name.parse()?, query?);
    let by = peer.name();
    let work = blocking(shared.node, move |node| {
        node.deed(("start", &by), &name, || node.start(&name, start))
    });
    started(shared.operations.start(work))
}

async fn restart(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    query: Result<Query<Start>, QueryRejection>,
) -> Started {
    peer.may_change()?;
    let (name, Query(start)): (ServiceName, _) = (name.parse()?, query?);
    let by = peer.name();
    let work = blocking(shared.node, move |node| {
        node.deed(("restart", &by), &name, || node.restart(&name, start))
    });
    started(shared.operations.start(work))
}

async fn commit(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
) -> Started {
    peer.may_change()?;
    let (name, by): (ServiceName, _) = (name.parse()?, peer.name());
    let work =
        blocking(shared.node, move |node| node.deed(("commit", &by), &name, || node.commit(&name)));
    started(shared.operations.start(work))
}

async fn hold(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
) -> Started {
    peer.may_change()?;
    let (name, by): (ServiceName, _) = (name.parse()?, peer.name());
    let work = blocking(shared.node, move |node| {
        node.deed(("hold", &by), &name, || node.hold(&name, true))
    });
    started(shared.operations.start(work))
}

async fn unhold(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
) -> Started {
    peer.may_change()?;
    let (name, by): (ServiceName, _) = (name.parse()?, peer.name());
    let work = blocking(shared.node, move |node| {
        node.deed(("unhold", &by), &name, || node.hold(&name, false))
    });
    started(shared.operations.start(work))
}

async fn history(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    query: Result<Query<Past>, QueryRejection>,
) -> Result<Json<Vec<Deed>>, NodeError> {
    let (name, Query(past)): (ServiceName, _) = (name.parse()?, query?);
    blocking(shared.node, move |node| node.past(&name, past)).await.map(Json)
}

impl Node {
    /// Stops a service, and first who needs it if that is asked for.
    ///
    /// # Errors
    /// There is none; others that run need it; the kernel refuses. Those that were stopped before it stay so.
    pub fn stop(&self, service: &ServiceName, how: Stop) -> Result<Touched, NodeError> {
        let mut runtime = self.runtime();
        runtime.service(service)?;
        let all = match how.with_users {
            true => runtime.stops_with(service),
            false => vec![service.clone()],
        };
        let mut services = Vec::new();
        for one in all {
            if runtime.stop(&one, how.force)? {
                services.push(one);
            }
        }
        Ok(Touched { services })
    }

    /// Starts a stopped service, and first what it needs if that is asked for: each if policy allows it now.
    ///
    /// # Errors
    /// There is none; it is not trusted any more; what it needs is stopped; the kernel refuses. Those that were started before it
    /// run.
    pub fn start(&self, service: &ServiceName, how: Start) -> Result<Touched, NodeError> {
        let mut runtime = self.runtime();
        runtime.service(service)?;
        let mut all = runtime.starts_with(service);
        all.retain(|one| how.with_needed || one == service);
        for one in &all {
            let index = runtime.service(one)?.status.index;
            let checked = self.shelf.check_return(&index, how.allow_unsigned && one == service);
            checked.map_err(|error| error.of_companion(one, service))?;
        }
        let mut services = Vec::new();
        for one in all {
            if runtime.start(&one)? {
                services.push(one);
            }
        }
        Ok(Touched { services })
    }

    /// Stops a service and starts it again; who needs it runs on meanwhile.
    ///
    /// # Errors
    /// As [`Self::start`], in which case nothing was stopped unless the kernel refuses.
    pub fn restart(&self, service: &ServiceName, how: Start) -> Result<Touched, NodeError> {
        let mut runtime = self.runtime();
        let index = runtime.service(service)?.status.index;
        self.shelf.check_return(&index, how.allow_unsigned)?;
        runtime.restart(service)?;
        Ok(Touched { services: vec![service.clone()] })
    }

    /// Gives up the way back from a service's last upgrade.
    ///
    /// # Errors
    /// There is none; it does not run; the kernel refuses.
    pub fn commit(&self, service: &ServiceName) -> Result<Committed, NodeError> {
        let previous = self.runtime().commit(service)?;
        self.collect();
        Ok(Committed { previous })
    }

    /// Has upgrades of a service refused from now on, or not any more.
    ///
    /// # Errors
    /// There is none.
    pub fn hold(&self, service: &ServiceName, held: bool) -> Result<Status, NodeError> {
        let mut runtime = self.runtime();
        runtime.hold(service, held)?;
        let status = runtime.service(service)?.status;
        drop(runtime);
        Ok(self.status(status))
    }

    /// What was done to a service, the last first.
    ///
    /// # Errors
    /// Nothing was, and there is none of that name; the file cannot be read.
    pub fn past(&self, service: &ServiceName, asked: Past) -> Result<Vec<Deed>, NodeError> {
        let deeds = self.history.last(service, asked.limit.unwrap_or(100))?;
        if deeds.is_empty() {
            self.runtime().service(service)?;
        }
        Ok(deeds)
    }
}
