//! Which services a node is to have, as it is said, planned, done and asked.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::{Digest, ServiceName, Version};

use crate::{Client, ClientError, ErrorBody, Member, PackageSource, ParamChange, Plan};

/// `PUT /v1/desired`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Desired {
    /// The services, each named once.
    pub services: Vec<Wanted>,
    /// Remove services that are not among them, and that none of them needs.
    #[serde(default)]
    pub prune: bool,
    /// Let in what no trusted key signed: for this request alone, it is not kept.
    #[serde(default)]
    pub allow_unsigned: bool,
    /// Go to lower versions than those that run: for this request alone, too.
    #[serde(default)]
    pub allow_downgrade: bool,
    /// The revision in whose place this comes; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The plan that somebody agreed to: another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
}

/// What one service is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wanted {
    /// Its name.
    pub service: ServiceName,
    /// Where its package comes from.
    pub package: PackageSource,
    /// The parameters that are set, each as text; all others have their defaults.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Whether upgrades of it are refused; as it is without it.
    #[serde(default)]
    pub held: Option<bool>,
    /// Whether it is loaded, and attached to nothing.
    #[serde(default)]
    pub stopped: bool,
}

/// What is to be done for a node to be as it is desired, or what became of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// The revision that is desired: of a dry run the one that there is.
    pub revision: u64,
    /// What tells this plan from every other one.
    pub plan: Digest,
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// Why it would be refused before anything is done; then nothing was.
    #[serde(default)]
    pub refused: Vec<Trouble>,
    /// Services that are as they should be, and do not run as they should.
    #[serde(default)]
    pub ailing: Vec<Trouble>,
    /// Services that nobody asked for, and that stay.
    #[serde(default)]
    pub beside: BTreeSet<ServiceName>,
    /// Why it could not be written down that all of it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritten: Option<ErrorBody>,
}

/// One thing that is done to one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// To which.
    pub service: ServiceName,
    /// What.
    pub what: StepKind,
    /// How it stands.
    pub state: StepState,
    /// The version that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The version that is to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// The index of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// The parameters that change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, ParamChange>,
    /// What else comes with it, since it needs that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<Member>,
    /// What the switch is, where it is one that can be planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What is done to a service.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Its package is installed.
    Install,
    /// It switches to another package.
    Upgrade,
    /// Its parameters change, and its package stays.
    Set,
    /// It is attached again.
    Start,
    /// It is detached.
    Stop,
    /// Upgrades of it are refused from then on.
    Hold,
    /// They are not any more.
    Unhold,
    /// It goes.
    Remove,
}

impl StepKind {
    /// The word for it, which is the command that does the same.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Set => "set",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Hold => "hold",
            Self::Unhold => "unhold",
            Self::Remove => "remove",
        }
    }
}

/// How a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It is to be done.
    #[default]
    Planned,
    /// It was.
    Done,
    /// It was tried, and failed.
    Failed,
    /// It was not begun, since one before it failed.
    Left,
}

/// What is wrong with a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// The service.
    pub service: ServiceName,
    /// What.
    pub error: ErrorBody,
}

/// `GET /v1/desired`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DesiredState {
    /// How often it was changed; 0 where nothing was ever desired.
    pub revision: u64,
    /// When it was said, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Who did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether other services are to go.
    pub prune: bool,
    /// Whether the node was brought there since: each start of skepd tries until it was.
    pub reached: bool,
    /// Why the last try did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Each service that is desired.
    pub services: Vec<WantedState>,
    /// Services beside them.
    pub beside: BTreeSet<ServiceName>,
}

/// A service that is desired, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WantedState {
    /// What it is to be.
    pub wanted: Wanted,
    /// The index that its package was when that was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Whether it is so.
    pub in_sync: bool,
    /// What is otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

impl Client {
    /// Says which services the node is to have, has it brought there, and waits for the end.
    ///
    /// # Errors
    /// As [`Client::services`]; what was refused or failed is in the answer.
    pub async fn apply(&self, desired: &Desired) -> Result<Applied, ClientError> {
        self.operate("the apply".to_owned(), Method::PUT, "/v1/desired", desired).await
    }

    /// What that would do.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn plan_apply(&self, desired: &Desired) -> Result<Applied, ClientError> {
        let path = "/v1/desired?dry_run=true";
        self.operate("the plan of an apply".to_owned(), Method::PUT, path, desired).await
    }

    /// Which services the node is to have, and how they are.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn desired(&self) -> Result<DesiredState, ClientError> {
        self.ask(Method::GET, "/v1/desired", &()).await
    }
}
