//! OCI documents: an index, a platform manifest, an image config. Written byte for byte as part 3 of the standard says,
//! read strictly and within limits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::json::{self, JsonError};
use crate::param::{MAX_EXACT, is_exact};
use crate::{Arch, Digest, media, schema};

/// Most bytes of an index, manifest or config.
pub const MAX_DOCUMENT: usize = 4 << 20;
/// Most manifests of an index, and most layers of a manifest.
pub const MAX_ENTRIES: usize = 256;
/// Most manifests of a list: `index.json`, or what refers to a digest.
pub const MAX_LISTED: usize = 16_384;

/// The schemas of an index, a list, a platform manifest or other manifest, and a config, by their names.
#[must_use]
pub fn schemas() -> [(&'static str, serde_json::Value); 4] {
    let codes = &[("const", "oci.kind"), ("maxItems", "oci.too-many"), ("*", "oci.document")];
    let title = "An OCI image index that is a list: index.json, or what refers to a digest";
    let mut list = schema::of::<Index>("list", title, codes);
    list["properties"]["manifests"]["maxItems"] = MAX_LISTED.into();
    [
        ("index", schema::of::<Index>("index", "An OCI image index: a package", codes)),
        ("list", list),
        (
            "image-manifest",
            schema::of::<ImageManifest>(
                "manifest",
                "An OCI manifest: a platform, or a referrer",
                codes,
            ),
        ),
        ("config", schema::of::<ImageConfig>("config", "An OCI image config of a package", &[])),
    ]
}

/// `oci-layout`: the file that makes a folder or an archive an OCI image layout (image-spec, image-layout.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    #[schemars(extend("const" = Layout::VERSION))]
    image_layout_version: String,
}

impl Layout {
    /// The file's name.
    pub const FILE: &'static str = "oci-layout";
    /// Its bytes, as they are written.
    pub const BYTES: &'static [u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
    /// The one version that there is.
    pub const VERSION: &'static str = "1.0.0";
    /// Most bytes of it that are read.
    pub const MAX: usize = 4096;

    /// Reads one, of whatever version.
    ///
    /// # Errors
    /// Not JSON, too long, or of another shape.
    pub fn read(bytes: &[u8]) -> Result<Self, JsonError> {
        json::read(bytes, Self::MAX)
    }

    /// Whether it is of the version that we read.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.image_layout_version == Self::VERSION
    }
}

/// Annotations, sorted by key.
pub type Annotations = BTreeMap<String, String>;

/// What a document points to (OCI image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the blob.
    pub media_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    #[serde(deserialize_with = "exact")]
    #[schemars(range(max = MAX_EXACT))]
    pub size: u64,
    /// In an index: what the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In a list of referrers: the manifest's `artifactType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl Descriptor {
    /// Describes `blob`.
    #[must_use]
    pub fn of(media_type: &str, blob: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(blob),
            size: blob.len() as u64,
            platform: None,
            artifact_type: None,
            annotations: Annotations::new(),
        }
    }

    /// The role of a package's layer (`object`, `manifest`, …).
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.annotations.get(media::ROLE).map(String::as_str)
    }

    /// The file name of a package's layer.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.annotations.get(media::TITLE).map(String::as_str)
    }
}

/// A platform: `linux` and a GOARCH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Platform {
    /// GOARCH.
    pub architecture: String,
    /// Always `linux` in what we write.
    pub os: String,
}

impl Platform {
    /// Linux on `arch`.
    #[must_use]
    pub fn linux(arch: Arch) -> Self {
        Self { architecture: arch.goarch().to_owned(), os: "linux".to_owned() }
    }

    /// The architecture, where it is Linux on one of ours.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        (self.os == "linux").then(|| Arch::from_goarch(&self.architecture)).flatten()
    }
}

