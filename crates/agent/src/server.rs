//! The API on the Unix socket: handlers of a few lines, root only for changes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skep_api::{EventLine, Install, MAX_BODY, Metrics, Operation, Upgrade, Watch};
use skep_kernel::process::peer_cred;
use skep_runtime::{Event, EventStream, Format, Next};
use skep_spec::ServiceName;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::error::NodeError;
use crate::maps;
use crate::node::Node;
use crate::operations::Operations;
use crate::programs;
use crate::selection::{Selection, View};

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    operations: Operations,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: peer_cred(stream.io()).ok().map(|peer| peer.uid) }
    }
}

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
        .merge(maps::routes())
        .merge(programs::routes())
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

type Started = Result<(StatusCode, Json<Operation>), NodeError>;

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
    blocking(shared.node, move |node| node.service(&name)).await.map(Json)
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
        false => shared.operations.start(blocking(shared.node, move |node| node.install(install))),
    })
}

/// `?dry_run=true` gives the plan alone.
#[derive(Deserialize)]
struct DryRun {
    #[serde(default)]
    dry_run: bool,
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
            shared.operations.start(blocking(shared.node, move |node| node.upgrade(name, upgrade)))
        }
    })
}

/// `?allow_unsigned=true` as at an install.
#[derive(Deserialize)]
struct Allowed {
    #[serde(default)]
    allow_unsigned: bool,
}

async fn rollback(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    query: Result<Query<Allowed>, QueryRejection>,
) -> Started {
    peer.may_change()?;
    let (name, allowed) = (service(&name)?, query?.allow_unsigned);
    let rollback = blocking(shared.node, move |node| node.rollback(&name, allowed));
    started(shared.operations.start(rollback))
}

async fn remove(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
) -> Started {
    peer.may_change()?;
    let name = service(&name)?;
    started(shared.operations.start(blocking(shared.node, move |node| node.remove(&name))))
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
        blocking(shared.node, move |node| node.events(&name, watch.follow, &wanted)).await?;
    let (table, limit) = (watch.table, watch.limit);
    streamed("events", move |sender| {
        let pouring = Pouring { table, selection, head: None };
        pouring.pour(&stream, limit.unwrap_or(u64::MAX), &sender);
    })
}

/// Lines as an answer, which a thread of its own makes as fast as they are read.
pub(crate) fn streamed(
    name: &str,
    pour: impl FnOnce(mpsc::Sender<Bytes>) + Send + 'static,
) -> Result<Response, NodeError> {
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES);
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(256 << 10)
        .spawn(move || pour(sender))
        .map_err(NodeError::Thread)?;
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), receiver))
    });
    Ok(([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// Records that are sent in one piece.
const BATCH: u64 = 256;

/// Bytes after which a piece is sent; the last record of one may be longer.
const PIECE: usize = 64 << 10;

/// Pieces that wait for a reader: until it takes one, no more records become text.
const PIECES: usize = 4;

/// How soon a reader that is gone is noticed where no event comes.
const LOOK: Duration = Duration::from_millis(200);

/// One reader's lines.
struct Pouring {
    table: bool,
    selection: Selection,
    /// The format of the last event, and what is wanted of such.
    head: Option<(Format, Option<View>)>,
}

impl Pouring {
    /// Writes events until the stream ends, the reader goes or has as many as it wants.
    fn pour(mut self, stream: &EventStream, limit: u64, sender: &mpsc::Sender<Bytes>) {
        let (mut dropped, mut left) = (0, limit);
        let mut end = left == 0;
        while !end {
            let mut lines = Vec::new();
            let mut wait = LOOK;
            for _ in 0..BATCH.min(left) {
                match stream.next(wait) {
                    Next::Event(event) => left -= u64::from(self.write(&event, &mut lines)),
                    Next::Timeout => break,
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
        let is_known = self.head.as_ref().is_some_and(|(format, _)| format.is_of(event));
        if !is_known {
            let format = event.format();
            let view = self.selection.view(format.decoder()).ok();
            if let Some(view) = view.as_ref().filter(|_| self.table) {
                let columns = view.decoder().columns();
                let columns = columns.map(|column| (column.name.clone(), column.number)).collect();
                let (output, note) = (event.output().to_owned(), format.untyped());
                line(lines, &EventLine::Columns { output, columns, note });
            }
            self.head = Some((format, view));
        }
        let view = self.head.as_ref().and_then(|(_, view)| view.as_ref());
        let Some(view) = view.filter(|view| view.takes(event.bytes())) else { return false };
        let output = event.output().to_owned();
        line(
            lines,
            &match self.table {
                true => EventLine::Row { output, cells: view.decoder().row(event.bytes()) },
                false => EventLine::Event {
                    output,
                    event: view.decoder().decode(event.bytes()).to_json(),
                },
            },
        );
        true
    }
}

pub(crate) fn line(lines: &mut Vec<u8>, value: &impl Serialize) {
    // Strings and numbers always serialise, and a Vec takes all.
    let _ = serde_json::to_writer(&mut *lines, value);
    lines.push(b'\n');
}

fn started(operation: Operation) -> Started {
    Ok((StatusCode::ACCEPTED, Json(operation)))
}

fn service(name: &str) -> Result<ServiceName, NodeError> {
    Ok(name.parse()?)
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, NodeError> {
    serde_json::from_slice(&body?).map_err(|error| NodeError::Request(error.to_string()))
}

impl Peer {
    /// Changes are root's.
    fn may_change(self) -> Result<(), NodeError> {
        self.is_root("change services")
    }

    /// That it is root who asks to do `what`.
    pub(crate) fn is_root(self, what: &'static str) -> Result<(), NodeError> {
        if self.uid == Some(0) { Ok(()) } else { Err(NodeError::NotRoot(what)) }
    }
}

/// What axum could not take from a request; its own answer would be plain text.
macro_rules! from_rejection {
    ($($rejection:ident),*) => {$(
        impl From<$rejection> for NodeError {
            fn from(rejection: $rejection) -> Self {
                match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
                    _ => Self::Request(rejection.body_text()),
                }
            }
        }
    )*};
}

from_rejection!(BytesRejection, PathRejection, QueryRejection);

impl IntoResponse for NodeError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status());
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(self.body())).into_response()
    }
}
