//! What handlers have in common: who asks, bodies that come, lines that go, and errors as answers.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use bytes::Bytes;
use serde::Serialize;
use skep_kernel::process::peer_cred;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::error::NodeError;
use crate::node::Node;
use crate::operations::Operations;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    pub(crate) operations: Operations,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    uid: Option<u32>,
    pid: i32,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let peer = peer_cred(stream.io()).ok();
        Self { uid: peer.map(|peer| peer.uid), pid: peer.map_or(0, |peer| peer.pid) }
    }
}

impl Peer {
    /// Changes are root's.
    pub(crate) fn may_change(self) -> Result<(), NodeError> {
        self.is_root("change services")
    }

    /// Its user, and behind it the one who logged in, where that is another one.
    pub(crate) fn name(self) -> String {
        let user = self.uid.map_or_else(|| "unknown".to_owned(), user);
        let login = std::fs::read_to_string(format!("/proc/{}/loginuid", self.pid));
        let login = login.ok().and_then(|text| text.trim().parse::<u32>().ok());
        match login.filter(|login| *login != u32::MAX && Some(*login) != self.uid) {
            Some(login) => format!("{user}, logged in as {}", self::user(login)),
            None => user,
        }
    }

    /// That it is root who asks to do `what`.
    pub(crate) fn is_root(self, what: &'static str) -> Result<(), NodeError> {
        if self.uid == Some(0) { Ok(()) } else { Err(NodeError::NotRoot(what)) }
    }
}

/// A user's name, or the number where it has none.
fn user(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {uid}"))
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, NodeError> {
    serde_json::from_slice(&body?).map_err(|error| NodeError::Request(error.to_string()))
}

/// Pieces that wait for a reader: until it takes one, no more records become text.
const PIECES: usize = 4;

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

pub(crate) fn line(lines: &mut Vec<u8>, value: &impl Serialize) {
    // Strings and numbers always serialise, and a Vec takes all.
    let _ = serde_json::to_writer(&mut *lines, value);
    lines.push(b'\n');
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
