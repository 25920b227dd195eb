//! What a machine lacks for services: what was looked at, and what to do.

use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Client, ClientError, Node};

/// Something that `skep doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// A stable word for programs, such as `btf` or `attach:xdp`.
    pub about: String,
    /// How it stands.
    pub state: FindingState,
    /// What was found.
    pub what: String,
    /// Why that is, or what follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

/// How something stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FindingState {
    /// It keeps services from running.
    Stops,
    /// It could not be looked at, though all services need it.
    Unknown,
    /// Some packages cannot run, or something could be better.
    Lacks,
    /// As it should be.
    Good,
}

impl Finding {
    /// A finding without a reason.
    #[must_use]
    pub fn new(about: impl Into<String>, state: FindingState, what: impl Into<String>) -> Self {
        Self { about: about.into(), state, what: what.into(), why: None, todo: None }
    }

    /// The same with why that is.
    #[must_use]
    pub fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// The same with what to do.
    #[must_use]
    pub fn todo(self, todo: impl Into<String>) -> Self {
        Self { todo: Some(todo.into()), ..self }
    }
}

impl Client {
    /// What this node is.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn node(&self) -> Result<Node, ClientError> {
        self.ask(Method::GET, "/v1/node", &()).await
    }
}
