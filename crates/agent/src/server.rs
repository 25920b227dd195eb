//! The API on the Unix socket: handlers of a few lines, root only for changes.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use skep_api::{EventLine, Install, MAX_BODY, Metrics, Operation, Upgrade, Watch};
use skep_runtime::{Event, EventStream, Format, Next};
use skep_spec::ServiceName;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::desired;
use crate::error::NodeError;
use crate::http::{Peer, Shared, line, read, streamed};
use crate::life;
use crate::maps;
use crate::next_kernel;
use crate::node::Node;
use crate::operations::Operations;
use crate::outdated;
use crate::programs;
use crate::selection::{Selection, View};
use crate::settings;

/// Serves until `end`, and until who is at work has done it.
///
/// # Errors
/// The socket fails.
pub async fn serve(
    listener: UnixListener,
    node: Arc<Node>,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let ending = node.ending().clone();
    let shared = Shared { node, operations: Operations::default() };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/v1/node", get(node_info))
        .route("/v1/services", get(list).post(install))
        .route("/v1/services/{service}", get(show).delete(remove))
        .route("/v1/services/{service}/upgrade", post(upgrade))
        .route("/v1/services/{service}/rollback", post(rollback))
        .route("/v1/services/{service}/events", get(events))
        .route("/v1/services/{service}/metrics", get(metrics))
        .route("/v1/operations/{id}", get(operation))
        .merge(desired::routes())
        .merge(life::routes())
        .merge(maps::routes())
        .merge(next_kernel::routes())
        .merge(outdated::routes())
        .merge(programs::routes())
        .merge(settings::routes())
        .fallback(|| async { NodeError::NoPath })
        .method_not_allowed_fallback(|| async { NodeError::NoMethod })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared);
    let service = router.into_make_service_with_connect_info::<Peer>();
    let served = tokio::select! {
        biased;
        () = end => Ok(()),
        served = axum::serve(listener, service) => served,
    };
    ending.come().await;
    served
}

/// Brings the node where it is to be, if it is not there yet; beside the answers to others.
pub async fn go_on(node: Arc<Node>) {
    if let Err(error) = blocking(node, Node::go_on).await {
        tracing::error!("what the node is to be is not reached: {}", error.text());
    }
}

pub(crate) type Started = Result<(StatusCode, Json<Operation>), NodeError>;

async fn node_info(State(shared): State<Shared>) -> Json<skep_api::Node> {
    Json(shared.node.about())
}

async fn list(State(shared): State<Shared>) -> Result<impl IntoResponse, NodeError> {
    blocking(shared.node, Node::services).await.map(Json)
}

async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, NodeError> {
    let name = service(&name)?;
    match shared.node.service_at_once(&name) {
        Some(answer) => answer.map(Json),
        None => blocking(shared.node, move |node| node.service(&name)).await.map(Json),
    }
}

