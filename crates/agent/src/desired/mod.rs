//! What a node is to be: said as a whole, planned, written down, and brought about step by step, each as its own command does it.
//!
//! The loop is one: a request plans, writes down what is desired, and takes the steps; a start of skepd does the same with what is
//! written down, until it was reached once. What people do by hand afterwards stays, and is shown.

mod difference;
mod look;
mod order;
mod plan;
mod record;
mod steps;
mod weigh;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use skep_api::{Applied, Desired, DesiredState, PackageSource, StepState, Wanted};
use skep_spec::source::services::MOST_SERVICES;
use skep_spec::{Digest, ServiceName};

use self::plan::{Leave, Plan, Prune};
use self::record::{Line, Record};
use crate::blocking::blocking;
use crate::deeds::now;
use crate::error::NodeError;
use crate::http::{Peer, Shared, read};
use crate::node::Node;
use crate::server::{DryRun, Started, started};

/// The one path.
pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/v1/desired", get(shown).put(apply))
}

async fn shown(State(shared): State<Shared>) -> Result<Json<DesiredState>, NodeError> {
    blocking(shared.node, Node::desired).await.map(Json)
}

async fn apply(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<DryRun>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Started {
    peer.may_change()?;
    let desired: Desired = read(body)?;
    check(&desired)?;
    let (by, dry_run) = (peer.name(), query?.dry_run);
    started(shared.operations.start(blocking(shared.node, move |node| match dry_run {
        true => node.plan_apply(&desired),
        false => node.apply(&by, &desired),
    })))
}

/// What can be seen of a request by itself.
fn check(Desired { services, .. }: &Desired) -> Result<(), NodeError> {
    let refuse = |why: String| Err(NodeError::Request(why));
    if services.len() > MOST_SERVICES {
        let count = services.len();
        return refuse(format!("it has {count} services, more than the {MOST_SERVICES} allowed"));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = services.iter().find(|wanted| !names.insert(&wanted.service)) {
        return refuse(format!("the service {} is there twice", twice.service));
    }
    for Wanted { service, package, .. } in services {
        let path = match package {
            PackageSource::Reference(_) => continue,
            PackageSource::Layout { path, .. } | PackageSource::Bundle { path, .. } => path,
        };
        if !path.is_absolute() {
            let path = path.display();
            return refuse(format!(
                "the package of {service} is at '{path}', which is no absolute path"
            ));
        }
    }
    Ok(())
}

/// What is desired, and who works on that.
pub(crate) struct Desiring {
    file: PathBuf,
    /// Held while something is planned or done, so that one plan is done before the next is made.
    turn: Mutex<()>,
    at_work: AtomicBool,
    /// Why the last try did not come to its end.
    error: Mutex<Option<String>>,
}

impl Desiring {
    /// That of a state folder.
    pub(crate) fn of(state: &Path) -> Self {
        let (turn, at_work, error) = Default::default();
        Self { file: record::file(state), turn, at_work, error }
    }

    /// Whether packages lie on the shelf that steps to come need.
    pub(crate) fn is_at_work(&self) -> bool {
        self.at_work.load(Ordering::Acquire)
    }

    fn failed(&self) -> MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who plans, or does what was planned: alone.
struct Turn<'a> {
    node: &'a Node,
    _alone: MutexGuard<'a, ()>,
}

impl<'a> Turn<'a> {
    fn of(node: &'a Node) -> Self {
        let alone = node.desiring.turn.lock().unwrap_or_else(PoisonError::into_inner);
        node.desiring.at_work.store(true, Ordering::Release);
        Self { node, _alone: alone }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.node.desiring.at_work.store(false, Ordering::Release);
        self.node.collect();
    }
}

impl Node {
    /// What [`Self::apply`] would do.
    ///
    /// # Errors
    /// What is desired cannot be read; what speaks against a service is in the answer.
    pub fn plan_apply(&self, desired: &Desired) -> Result<Applied, NodeError> {
        let _turn = Turn::of(self);
        let (known, _, plan) = self.plan_for(desired)?;
        Ok(plan.applied(known.revision))
    }

    /// Writes down what is desired and brings the node there, unless any of it would be refused.
    ///
    /// # Errors
    /// Another one was written down meanwhile, or another plan came of it; it cannot be read or written. What speaks against a
    /// service, or failed, is in the answer.
    pub fn apply(&self, by: &str, desired: &Desired) -> Result<Applied, NodeError> {
        let _turn = Turn::of(self);
        let (known, leave, plan) = self.plan_for(desired)?;
        if desired.plan.is_some_and(|agreed| agreed != plan.digest()) {
            return Err(NodeError::PlanChanged);
        }
        if !plan.refused.is_empty() {
            return Ok(plan.applied(known.revision));
        }
        let line = |wanted: &Wanted| {
            let index = plan.indexes.get(&wanted.service).copied();
            index.map(|index| Line { wanted: wanted.clone(), index })
        };
        let services: Vec<Line> = desired.services.iter().filter_map(line).collect();
        let is_same = (&known.services, known.prune) == (&services, desired.prune);
        let revision = if is_same { known.revision } else { known.revision + 1 };
        let record = match is_same && plan.steps.is_empty() {
            true => known,
            false => {
                let (at, by, prune) = (now(), by.to_owned(), desired.prune);
                let removes = plan.removes();
                Record { revision, at, by, prune, removes, reached: false, services }
            }
        };
        self.bring_about(by, record, plan, leave)
    }

    /// What was desired before, what is allowed now, and the plan.
    fn plan_for(&self, desired: &Desired) -> Result<(Record, Leave, Plan), NodeError> {
        let known = self.recorded()?;
        is_in_place_of(desired, &known)?;
        let leave = Leave { unsigned: desired.allow_unsigned, downgrade: desired.allow_downgrade };
        let prune = desired.prune.then_some(Prune::All);
        let plan = Plan::of(self, (&desired.services, prune), leave, None);
        Ok((known, leave, plan))
    }

    /// Goes on with what is written down and was not reached, as a start of skepd does.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn go_on(&self) -> Result<(), NodeError> {
        let _turn = Turn::of(self);
        let record = self.recorded()?;
        if record.reached {
            return Ok(());
        }
        let revision = record.revision;
        tracing::info!(revision, "what the node is to be was not reached: going on");
        // The leave that somebody gave was for the request alone.
        let leave = Leave { unsigned: false, downgrade: false };
        let services: Vec<Wanted> =
            record.services.iter().map(|line| line.wanted.clone()).collect();
        let prune = record.prune.then_some(Prune::These(&record.removes));
        let plan = Plan::of(self, (&services, prune), leave, Some(&record.indexes()));
        for trouble in &plan.refused {
            let (service, why) = (&trouble.service, &trouble.error.message);
            tracing::error!(%service, why, "cannot be brought where it is to be; each start tries again");
        }
        if let Some(trouble) = plan.refused.first() {
            let error = &trouble.error;
            *self.desiring.failed() = Some(format!("{}: {}", trouble.service, error.message));
            return Ok(());
        }
        let by = format!("skepd, for {}", record.by);
        let applied = self.bring_about(&by, record, plan, leave)?;
        for step in applied.steps.iter().filter(|step| step.state == StepState::Failed) {
            let why = step.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
            tracing::error!(service = %step.service, what = step.what.as_str(), why, "failed; each start tries again");
        }
        Ok(())
    }

    /// Takes the steps of a plan that nothing speaks against, once what they lead to is on the disk.
    fn bring_about(
        &self,
        by: &str,
        record: Record,
        mut plan: Plan,
        leave: Leave,
    ) -> Result<Applied, NodeError> {
        let file = &self.desiring.file;
        let is_new = !plan.steps.is_empty() || !record.reached;
        if is_new {
            record::write(file, &record)?;
        }
        let wanted = record.services.iter().map(|line| &line.wanted);
        let wanted: BTreeMap<&ServiceName, &Wanted> =
            wanted.map(|wanted| (&wanted.service, wanted)).collect();
        let failed = self.take(by, &mut plan.steps, &wanted, leave);
        let reached = failed.is_none();
        *self.desiring.failed() = failed;
        let revision = record.revision;
        // What was done is answered whatever becomes of this.
        let written = match is_new && reached {
            true => record::write(file, &Record { reached, ..record }),
            false => Ok(()),
        };
        let unwritten = written.err().map(|error| {
            tracing::error!("was reached, and that is not written down: {}", error.text());
            *self.desiring.failed() = Some(error.text());
            error.body()
        });
        Ok(Applied { unwritten, ..plan.applied(revision) })
    }

    /// What was desired last; a revision 0 where nothing ever was.
    fn recorded(&self) -> Result<Record, NodeError> {
        let record = record::read(&self.desiring.file)?;
        Ok(record.unwrap_or_else(|| Record { reached: true, ..Record::default() }))
    }
}

impl Record {
    fn indexes(&self) -> BTreeMap<ServiceName, Digest> {
        let index = |line: &Line| (line.wanted.service.clone(), line.index);
        self.services.iter().map(index).collect()
    }
}

fn is_in_place_of(desired: &Desired, known: &Record) -> Result<(), NodeError> {
    match desired.revision {
        Some(asked) if asked != known.revision => {
            Err(NodeError::Stale { asked, there: known.revision })
        }
        _ => Ok(()),
    }
}
