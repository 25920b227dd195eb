//! What this hub takes at most.

use std::time::Duration;

/// Limits on what a client may send. The defaults suit packages, which are small.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a blob.
    pub blob: u64,
    /// Bytes of a manifest (the OCI distribution-spec asks for at least 4 MiB).
    pub manifest: usize,
    /// Open upload sessions.
    pub uploads: usize,
    /// How long an unused upload session stays.
    pub upload_idle: Duration,
    /// How long a request's body may pause.
    pub body_idle: Duration,
    /// Entries of one page of tags, or of referrers, which are fewer where their annotations are long.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob: 256 << 20,
            manifest: 4 << 20,
            uploads: 1024,
            upload_idle: Duration::from_secs(3600),
            body_idle: Duration::from_secs(60),
            page: 1000,
        }
    }
}
