//! The client: requests over the Unix socket, errors told apart by what a person does about them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skep_spec::ServiceName;
use tokio::net::UnixStream;

use crate::escaped::escaped;
use crate::{
    Detail, ErrorBody, EventLine, Install, MAX_ANSWER, Member, Metric, Operation, OperationState,
    Plan, Removed, Status, Upgrade, Watch,
};

/// How long an answer may take to begin: twice the minute that skepd counts runs of programs at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// Speaks to one skepd.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

/// Why a request got no answer, or which error it got.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no skepd listens on {}", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket is not for this user.
    #[error("this user may not talk to skepd on {}", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It took the request and says nothing.
    #[error("skepd on {} has not begun to answer in {} s", socket.display(), patience.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// So long was waited.
        patience: Duration,
    },
    /// It broke off.
    #[error("skepd broke off before it had answered {action}")]
    Broken {
        /// Method and path.
        action: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered what this client cannot read.
    #[error("skepd's answer to {action} is not as this version of skep expects it")]
    Unreadable {
        /// Method and path.
        action: String,
        /// Why.
        source: serde_json::Error,
    },
    /// It answered more than this client reads.
    #[error("skepd's answer to {action} has more than {most} bytes, and no more is read")]
    TooLarge {
        /// Method and path.
        action: String,
        /// So many are read.
        most: usize,
    },
    /// It ended while it was at work.
    #[error("skepd ended in the middle of {work}")]
    Ended {
        /// Such as "the upgrade of exec".
        work: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers, and knows nothing of what it was to do: another one began it, or it was long ago.
    #[error("skepd does not know what became of {work}")]
    Unknown {
        /// Such as "the upgrade of exec".
        work: String,
        /// What it answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered an error.
    #[error("{}", .0.message)]
    Answered(ErrorBody),
}

impl ClientError {
    /// What an error means for an operation, which had begun if `begun`: without the daemon that worked on it nobody says
    /// how it stands.
    fn in_the_middle_of(self, work: &str, begun: bool) -> Self {
        let work = work.to_owned();
        match self {
            Self::Broken { source, .. } => Self::Ended { work, source },
            Self::NoDaemon { source, .. } if begun => Self::Ended { work, source: source.into() },
            Self::Answered(body) if begun && body.code == "no-operation" => {
                Self::Unknown { work, source: body.message.into() }
            }
            other => other,
        }
    }
}

impl Client {
    /// A client of the skepd at `socket`. Connects at each request.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// All services.
    ///
    /// # Errors
    /// As for every request: no daemon, no permission, broken off, or what skepd answered.
    pub async fn services(&self) -> Result<Vec<Status>, ClientError> {
        self.ask(Method::GET, "/v1/services", &()).await
    }

    /// One service.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn service(&self, name: &ServiceName) -> Result<Detail, ClientError> {
        self.ask(Method::GET, &format!("/v1/services/{name}"), &()).await
    }

    /// Installs and waits for the end.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn install(&self, install: &Install) -> Result<Detail, ClientError> {
        let work = match &install.service {
            Some(name) => format!("the install of {name}"),
            None => "the install".to_owned(),
        };
        self.operate(work, Method::POST, "/v1/services", install).await
    }

    /// What an install would install: what is needed, and then the service itself.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn plan_install(&self, install: &Install) -> Result<Vec<Member>, ClientError> {
        let path = "/v1/services?dry_run=true";
        self.operate("the plan of an install".to_owned(), Method::POST, path, install).await
    }

    /// What an upgrade would do.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn plan(&self, name: &ServiceName, upgrade: &Upgrade) -> Result<Plan, ClientError> {
        let path = format!("/v1/services/{name}/upgrade?dry_run=true");
        let work = format!("the plan of an upgrade of {name}");
        self.operate(work, Method::POST, &path, upgrade).await
    }

    /// Upgrades and waits for the end.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn upgrade(
        &self,
        name: &ServiceName,
        upgrade: &Upgrade,
    ) -> Result<(Plan, Detail), ClientError> {
        let (work, path) = about("upgrade", name, "/upgrade");
        self.operate(work, Method::POST, &path, upgrade).await
    }

    /// Rolls back and waits for the end. To what no trusted key signed go those alone that are `unsigned`.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn rollback(
        &self,
        name: &ServiceName,
        unsigned: &BTreeSet<ServiceName>,
    ) -> Result<Detail, ClientError> {
        let others = unsigned.iter().filter(|one| *one != name).map(ServiceName::as_str);
        let others = others.collect::<Vec<_>>().join(",");
        let path =
            format!("/rollback?allow_unsigned={}&also_unsigned={others}", unsigned.contains(name));
        let (work, path) = about("rollback", name, &path);
        self.operate(work, Method::POST, &path, &()).await
    }

    /// Removes a service and waits for the end.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn remove(&self, name: &ServiceName) -> Result<Removed, ClientError> {
        let (work, path) = about("removal", name, "");
        self.operate(work, Method::DELETE, &path, &()).await
    }

    /// What a service's maps count and hold.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn metrics(
        &self,
        name: &ServiceName,
        table: bool,
    ) -> Result<Vec<Metric>, ClientError> {
        self.ask(Method::GET, &format!("/v1/services/{name}/metrics?table={table}"), &()).await
    }

    /// A service's events.
    ///
    /// # Errors
    /// As [`Self::services`].
    pub async fn events(&self, name: &ServiceName, watch: Watch) -> Result<Events, ClientError> {
        let Watch { follow, table, limit, filter, fields, since, until } = watch;
        let mut path = format!("/v1/services/{name}/events?follow={follow}&table={table}");
        let texts = [
            ("limit", limit.map(|limit| limit.to_string())),
            ("where", filter),
            ("fields", fields),
            ("since", since.map(|since| since.to_string())),
            ("until", until.map(|until| until.to_string())),
        ];
        for (name, text) in texts {
            path.extend(text.map(|text| format!("&{name}={}", escaped(&text))));
        }
        let answer = self.send(Method::GET, &path, &()).await?;
        Ok(Events {
            action: format!("GET {path}"),
            answer: good(answer).await?,
            buffer: Vec::new(),
        })
    }

    /// Begins an operation and waits for its end.
    pub(crate) async fn operate<T: DeserializeOwned>(
        &self,
        work: String,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let begun = self.ask(method, path, body).await;
        let mut operation: Operation =
            begun.map_err(|error| error.in_the_middle_of(&work, false))?;
        loop {
            match operation.state {
                OperationState::Running => {
                    let path = format!("/v1/operations/{}?wait=true", operation.id);
                    let answer = self.ask(Method::GET, &path, &()).await;
                    operation = answer.map_err(|error| error.in_the_middle_of(&work, true))?;
                }
                OperationState::Done { result } => {
                    return serde_json::from_str(result.get()).map_err(unreadable(path));
                }
                OperationState::Failed { error } => return Err(ClientError::Answered(error)),
            }
        }
    }

    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let answer = good(self.send(method, path, body).await?).await?;
        let body = whole(answer.into_body(), MAX_ANSWER, path).await?;
        serde_json::from_slice(&body).map_err(unreadable(path))
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response<Incoming>, ClientError> {
        let answer = tokio::time::timeout(self.patience, self.request(method, path, body));
        answer.await.unwrap_or_else(|_| {
            Err(ClientError::Silent { socket: self.socket.clone(), patience: self.patience })
        })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response<Incoming>, ClientError> {
        let socket = self.socket.clone();
        let stream = UnixStream::connect(&socket).await.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Forbidden { socket, source },
            _ => ClientError::NoDaemon { socket, source },
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken(path))?;
        tokio::spawn(connection);
        let body = serde_json::to_vec(body).map_err(broken(path))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "skepd")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(broken(path))?;
        sender.send_request(request).await.map_err(broken(path))
    }
}