async fn install(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<DryRun>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Started {
    peer.may_change()?;
    let install: Install = read(body)?;
    started(match query?.dry_run {
        true => {
            shared.operations.start(blocking(shared.node, move |node| node.plan_install(install)))
        }
        false => {
            let (by, name) = (peer.name(), install.service_name());
            shared.operations.start(blocking(shared.node, move |node| match name {
                Some(name) => {
                    let package = install.package.clone();
                    node.deed_with(("install", &by), &name, &package, || node.install(install))
                }
                None => node.install_unnamed(&by, install),
            }))
        }
    })
}

/// `?dry_run=true` gives the plan alone.
#[derive(Deserialize)]
pub(crate) struct DryRun {
    #[serde(default)]
    pub(crate) dry_run: bool,
}

async fn upgrade(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    query: Result<Query<DryRun>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Started {
    peer.may_change()?;
    let (name, upgrade): (_, Upgrade) = (service(&name)?, read(body)?);
    started(match query?.dry_run {
        true => {
            shared.operations.start(blocking(shared.node, move |node| node.plan(name, upgrade)))
        }
        false => {
            let by = peer.name();
            shared.operations.start(blocking(shared.node, move |node| {
                let (to, package) = (name.clone(), upgrade.package.clone());
                node.deed_with(("upgrade", &by), &name, &package, || node.upgrade(to, upgrade))
            }))
        }
    })
}

/// `?allow_unsigned=true` as at an install, for the service that is named; `also_unsigned=A,B` for others that go back with it.
#[derive(Deserialize)]
struct Allowed {
    #[serde(default)]
    allow_unsigned: bool,
    #[serde(default)]
    also_unsigned: String,
}

impl Allowed {
    fn services(self, named: &ServiceName) -> Result<BTreeSet<ServiceName>, NodeError> {
        let also = self.also_unsigned.split(',').filter(|name| !name.is_empty()).map(service);
        also.chain(self.allow_unsigned.then(|| Ok(named.clone()))).collect()
    }
}

async fn rollback(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    query: Result<Query<Allowed>, QueryRejection>,
) -> Started {
    peer.may_change()?;
    let name = service(&name)?;
    let unsigned = query?.0.services(&name)?;
    let by = peer.name();
    let rollback = blocking(shared.node, move |node| {
        node.deed(("rollback", &by), &name, || node.rollback(&name, &unsigned))
    });
    started(shared.operations.start(rollback))
}

async fn remove(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
) -> Started {
    peer.may_change()?;
    let (name, by) = (service(&name)?, peer.name());
    let remove =
        blocking(shared.node, move |node| node.deed(("remove", &by), &name, || node.remove(&name)));
    started(shared.operations.start(remove))
}

/// `?wait=true` waits for the end, half a minute at most.
#[derive(Deserialize)]
struct Wait {
    #[serde(default)]
    wait: bool,
}

async fn operation(
    State(shared): State<Shared>,
    id: Result<Path<u64>, PathRejection>,
    query: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<Operation>, NodeError> {
    shared.operations.look(*id?, query?.wait).await.map(Json)
}

async fn metrics(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    query: Result<Query<Metrics>, QueryRejection>,
) -> Result<impl IntoResponse, NodeError> {
    let (name, Query(Metrics { table })) = (service(&name)?, query?);
    blocking(shared.node, move |node| node.metrics(&name, table)).await.map(Json)
}

async fn events(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    watch: Result<Query<Watch>, QueryRejection>,
) -> Result<impl IntoResponse, NodeError> {
    let Query(watch) = watch?;
    let name = service(&name)?;
    let fields = watch.fields.iter().flat_map(|fields| fields.split(','));
    let fields = fields.map(|field| field.trim().to_owned()).filter(|field| !field.is_empty());
    let selection = Selection::new(watch.filter.as_deref(), fields.collect())?;
    let wanted = selection.clone();
    let stream =
        blocking(shared.node, move |node| node.events(&name, (watch.follow, watch.since), &wanted))
            .await?;
    let (table, limit) = (watch.table, watch.limit);
    streamed("events", move |sender| {
        let times = watch.since.unwrap_or(0)..=watch.until.unwrap_or(u64::MAX);
        let pouring = Pouring { table, selection, times, heads: Vec::new() };
        pouring.pour(&stream, limit.unwrap_or(u64::MAX), &sender);
    })
}

/// Whether a moment was, in nanoseconds since 1970.
fn is_past(moment: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() > u128::from(moment)
}

/// Records that are sent in one piece.
const BATCH: u64 = 256;

/// Bytes after which a piece is sent; the last record of one may be longer.
const PIECE: usize = 64 << 10;

/// How soon a reader that is gone is noticed where no event comes.
const LOOK: Duration = Duration::from_millis(200);

/// One reader's lines.
struct Pouring {
    table: bool,
    selection: Selection,
    /// Of which moments.
    times: RangeInclusive<u64>,
    /// The format of each output's last event, and what is wanted of such; the last event's first.
    heads: Vec<(Format, Option<View>)>,
}

impl Pouring {
    /// Writes events until the stream ends, the reader goes or has as many as it wants.
    fn pour(mut self, stream: &EventStream, limit: u64, sender: &mpsc::Sender<Bytes>) {
        let (mut dropped, mut left) = (0, limit);
        let mut end = left == 0;
        let before = stream.kept_since();
        let mut older = (1..before).contains(self.times.start());
        while !end {
            let mut lines = Vec::new();
            if std::mem::take(&mut older) {
                line(&mut lines, &EventLine::Older { before });
            }
            let mut wait = LOOK;
            for _ in 0..BATCH.min(left) {
                match stream.next(wait) {
                    Next::Event(event) => left -= u64::from(self.write(&event, &mut lines)),
                    Next::Timeout => {
                        end = is_past(*self.times.end());
                        break;
                    }
                    Next::Closed => {
                        end = true;
                        break;
                    }
                }
                wait = Duration::ZERO;
                if lines.len() >= PIECE {
                    break;
                }
            }
            end |= left == 0;
            if stream.dropped() > dropped {
                dropped = stream.dropped();
                line(&mut lines, &EventLine::Dropped { records: dropped });
            }
            end |= match lines.is_empty() {
                true => sender.is_closed(),
                false => sender.blocking_send(lines.into()).is_err(),
            };
        }
    }

    /// Whether the event is wanted.
    fn write(&mut self, event: &Event, lines: &mut Vec<u8>) -> bool {
        if !self.times.contains(&event.time()) {
            return false;
        }
        let table = self.table;
        let view = self.view(event, lines);
        let Some(view) = view.filter(|view| view.takes(event.bytes())) else { return false };
        let output = event.output().to_owned();
        line(
            lines,
            &match table {
                true => EventLine::Row { output, cells: view.decoder().row(event.bytes()) },
                false => EventLine::Event {
                    output,
                    event: view.decoder().decode(event.bytes()).to_json(),
                },
            },
        );
        true
    }

    /// What is wanted of events like this one. A table's columns are said where they are others than those of the last event.
    fn view(&mut self, event: &Event, lines: &mut Vec<u8>) -> Option<&View> {
        let at = self.heads.iter().position(|(format, _)| format.is_of(event));
        if at != Some(0) {
            let head = match at {
                Some(at) => self.heads.remove(at),
                None => {
                    self.heads.retain(|(format, _)| format.output() != event.output());
                    let format = event.format();
                    let view = self.selection.view(format.decoder()).ok();
                    (format, view)
                }
            };
            if let Some(view) = head.1.as_ref().filter(|_| self.table) {
                let columns = view.decoder().columns();
                let columns = columns.map(|column| (column.name.clone(), column.number)).collect();
                let (output, note) = (event.output().to_owned(), head.0.untyped());
                line(lines, &EventLine::Columns { output, columns, note });
            }
            self.heads.insert(0, head);
        }
        self.heads.first()?.1.as_ref()
    }
}

pub(crate) fn started(operation: Operation) -> Started {
    Ok((StatusCode::ACCEPTED, Json(operation)))
}

fn service(name: &str) -> Result<ServiceName, NodeError> {
    Ok(name.parse()?)
}
