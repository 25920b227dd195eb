//! Who signed a package, and whether that is enough: keys, signature bundles, `trust.toml`, and the one way to
//! a [`Verified`] package.
//!
//! Pure: no I/O, no environment, and no clock but for certificates: a log entry of the future is refused. The order is digest, signature, parsing: [`verify()`] turns a digest and
//! its signature bundles into a `Verified<Digest>` by the rules of a [`Policy`]; [`admit()`] follows the digest
//! chain from there and yields a `Verified<Package>`. Nothing of a package is parsed before that.

pub mod admit;
pub mod archive;
mod at_once;
pub mod attestation;
pub mod bundle;
pub mod channel;
pub mod key;
mod keyless;
pub mod layer;
pub mod policy;
pub mod rotation;
pub mod time;
mod ustar;
pub mod verified;
pub mod verify;
pub mod ways;

pub use admit::{AdmitError, Blobs, Package, admit, check};
pub use key::{KeyId, PublicKey, SecretKey};
pub use policy::Policy;
pub use verified::{Origin, Verified};
pub use verify::{Asked, By, TrustError, verify, verify_or_allow};

/// The schemas of `trust.toml`, bundles, statements and their predicates, by their names.
#[must_use]
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    let mut all = vec![
        ("trust", policy::schema()),
        ("channel", channel::schema()),
        ("keys", rotation::schema()),
        ("report", attestation::schema()),
        ("oci-layout", archive::schema()),
    ];
    all.extend(bundle::schemas());
    all
}
