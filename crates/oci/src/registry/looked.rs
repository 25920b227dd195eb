//! What the last look at a package brought. What is pulled after it is what was looked at, and need not come again.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use skep_spec::Digest;
use skep_spec::oci::{Descriptor, MAX_DOCUMENT};

use super::Registry;

/// The last look.
#[derive(Default)]
pub(super) struct Looked {
    index: Option<(Digest, Vec<u8>)>,
    /// What was said to refer to it.
    listed: Option<(Digest, Vec<Descriptor>)>,
    /// The registry said that it has no referrers API.
    no_api: bool,
    /// Of what refers to it, by digest.
    documents: BTreeMap<Digest, Vec<u8>>,
    bytes: usize,
}

impl Registry {
    fn look(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look at another index begins.
    pub(super) fn looks_at(&self, digest: Digest, index: Vec<u8>) {
        let no_api = self.look().no_api;
        *self.look() = Looked { index: Some((digest, index)), no_api, ..Looked::default() };
    }

    /// The index that was looked up last, if it has this digest.
    pub(super) fn looked_up(&self, digest: &Digest) -> Option<Vec<u8>> {
        let look = self.look();
        look.index.as_ref().filter(|(found, _)| found == digest).map(|(_, bytes)| bytes.clone())
    }

    pub(super) fn keep_list(&self, subject: Digest, listed: &[Descriptor]) {
        self.look().listed = Some((subject, listed.to_vec()));
    }

    /// What was said to refer to a digest, if that was looked at last.
    pub(super) fn listed(&self, subject: &Digest) -> Option<Vec<Descriptor>> {
        let look = self.look();
        look.listed.as_ref().filter(|(found, _)| found == subject).map(|(_, listed)| listed.clone())
    }

    pub(super) fn says_no_api(&self) {
        self.look().no_api = true;
    }

    pub(super) fn has_no_api(&self) -> bool {
        self.look().no_api
    }

    /// Keeps a document that was held against its digest, as long as there is room.
    pub(super) fn keep_document(&self, digest: Digest, bytes: &[u8]) {
        let mut look = self.look();
        if look.bytes + bytes.len() <= MAX_DOCUMENT {
            look.bytes += bytes.len();
            look.documents.insert(digest, bytes.to_vec());
        }
    }

    /// A document that came with the last look.
    pub(super) fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.look().documents.get(digest).cloned()
    }
}
