//! Why a package is refused on the way from its digest to its objects.

use std::io;

use skep_spec::manifest::ManifestError;
use skep_spec::oci::DocumentError;
use skep_spec::{Arch, Digest, PackageName, Version, media};

use crate::layer::LayerError;

/// Why a verified digest is not a package that may be used here.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// A blob cannot be read.
    #[error("cannot read the {what} {digest} of the package")]
    Read {
        /// `index`, `manifest`, `object layer` …
        what: &'static str,
        /// Which.
        digest: Digest,
        /// Why not.
        source: io::Error,
    },
    /// A blob is not there.
    #[error("the {what} {digest} of the package is missing: pull it again")]
    Missing {
        /// What it is.
        what: &'static str,
        /// Which.
        digest: Digest,
    },
    /// A blob has other bytes than its digest says.
    #[error(
        "the {what} {digest} of the package was altered: its bytes have the digest {found}; pull it again"
    )]
    Altered {
        /// What it is.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A blob has another size than its descriptor says, or a descriptor names one that is too large.
    #[error("the {what} {digest} of the package has {found} bytes, and {expected} were to be")]
    Size {
        /// What it is.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// What its descriptor says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A blob is larger than packages may have.
    #[error("the {what} of the package has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Bytes that it has.
        size: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// The index or platform manifest is no OCI document.
    #[error("the {what} {digest} is no part of a package")]
    Document {
        /// What it is.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: Box<DocumentError>,
    },
    /// The platform manifest is of something else.
    #[error(
        "{digest} is not a skep package: its artifactType is '{found}', expected '{}'",
        media::PACKAGE
    )]
    NotAPackage {
        /// The manifest.
        digest: Digest,
        /// What it says.
        found: String,
    },
    /// A descriptor says that it is something else.
    #[error("the {what} {digest} has the media type '{found}', expected '{expected}'")]
    Kind {
        /// What it is.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// What is said of it.
        found: String,
        /// What a package has.
        expected: &'static str,
    },
    /// Nothing for this architecture.
    #[error("the package has nothing for {arch}: it has {}", has.join(", "))]
    NoPlatform {
        /// The architecture.
        arch: Arch,
        /// What it has, as OCI spells platforms.
        has: Vec<String>,
    },
    /// A layer is not one file.
    #[error("the {what} {digest} of the package cannot be unpacked")]
    Layer {
        /// What it is.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: LayerError,
    },
    /// The manifest layer is not there exactly once, or there are too many objects.
    #[error("the package has {found} {what} layers, expected {expected}")]
    Layers {
        /// The role.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many should be.
        expected: String,
    },
    /// `manifest.json` is not one.
    #[error("the package's manifest.json cannot be used")]
    Manifest(#[source] ManifestError),
    /// Another package than was asked for.
    #[error(
        "asked for {asked} and got {found}: the package is not what its reference says, refused"
    )]
    Name {
        /// What was asked for.
        asked: PackageName,
        /// What the manifest says.
        found: PackageName,
    },
    /// Another version than was asked for.
    #[error(
        "asked for {name} {asked} and got {found}: the package is not what its reference says, refused"
    )]
    Version {
        /// The package.
        name: PackageName,
        /// What was asked for.
        asked: Version,
        /// What the manifest says.
        found: Version,
    },
    /// An object that manifest.json names and no layer holds.
    #[error(
        "manifest.json names the object '{name}' with {digest} for {arch}, and no layer holds it"
    )]
    NoObject {
        /// Its name.
        name: String,
        /// The architecture.
        arch: Arch,
        /// Its digest, uncompressed.
        digest: Digest,
    },
    /// An object without a digest for this architecture.
    #[error("manifest.json has no digest of the object '{name}' for {arch}")]
    NoDigest {
        /// Its name.
        name: String,
        /// The architecture.
        arch: Arch,
    },
    /// An object layer that manifest.json does not name.
    #[error("the package holds an object {digest} that manifest.json does not name for {arch}")]
    Unnamed {
        /// The architecture.
        arch: Arch,
        /// Its digest, uncompressed.
        digest: Digest,
    },
    /// The README is not text.
    #[error("the package's README is not UTF-8")]
    Readme,
}

impl AdmitError {
    /// The standard's code; none where the place of the blobs failed.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Read { .. } => return None,
            Self::Missing { .. } => "oci.missing",
            Self::Altered { .. } => "oci.altered",
            Self::Size { .. } => "oci.size",
            Self::TooLarge { .. } => "oci.too-large",
            Self::Document { source, .. } => source.code(),
            Self::NotAPackage { .. } => "oci.not-a-package",
            Self::Kind { .. } => "oci.kind",
            Self::NoPlatform { .. } => "oci.no-platform",
            Self::Layer { source, .. } => source.code(),
            Self::Layers { .. } => "oci.layers",
            Self::Manifest(source) => source.code(),
            Self::Name { .. } => "oci.name",
            Self::Version { .. } => "oci.version",
            Self::NoObject { .. } | Self::NoDigest { .. } | Self::Unnamed { .. } => "oci.object",
            Self::Readme => "oci.readme",
        })
    }
}
