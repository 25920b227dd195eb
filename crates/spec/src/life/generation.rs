//! A generation, written down.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::json::{self, JsonError};
use crate::param::MAX_EXACT;
use crate::{Digest, PackageName, Version, schema};

/// One (index digest, platform digest, parameters) of a service, and what they are of: immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// From 1, never used twice.
    #[serde(deserialize_with = "from_one")]
    #[schemars(range(min = 1, max = MAX_EXACT))]
    pub number: u64,
    /// The package's name.
    pub package: PackageName,
    /// The package's version.
    pub version: Version,
    /// Digest of the package's index, by which its bytes are found again.
    pub index: Digest,
    /// Digest of the manifest for this machine.
    pub platform: Digest,
    /// Parameters as the operator gave them.
    pub params: BTreeMap<String, String>,
}

impl Generation {
    /// The code of JSON that is no generation.
    pub const CODE: &str = "life.generation";

    /// Reads one; members that it does not have are ignored.
    ///
    /// # Errors
    /// It is no JSON of at most 1 MiB, or no generation.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::read(bytes, 1 << 20)
    }

    /// The schema of the document.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schema::of::<Self>("generation", "A generation of a service", &[("*", Self::CODE)])
    }
}

fn from_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(D::Error::custom("numbers of generations begin with 1")),
        number if number > MAX_EXACT.unsigned_abs() => {
            Err(D::Error::custom("the number is beyond 2^53 - 1"))
        }
        number => Ok(number),
    }
}
