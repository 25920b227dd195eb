//! From a `Verified<Digest>` to a `Verified<Package>`: the digest chain index → platform manifest → layers.

use std::collections::BTreeMap;
use std::io;

use skep_spec::{Digest, Manifest};

/// A package for one platform, in memory. As `Verified<Package>` its digests were followed from a verified index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The digest of the index: what was signed, and what a reference pins.
    pub index: Digest,
    /// The digest of the platform's manifest.
    pub platform: Digest,
    /// `manifest.json`, parsed.
    pub manifest: Manifest,
    /// `manifest.json` as it was received.
    pub manifest_bytes: Vec<u8>,
    /// The BPF ELF objects by their name in the manifest.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// The README, where the package has one.
    pub readme: Option<String>,
}

/// Where blobs come from: a store, a registry's copy, a map in a test.
pub trait Blobs {
    /// The blob with this digest, or `None` if there is none. At most `limit` bytes are asked for: a longer blob may
    /// be an error. The caller checks the digest; an answer cannot be wrong in silence.
    ///
    /// # Errors
    /// When it cannot be read.
    fn blob(&self, digest: &Digest, limit: u64) -> io::Result<Option<Vec<u8>>>;
}
