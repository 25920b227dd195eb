//! Whether services would run on another kernel, as it is asked and answered.

use std::path::PathBuf;

use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::{PackageName, ServiceName, Version};

use crate::{Client, ClientError};

/// `POST /v1/doctor/kernel`: a kernel that does not run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextKernel {
    /// Its `uname -r`, for messages.
    pub release: String,
    /// A file on the node with its types (raw BTF), by its absolute path.
    pub btf: PathBuf,
}

/// What is known of a service on that kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOutlook {
    /// The service.
    pub service: ServiceName,
    /// Its package.
    pub package: PackageName,
    /// The version that runs.
    pub version: Version,
    /// Whether it will run.
    pub runs: WillRun,
    /// Why not, or what is not known.
    #[serde(default)]
    pub why: Vec<String>,
    /// What will be done without, or in another way.
    #[serde(default)]
    pub adapted: Vec<String>,
}

/// An answer about what has not been tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WillRun {
    /// The kernel has all that it needs.
    Yes,
    /// It is known to lack something.
    No,
    /// It is not known to lack anything, but not known to have all.
    Unknown,
}

impl Client {
    /// Whether the services would run on another kernel.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn on_kernel(&self, next: &NextKernel) -> Result<Vec<ServiceOutlook>, ClientError> {
        let work = format!("the look at {}", next.release);
        self.operate(work, Method::POST, "/v1/doctor/kernel", next).await
    }
}
