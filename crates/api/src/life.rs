//! Services that are stopped, started and set, as they are asked for and answered.

use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::life::Previous;
use skep_spec::{ServiceName, Version};

use crate::client::about;
use crate::{Client, ClientError, Status};

/// How a stop is asked for: the query of `POST /v1/services/{s}/stop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Stop it though others that run need it: they run on.
    #[serde(default)]
    pub force: bool,
    /// Stop those first.
    #[serde(default)]
    pub with_users: bool,
}

/// How a start is asked for: the query of `POST /v1/services/{s}/start` and `…/restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    /// Start first what it needs and what is stopped.
    #[serde(default)]
    pub with_needed: bool,
    /// Start what no key signed that counts now.
    #[serde(default)]
    pub allow_unsigned: bool,
}

/// What was stopped or started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Touched {
    /// The services, in the order in which it was done; none where there was nothing to do.
    pub services: Vec<ServiceName>,
}

/// What a commit gave up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Committed {
    /// What a rollback would have returned to; none where nothing was kept.
    #[serde(default)]
    pub previous: Option<Previous>,
}

/// How a service's history is asked for: the query of `GET /v1/services/{s}/history`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Past {
    /// So many deeds at most, the last ones; 100 without it.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Something that was done to a service, or was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deed {
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// To which service.
    pub service: ServiceName,
    /// Such as `upgrade`.
    pub what: String,
    /// What ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Standing>,
    /// What ran afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Standing>,
    /// Who asked for it.
    pub by: String,
    /// The service that was spoken of, where it was another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<ServiceName>,
    /// Of an install or upgrade that failed, what it was to be: a version, or what was asked for where nobody came to see one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What of a service runs, or is to run once it is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// The generation.
    pub generation: u64,
    /// Its version.
    pub version: Version,
}

impl Client {
    /// Stops a service and waits for the end.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn stop(&self, name: &ServiceName, stop: Stop) -> Result<Touched, ClientError> {
        let Stop { force, with_users } = stop;
        let path = format!("/stop?force={force}&with_users={with_users}");
        let (work, path) = about("stop", name, &path);
        self.operate(work, Method::POST, &path, &()).await
    }

    /// Starts a stopped service and waits for the end.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn start(&self, name: &ServiceName, start: Start) -> Result<Touched, ClientError> {
        let (work, path) = about("start", name, &started("/start", start));
        self.operate(work, Method::POST, &path, &()).await
    }

    /// Stops a service, starts it again and waits for the end.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn restart(&self, name: &ServiceName, start: Start) -> Result<Touched, ClientError> {
        let (work, path) = about("restart", name, &started("/restart", start));
        self.operate(work, Method::POST, &path, &()).await
    }

    /// Gives up the way back from the last upgrade and waits for the end.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn commit(&self, name: &ServiceName) -> Result<Committed, ClientError> {
        let (work, path) = about("commit", name, "/commit");
        self.operate(work, Method::POST, &path, &()).await
    }

    /// What was done to a service, the last first.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn history(&self, name: &ServiceName, past: Past) -> Result<Vec<Deed>, ClientError> {
        let limit = past.limit.map(|limit| format!("?limit={limit}")).unwrap_or_default();
        self.ask(Method::GET, &format!("/v1/services/{name}/history{limit}"), &()).await
    }

    /// Has upgrades of a service refused from now on, or not any more.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn hold(&self, name: &ServiceName, held: bool) -> Result<Status, ClientError> {
        let method = if held { Method::PUT } else { Method::DELETE };
        let (work, path) = about(if held { "hold" } else { "unhold" }, name, "/hold");
        self.operate(work, method, &path, &()).await
    }
}

fn started(path: &str, start: Start) -> String {
    let Start { with_needed, allow_unsigned } = start;
    format!("{path}?with_needed={with_needed}&allow_unsigned={allow_unsigned}")
}