/// An image index: one manifest per platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    #[serde(deserialize_with = "exact")]
    #[schemars(extend("const" = 2))]
    pub schema_version: i64,
    /// [`media::INDEX`], also where some old ones leave it out.
    #[serde(default = "index_type")]
    #[schemars(extend("const" = media::INDEX))]
    pub media_type: String,
    /// The manifests.
    #[schemars(length(max = MAX_ENTRIES))]
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl Index {
    /// An index of `manifests`, which are sorted by architecture.
    #[must_use]
    pub fn new(mut manifests: Vec<Descriptor>, annotations: Annotations) -> Self {
        manifests.sort_by(|a, b| platform_key(a).cmp(&platform_key(b)));
        Self { schema_version: 2, media_type: media::INDEX.to_owned(), manifests, annotations }
    }

    /// The manifest for Linux on `arch`.
    #[must_use]
    pub fn platform(&self, arch: Arch) -> Option<&Descriptor> {
        self.manifests
            .iter()
            .find(|entry| entry.platform.as_ref().and_then(Platform::arch) == Some(arch))
    }

    /// Reads an index.
    ///
    /// # Errors
    /// Not JSON, too long, another schema version or media type, too many entries.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Self::parse_within(bytes, "index", MAX_ENTRIES)
    }

    /// Reads an index that is a list: `index.json` of a layout or archive, or what refers to a digest.
    ///
    /// # Errors
    /// As [`Self::parse`], with room for more entries.
    pub fn parse_list(bytes: &[u8]) -> Result<Self, DocumentError> {
        Self::parse_within(bytes, "list", MAX_LISTED)
    }

    fn parse_within(bytes: &[u8], what: &'static str, max: usize) -> Result<Self, DocumentError> {
        let index: Self = document(bytes, what)?;
        is_of(what, index.schema_version, &index.media_type, media::INDEX)?;
        is_within(what, index.manifests.len(), max)?;
        Ok(index)
    }

    /// The bytes that are stored and whose digest is signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes(self)
    }
}

/// An integer that every reader of JSON keeps exact.
fn exact<'de, D: Deserializer<'de>, T: TryFrom<i64>>(number: D) -> Result<T, D::Error> {
    let number = i64::deserialize(number)?;
    let exact = T::try_from(number).ok().filter(|_| is_exact(number));
    exact.ok_or_else(|| D::Error::custom(format!("{number} is beyond what it may be")))
}

fn platform_key(entry: &Descriptor) -> Option<&str> {
    entry.platform.as_ref().map(|platform| platform.architecture.as_str())
}

/// An image manifest: a package for one platform, or a referrer such as a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// 2.
    #[serde(deserialize_with = "exact")]
    #[schemars(extend("const" = 2))]
    pub schema_version: i64,
    /// [`media::MANIFEST`], also where some old ones leave it out.
    #[serde(default = "manifest_type")]
    #[schemars(extend("const" = media::MANIFEST))]
    pub media_type: String,
    /// [`media::PACKAGE`] for a package, [`media::BUNDLE`] for a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config blob.
    pub config: Descriptor,
    /// The layers.
    #[schemars(length(max = MAX_ENTRIES))]
    pub layers: Vec<Descriptor>,
    /// What a referrer is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl ImageManifest {
    /// A manifest with no subject.
    #[must_use]
    pub fn new(
        artifact_type: &str,
        config: Descriptor,
        layers: Vec<Descriptor>,
        annotations: Annotations,
    ) -> Self {
        Self {
            schema_version: 2,
            media_type: media::MANIFEST.to_owned(),
            artifact_type: Some(artifact_type.to_owned()),
            config,
            layers,
            subject: None,
            annotations,
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Not JSON, too long, another schema version or media type, too many layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let manifest: Self = document(bytes, "manifest")?;
        is_of("manifest", manifest.schema_version, &manifest.media_type, media::MANIFEST)?;
        is_within("manifest", manifest.layers.len(), MAX_ENTRIES)?;
        Ok(manifest)
    }

    /// The bytes that are stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes(self)
    }

    /// The layers with a role.
    pub fn layers_with_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Descriptor> {
        self.layers.iter().filter(move |layer| layer.role() == Some(role))
    }
}

/// An ordinary image config, with no time and no history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageConfig {
    /// GOARCH.
    pub architecture: String,
    /// Holds the labels.
    #[serde(default)]
    pub config: ConfigLabels,
    /// `linux`.
    #[schemars(extend("const" = "linux"))]
    pub os: String,
    /// Digests of the layers, uncompressed.
    pub rootfs: RootFs,
}

/// The labels of an image config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigLabels {
    /// `io.ebpf.programs` and `io.ebpf.maps` as bpfman reads them, and [`media::SPEC`].
    #[serde(default, rename = "Labels")]
    pub labels: Annotations,
}

