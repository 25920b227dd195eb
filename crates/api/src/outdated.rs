//! What is newer than what runs, as it is asked for and answered.

use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::{Digest, PackageName, PackageRef, Range, ServiceName, Version};

use crate::{Client, ClientError, ErrorBody};

/// Which services are meant: the query of `POST /v1/outdated`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Which {
    /// Their names, with commas between them; all without it.
    #[serde(default)]
    pub services: Option<String>,
}

/// What runs of a service, and what an upgrade would bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outdated {
    /// The service.
    pub service: ServiceName,
    /// Its package.
    pub package: PackageName,
    /// The version that runs.
    pub version: Version,
    /// Whether upgrades to other packages are refused.
    #[serde(default)]
    pub held: bool,
    /// Who was asked: the channel that it follows, or the package, of which every version counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<PackageRef>,
    /// The ranges of the services that need it: no other version counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// What would come; none where nothing is newer, or nobody could say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Newest>,
    /// Why nobody could say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What an upgrade would bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Newest {
    /// What to upgrade to.
    pub reference: PackageRef,
    /// Its version; none where only a package that is let in would say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Its index, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Whether it would be let in.
    pub trusted: bool,
    /// Why the upgrade would be refused before anything is loaded; none where nothing speaks against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<ErrorBody>,
}

impl Client {
    /// What is newer than what runs, of these services or of all.
    ///
    /// # Errors
    /// As [`Client::services`].
    pub async fn outdated(&self, of: &[ServiceName]) -> Result<Vec<Outdated>, ClientError> {
        let names = of.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(",");
        let query = if of.is_empty() { String::new() } else { format!("?services={names}") };
        let path = format!("/v1/outdated{query}");
        self.operate("the look for newer versions".to_owned(), Method::POST, &path, &()).await
    }
}
