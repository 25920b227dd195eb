//! Bytes to a manifest and back.

use super::Manifest;
use crate::media;

/// Most bytes of a manifest.
pub const MAX_MANIFEST: usize = 1 << 20;

/// Why bytes are not a manifest that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON.
    #[error("manifest.json cannot be read")]
    Json(#[source] crate::json::JsonError),
    /// A key of the standard with what it does not take.
    #[error("manifest.json is not as it should be: {why}")]
    Broken {
        /// The standard's code.
        code: &'static str,
        /// What is wrong, and where.
        why: String,
    },
    /// Written for a later standard.
    #[error(
        "manifest.json is written for version {found} of the standard, this program reads up to {}",
        media::SPEC_VERSION
    )]
    Later {
        /// The version that it names.
        found: String,
    },
    /// No version of the standard.
    #[error("manifest.json has spec '{0}', which is not MAJOR.MINOR")]
    Spec(String),
    /// It needs a reader that knows this key.
    #[error("manifest.json says that the key '{0}' is critical, and this program does not know it")]
    Critical(String),
}

impl ManifestError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code("manifest.value"),
            Self::Broken { code, .. } => code,
            Self::Later { .. } => "manifest.later",
            Self::Spec(_) => "manifest.spec",
            Self::Critical(_) => "manifest.critical",
        }
    }
}

impl Manifest {
    /// Reads `manifest.json`: unknown keys are ignored unless they are critical.
    ///
    /// # Errors
    /// Too long, not JSON, a key twice, a wrong type, a later major version, an unknown critical key.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let value = crate::json::parse_exact(bytes, MAX_MANIFEST).map_err(ManifestError::Json)?;
        let not = |code, why: String| ManifestError::Broken { code, why };
        let serde_json::Value::Object(members) = &value else {
            return Err(not("manifest.type", "it should be an object".to_owned()));
        };
        Self::readable(members)?;
        crate::source::hold(members).map_err(|broken| not(broken.code.as_str(), broken.why))?;
        crate::json::typed(value).map_err(ManifestError::Json)
    }

    /// The bytes that are packed: RFC 8785, so equal manifests have equal digests.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // Strings, integers and maps with string keys: nothing in a manifest can fail to serialise.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }

    /// What a later version of the standard may have changed is looked at first.
    fn readable(members: &serde_json::Map<String, serde_json::Value>) -> Result<(), ManifestError> {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        if let Some(spec) = members.get("spec").and_then(text) {
            let found = major(&spec).ok_or_else(|| ManifestError::Spec(spec.clone()))?;
            if Some(found) > major(media::SPEC_VERSION) {
                return Err(ManifestError::Later { found: spec });
            }
        }
        let critical = members.get("critical").and_then(serde_json::Value::as_array);
        let mut keys = critical.into_iter().flatten().filter_map(text);
        keys.find(|key| !crate::source::knows(key))
            .map_or(Ok(()), |key| Err(ManifestError::Critical(key)))
    }
}

/// The major of `MAJOR.MINOR`, each of any number of digits.
fn major(text: &str) -> Option<u32> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (major, minor) = text.split_once('.')?;
    (is_number(major) && is_number(minor)).then(|| major.parse().unwrap_or(u32::MAX))
}