/// A stream of events.
pub struct Events {
    action: String,
    answer: Response<Incoming>,
    buffer: Vec<u8>,
}

impl Events {
    /// The next lines; `None` at the end.
    ///
    /// # Errors
    /// The stream broke off, or holds what is no event.
    pub async fn next(&mut self) -> Result<Option<Vec<EventLine>>, ClientError> {
        loop {
            let Some(frame) = self.answer.body_mut().frame().await else { return Ok(None) };
            let Ok(data) = frame.map_err(broken(&self.action))?.into_data() else { continue };
            self.buffer.extend_from_slice(&data);
            let Some(end) = self.buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = self.buffer.split_off(end + 1);
            let whole = std::mem::replace(&mut self.buffer, rest);
            let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let lines: Result<Vec<EventLine>, _> = lines.map(serde_json::from_slice).collect();
            return Ok(Some(lines.map_err(unreadable(&self.action))?));
        }
    }
}

/// An operation on a service in words, and its path.
/// What an operation on a service is called, and its path.
pub(crate) fn about(what: &str, name: &ServiceName, path: &str) -> (String, String) {
    (format!("the {what} of {name}"), format!("/v1/services/{name}{path}"))
}

/// A body of at most so many bytes.
async fn whole<B>(body: B, most: usize, action: &str) -> Result<Bytes, ClientError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let action = action.to_owned();
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(source) if source.is::<LengthLimitError>() => {
            Err(ClientError::TooLarge { action, most })
        }
        Err(source) => Err(ClientError::Broken { action, source }),
    }
}

/// An answer that is no error.
pub(crate) async fn good(answer: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = whole(answer.into_body(), MAX_ANSWER, "").await.unwrap_or_default();
    Err(ClientError::Answered(serde_json::from_slice(&body).unwrap_or_else(|_| ErrorBody {
        code: "http".to_owned(),
        standard: None,
        message: format!("skepd answered {status}"),
        causes: Vec::new(),
        hint: None,
    })))
}

pub(crate) fn broken<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    action: &str,
) -> impl FnOnce(E) -> ClientError {
    let action = action.to_owned();
    move |source| ClientError::Broken { action, source: source.into() }
}

pub(crate) fn unreadable(action: &str) -> impl FnOnce(serde_json::Error) -> ClientError {
    let action = action.to_owned();
    move |source| ClientError::Unreadable { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_stopped_is_not_waited_for_without_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("skepd.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let client = Client { socket, patience: Duration::from_millis(20) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(client.services()).unwrap_err();
        assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    }

    #[test]
    fn large_answers_are_read_and_what_is_too_large_is_called_that() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = |size: usize, most: usize| {
            let body = Full::new(Bytes::from(vec![b' '; size]));
            runtime.block_on(whole(body, most, "/v1/services")).map(|body| body.len())
        };
        assert_eq!(read(5 << 20, MAX_ANSWER).unwrap(), 5 << 20);
        let error = read(11, 10).unwrap_err().in_the_middle_of("the upgrade of exec", true);
        assert_eq!(
            error.to_string(),
            "skepd's answer to /v1/services has more than 10 bytes, and no more is read"
        );
    }
}
