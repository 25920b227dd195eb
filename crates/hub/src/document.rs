//! Manifests and indexes of any kind, as far as a registry must understand them.
//!
//! The registry keeps the bytes as they came; this is only what it reads in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_spec::json::{self, JsonError};
use skep_spec::media;
use skep_spec::oci::MAX_DOCUMENT;

use crate::digest::Digest;

/// Most layers of a manifest, and most manifests of an index.
const MAX_DESCRIPTORS: usize = 1000;
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a manifest or index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its media type.
    pub media_type: String,
    /// What the referrers API calls it: `artifactType`, or the config's type where there is none.
    pub artifact_type: Option<String>,
    /// The manifest that this one is about.
    pub subject: Option<Digest>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What it is made of.
    pub parts: Parts,
}

/// What a document is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parts {
    /// A manifest: blobs.
    Blobs {
        /// The config.
        config: Descriptor,
        /// The layers, in order.
        layers: Vec<Descriptor>,
    },
    /// An index: manifests.
    Manifests(Vec<Descriptor>),
}

/// A content descriptor (OCI image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub size: u64,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform that the content is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// The part of a platform that packages use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
}

/// Why bytes are not a manifest that this registry takes.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON of this shape.
    #[error("the manifest is not readable: {0}")]
    Json(#[from] JsonError),
    /// `Content-Type` and `mediaType` differ.
    #[error("Content-Type says {header} and mediaType {field}: they must be the same")]
    Disagree {
        /// The header.
        header: String,
        /// The field.
        field: String,
    },
    /// A media type that is neither OCI's nor Docker's.
    #[error(
        "the media type '{0}' is not taken: use an OCI image manifest or index, or Docker's version 2"
    )]
    MediaType(String),
    /// Another schema.
    #[error("schemaVersion is {0}, it must be 2")]
    Schema(u32),
    /// Too many descriptors.
    #[error("it lists {0} parts, at most {MAX_DESCRIPTORS} are taken")]
    TooMany(usize),
    /// A manifest without config, or an index without manifests.
    #[error("it has no '{0}'")]
    Lacks(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Reads `bytes` that came with the media type `content_type`.
    ///
    /// # Errors
    /// When they are not a manifest or index that this registry takes.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, DocumentError> {
        let raw: Raw = json::read(bytes, MAX_DOCUMENT)?;
        if raw.schema_version != 2 {
            return Err(DocumentError::Schema(raw.schema_version));
        }
        let media_type = media_type(content_type, raw.media_type.as_deref())?;
        let (parts, fallback) = match media_type.as_str() {
            media::INDEX | DOCKER_LIST => {
                (Parts::Manifests(raw.manifests.ok_or(DocumentError::Lacks("manifests"))?), None)
            }
            media::MANIFEST | DOCKER_MANIFEST => {
                let config = raw.config.ok_or(DocumentError::Lacks("config"))?;
                let kind = config.media_type.clone();
                let layers = raw.layers.ok_or(DocumentError::Lacks("layers"))?;
                (Parts::Blobs { config, layers }, Some(kind))
            }
            _ => return Err(DocumentError::MediaType(media_type)),
        };
        let named = raw.artifact_type.filter(|kind| !kind.is_empty());
        let document = Self {
            media_type,
            artifact_type: named.or(fallback),
            subject: raw.subject.map(|subject| subject.digest),
            annotations: raw.annotations.unwrap_or_default(),
            parts,
        };
        match document.references().count() {
            count if count > MAX_DESCRIPTORS + 1 => Err(DocumentError::TooMany(count)),
            _ => Ok(document),
        }
    }

    /// The digests of its parts.
    pub fn references(&self) -> impl Iterator<Item = &Digest> {
        let (first, rest) = match &self.parts {
            Parts::Blobs { config, layers } => (Some(config), layers),
            Parts::Manifests(manifests) => (None, manifests),
        };
        first.into_iter().chain(rest).map(|part| &part.digest)
    }

    /// The digests of the parts that must be here: all but layers that are meant to be got elsewhere.
    pub fn required(&self) -> impl Iterator<Item = &Digest> {
        let elsewhere: Vec<&Digest> = match &self.parts {
            Parts::Blobs { layers, .. } => layers
                .iter()
                .filter(|layer| layer.is_elsewhere())
                .map(|layer| &layer.digest)
                .collect(),
            Parts::Manifests(_) => Vec::new(),
        };
        self.references().filter(move |digest| !elsewhere.contains(digest))
    }
}

impl Descriptor {
    /// Whether registries need not have it: OCI's non-distributable layers, Docker's foreign ones.
    fn is_elsewhere(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

fn media_type(header: Option<&str>, field: Option<&str>) -> Result<String, DocumentError> {
    let header = header.map(|text| text.split(';').next().unwrap_or_default().trim());
    match (header.filter(|text| !text.is_empty()), field) {
        (Some(header), Some(field)) if header != field => {
            Err(DocumentError::Disagree { header: header.into(), field: field.into() })
        }
        (_, Some(kind)) | (Some(kind), None) => Ok(kind.to_owned()),
        (None, None) => Err(DocumentError::MediaType(String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &str = r#"{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

    fn parse(json: &str, header: &str) -> Result<Document, DocumentError> {
        Document::parse(json.replace("PART", PART).as_bytes(), Some(header))
    }

    #[test]
    fn a_manifest_without_artifact_type_is_known_by_its_config() {
        let json = r#"{"schemaVersion":2,"config":PART,"layers":[PART],"subject":PART}"#;
        let document = parse(json, media::MANIFEST).unwrap();
        assert_eq!(document.artifact_type.as_deref(), Some("a/b"));
        assert_eq!(document.references().count(), 2);
        assert!(document.subject.is_some());
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_reason() {
        let many = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            vec![PART; MAX_DESCRIPTORS + 2].join(",")
        );
        let cases = [
            ("[]", media::INDEX, "not readable"),
            (r#"[2,"a/b"]"#, media::INDEX, "not readable"),
            (r#"{"schemaVersion":2,"manifests":[["a/b"]]}"#, media::INDEX, "not readable"),
            (r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#, media::INDEX, "twice"),
            ("{\"schemaVersion\":2,\"config\":7}", media::MANIFEST, "not readable"),
            (r#"{"schemaVersion":1,"manifests":[]}"#, media::INDEX, "schemaVersion is 1"),
            (r#"{"schemaVersion":2}"#, media::INDEX, "no 'manifests'"),
            (r#"{"schemaVersion":2,"layers":[]}"#, media::MANIFEST, "no 'config'"),
            (r#"{"schemaVersion":2}"#, "text/html", "'text/html' is not taken"),
            (r#"{"schemaVersion":2,"mediaType":"x/y"}"#, media::INDEX, "must be the same"),
            (&many, media::INDEX, "at most 1000"),
        ];
        for (json, header, reason) in cases {
            let error = parse(json, header).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
