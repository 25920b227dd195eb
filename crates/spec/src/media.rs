//! Media types, annotations and prefixes of the wire format (design: one constant per spelling).

/// An OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image config, which is what a package's config is.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The empty config of artifacts that have none: `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A layer: a gzipped tar of one file.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// `artifactType` of a package's platform manifest.
pub const PACKAGE: &str = "application/vnd.skep.package.v1";
/// A Sigstore bundle, as cosign v3 writes it.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// `artifactType` of a channel's manifest, whose layers are the bundles of its pointers.
pub const CHANNEL: &str = "application/vnd.skep.channel.v1";
/// `artifactType` of a manifest of kernel types, and the media type of its one layer.
pub const BTF: &str = "application/vnd.skep.btf.v1";
/// Annotation of such a manifest: the kernel's release, as `uname -r` says it.
pub const BTF_RELEASE: &str = "vnd.skep.btf.release";
/// Annotation of such a manifest: the kernel's architecture.
pub const BTF_ARCH: &str = "vnd.skep.btf.arch";
/// The payload type of an in-toto statement in a DSSE envelope.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The one predicate type that admits a package.
pub const PREDICATE_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The predicate type of a channel pointer.
pub const PREDICATE_CHANNEL: &str = "urn:skep:channel:v1";
/// The predicate type of a publisher's keys.
pub const PREDICATE_KEYS: &str = "urn:skep:keys:v1";
/// The predicate type of an SBOM.
pub const PREDICATE_SBOM: &str = "https://cyclonedx.org/bom";
/// The predicate type of provenance.
pub const PREDICATE_PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// The predicate type of a compatibility report.
pub const PREDICATE_REPORT: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// `artifactType` of a publisher's keys.
pub const KEYS: &str = "application/vnd.skep.keys.v1";
/// The tag under which registries have them beside a package (part 9 of the standard).
pub const KEYS_TAG: &str = "skep-keys";

/// Annotation: a layer's role (`object`, `manifest`, `btf`, `wasm`, `readme`, `icon`).
pub const ROLE: &str = "vnd.skep.role";
/// Annotation and label: the version of the standard, `MAJOR.MINOR`.
pub const SPEC: &str = "vnd.skep.spec";
/// Annotation: a layer's file name, or a package's name.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Annotation of an `index.json`: `publisher/name:version`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation: a package's version.
pub const VERSION: &str = "org.opencontainers.image.version";
/// Annotation: a package's licence.
pub const LICENSES: &str = "org.opencontainers.image.licenses";

/// The version of the standard that this code writes, and the highest that it reads.
pub const SPEC_VERSION: &str = "1.0";
