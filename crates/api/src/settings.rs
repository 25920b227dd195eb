//! Parameters of services that run, as they are changed and shown.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::ServiceName;

use crate::{Client, ClientError, Plan};

/// `PATCH /v1/services/{s}/settings`: what changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetParams {
    /// Parameters and their new values, each as text.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Parameters whose value is forgotten: the default counts.
    #[serde(default)]
    pub unset: BTreeSet<String>,
    /// Load the package again though no key signed it that counts now, where that is needed.
    #[serde(default)]
    pub allow_unsigned: bool,
}

/// What a change of parameters did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParamsSet {
    /// Parameters that are written into variables of programs that run on.
    pub live: BTreeMap<String, ParamChange>,
    /// Parameters that count from a load on: the service switches to the same package, loaded with them.
    pub loaded: BTreeMap<String, ParamChange>,
    /// What that switch is; none where all are live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// How often the service's live parameters changed, with this.
    pub revision: u64,
}

/// A parameter's value before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParamChange {
    /// What counted; none where that was the object's own.
    #[serde(default)]
    pub from: Option<String>,
    /// What counts.
    #[serde(default)]
    pub to: Option<String>,
}

/// A parameter that somebody set to another value than its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParamValue {
    /// Its value as text.
    pub value: String,
    /// Its default; none where that is the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether it is the service's own, which upgrades and rollbacks keep, and not its generation's.
    #[serde(default)]
    pub live: bool,
}

impl Client {
    /// Changes parameters of a service and waits for the end.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn set(&self, name: &ServiceName, set: &SetParams) -> Result<ParamsSet, ClientError> {
        let path = format!("/v1/services/{name}/settings");
        self.operate(format!("the change of {name}'s parameters"), Method::PATCH, &path, set).await
    }

    /// What a change of parameters would do.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn plan_set(
        &self,
        name: &ServiceName,
        set: &SetParams,
    ) -> Result<ParamsSet, ClientError> {
        let path = format!("/v1/services/{name}/settings?dry_run=true");
        self.operate(format!("the plan of {name}'s parameters"), Method::PATCH, &path, set).await
    }
}