/// The uncompressed layers of an image config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RootFs {
    /// `layers`.
    #[schemars(extend("const" = "layers"))]
    pub r#type: String,
    /// One per layer, in their order.
    pub diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// A config for `arch`.
    #[must_use]
    pub fn new(arch: Arch, labels: Annotations, diff_ids: Vec<Digest>) -> Self {
        Self {
            architecture: arch.goarch().to_owned(),
            config: ConfigLabels { labels },
            os: "linux".to_owned(),
            rootfs: RootFs { r#type: "layers".to_owned(), diff_ids },
        }
    }

    /// The bytes that are stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes(self)
    }
}

/// Why bytes are not an OCI document that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of this shape.
    #[error("the {what} cannot be read")]
    Json {
        /// `index`, `list` or `manifest`.
        what: &'static str,
        /// What is wrong with it.
        source: JsonError,
    },
    /// Another kind of document.
    #[error("the {what} has {field} {found}, it should be {wanted}")]
    Kind {
        /// `index`, `list` or `manifest`.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        wanted: String,
    },
    /// Too many manifests or layers.
    #[error("the {what} lists {found} entries, more than the {max} allowed")]
    TooMany {
        /// `index`, `list` or `manifest`.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many it may.
        max: usize,
    },
}

impl DocumentError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json { source, .. } => source.code("oci.document"),
            Self::Kind { .. } => "oci.kind",
            Self::TooMany { .. } => "oci.too-many",
        }
    }
}

fn index_type() -> String {
    media::INDEX.to_owned()
}

fn manifest_type() -> String {
    media::MANIFEST.to_owned()
}

fn document<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T, DocumentError> {
    json::read(bytes, MAX_DOCUMENT).map_err(|source| DocumentError::Json { what, source })
}

fn is_of(
    what: &'static str,
    version: i64,
    media_type: &str,
    wanted: &str,
) -> Result<(), DocumentError> {
    let kind = |field, found: String, wanted: String| {
        Err(DocumentError::Kind { what, field, found, wanted })
    };
    if version != 2 {
        return kind("schemaVersion", version.to_string(), "2".to_owned());
    }
    if media_type != wanted {
        return kind("mediaType", format!("'{media_type}'"), format!("'{wanted}'"));
    }
    Ok(())
}

fn is_within(what: &'static str, found: usize, max: usize) -> Result<(), DocumentError> {
    if found > max { Err(DocumentError::TooMany { what, found, max }) } else { Ok(()) }
}

/// Without whitespace, fields in the order of the structs: image-spec order.
fn bytes<T: Serialize>(document: &T) -> Vec<u8> {
    // Maps have string keys and nothing else can fail to serialise.
    serde_json::to_vec(document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_index_is_written_as_the_standard_shows_it() {
        let entry = |arch, text: &str| Descriptor {
            platform: Some(Platform::linux(arch)),
            ..Descriptor::of(media::MANIFEST, text.as_bytes())
        };
        let marks = annotations(&[
            (media::TITLE, "acme/exec"),
            (media::VERSION, "1.2.0"),
            (media::SPEC, "1.0"),
        ]);
        let index = Index::new(vec![entry(Arch::Aarch64, "b"), entry(Arch::X86_64, "a")], marks);
        let text = String::from_utf8(index.to_bytes()).unwrap();
        insta::assert_snapshot!(text, @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","size":1,"platform":{"architecture":"amd64","os":"linux"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d","size":1,"platform":{"architecture":"arm64","os":"linux"}}],"annotations":{"org.opencontainers.image.title":"acme/exec","org.opencontainers.image.version":"1.2.0","vnd.skep.spec":"1.0"}}"#);
        assert_eq!(Index::parse(&index.to_bytes()).unwrap(), index);
    }

    #[test]
    fn another_kind_of_document_is_refused() {
        let error = Index::parse(br#"{"schemaVersion":1,"manifests":[]}"#).unwrap_err();
        assert_eq!(error.to_string(), "the index has schemaVersion 1, it should be 2");
        let error =
            Index::parse(br#"{"schemaVersion":2,"mediaType":"x","manifests":[]}"#).unwrap_err();
        assert!(error.to_string().contains("mediaType 'x'"), "{error}");
        assert!(Index::parse(br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#).is_err());
    }
}
