//! What refers to a package in a registry, above all signature bundles: the referrers API, or the fallback tag where there is none.

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, StatusCode};
use skep_spec::oci::{Descriptor, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Digest, PackageRef, chain, media};
use skep_trust::bundle::BUNDLE_MAX;

use super::error::RegistryError;
use super::http::Body;
use super::mirrors::By;
use super::{OURS, Read, Registry};
use crate::signatures::{REFERRERS_MAX, is_bundle_of};

/// Most pages of a list of referrers that are followed.
const PAGES_MAX: usize = 16;
/// Most bytes of all bundles of one digest together.
const BUNDLES_TOTAL_MAX: u64 = BUNDLE_MAX as u64;

/// What is said to refer to a digest.
pub(super) struct Listed {
    pub entries: Vec<Descriptor>,
    /// There is more, which nobody follows.
    pub goes_on: bool,
}

impl Registry {
    /// The signature bundles that refer to `subject`, an index's or manifest's digest. None is no error; any other
    /// answer than "none" is.
    ///
    /// At most 64 candidates are looked at and 1 MiB of bundles taken: the rest is left, so that nobody who may write
    /// to the registry can make a node read without end. Where something is left and no bundle was found, that is not "none".
    ///
    /// # Errors
    /// When the registry does not answer as it should, or nobody can tell whether there is any.
    pub async fn bundles(
        &self,
        reference: &PackageRef,
        subject: Digest,
    ) -> Result<Vec<Vec<u8>>, RegistryError> {
        let action = format!("look for signatures of {}", reference.at(subject));
        let repository = reference.repository();
        let Listed { entries, goes_on } = self.candidates(&action, &repository, subject).await?;
        self.keep_list(subject, &entries);
        let mut bundles = Vec::new();
        let mut room = BUNDLES_TOTAL_MAX;
        let mut candidates = entries.iter().filter(|entry| may_be_bundle(entry));
        for entry in candidates.by_ref().take(REFERRERS_MAX) {
            let bundle = self.bundle(&action, &repository, entry, subject, room).await?;
            room -= bundle.as_ref().map_or(0, |bundle| bundle.len() as u64);
            bundles.extend(bundle);
        }
        match bundles.is_empty() && (goes_on || candidates.next().is_some()) {
            true => Err(RegistryError::Flooded { action, registry: self.host().to_owned() }),
            false => Ok(bundles),
        }
    }

    /// What is said to refer to `subject`.
    pub(super) async fn candidates(
        &self,
        action: &str,
        repository: &str,
        subject: Digest,
    ) -> Result<Listed, RegistryError> {
        if !self.has_no_api()
            && let Some(listed) = self.referrers(action, repository, subject).await?
        {
            return Ok(listed);
        }
        self.says_no_api();
        let entries = self.fallback(action, repository, subject).await?.manifests;
        Ok(Listed { entries, goes_on: false })
    }

    /// A manifest that a list names, if it is there and refers to `subject`: a list may name what is gone or is something
    /// else.
    pub(super) async fn referrer(
        &self,
        action: &str,
        repository: &str,
        entry: &Descriptor,
        subject: Digest,
    ) -> Result<Option<(ImageManifest, Vec<u8>)>, RegistryError> {
        let bytes = match self.document(&entry.digest) {
            Some(bytes) => Some(bytes),
            None => self.manifest_by_digest(action, repository, &entry.digest, &OURS).await?,
        };
        let parsed = bytes.and_then(|bytes| Some((ImageManifest::parse(&bytes).ok()?, bytes)));
        let refers = |manifest: &ImageManifest| {
            manifest.subject.as_ref().is_some_and(|found| found.digest == subject)
        };
        Ok(parsed.filter(|(manifest, _)| refers(manifest)))
    }

    /// What the referrers API lists; `None` where the registry has no such API.
    pub(super) async fn referrers(
        &self,
        action: &str,
        repository: &str,
        subject: Digest,
    ) -> Result<Option<Listed>, RegistryError> {
        let mut path = format!("/v2/{repository}/referrers/{subject}");
        let mut entries = Vec::new();
        for page in 0..PAGES_MAX {
            let answer = self.read(Read {
                action,
                repository,
                path: path.clone(),
                accept: media::INDEX,
                body: Body::AtMost(MAX_DOCUMENT as u64),
                method: Method::GET,
                by: By::Referrers,
            });
            let answer = answer.await?;
            if answer.status == StatusCode::NOT_FOUND && page == 0 {
                return Ok(None);
            }
            if answer.status == StatusCode::NOT_FOUND {
                return Err(self.not_found(action));
            }
            let index = self.list_of(action, &answer.body)?;
            entries.extend(index.manifests);
            match self.next_page(action, &answer.headers)? {
                Some(next) if entries.len() < REFERRERS_MAX => path = next,
                next => return Ok(Some(Listed { entries, goes_on: next.is_some() })),
            }
        }
        Ok(Some(Listed { entries, goes_on: true }))
    }

    /// The list under the fallback tag; empty where there is no such tag.
    pub(super) async fn fallback(
        &self,
        action: &str,
        repository: &str,
        subject: Digest,
    ) -> Result<Index, RegistryError> {
        match self.manifest(action, repository, &fallback_tag(&subject), By::Referrers).await? {
            Some(bytes) => self.list_of(action, &bytes),
            None => Ok(Index::new(Vec::new(), Default::default())),
        }
    }

    fn list_of(&self, action: &str, bytes: &[u8]) -> Result<Index, RegistryError> {
        let refuse =
            |e| self.http.misbehaves(action, format!("its list of referrers: {}", chain(&e)));
        Index::parse_list(bytes).map_err(refuse)
    }

    /// Where a list goes on. A `Link` may name another path, never another registry.
    pub(super) fn next_page(
        &self,
        action: &str,
        headers: &HeaderMap,
    ) -> Result<Option<String>, RegistryError> {
        let link = headers.get(LINK).and_then(|link| next_page(link.to_str().ok()?));
        let Some(link) = link else { return Ok(None) };
        let base = self.http.url("/")?;
        let next = base.join(&link).ok().filter(|url| url.origin() == base.origin());
        let why = || "its list goes on at another registry".to_owned();
        let next = next.ok_or_else(|| self.http.misbehaves(action, why()))?;
        let query = next.query().map_or_else(String::new, |query| format!("?{query}"));
        Ok(Some(format!("{}{query}", next.path())))
    }

    async fn bundle(
        &self,
        action: &str,
        repository: &str,
        entry: &Descriptor,
        subject: Digest,
        room: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let manifest = self.referrer(action, repository, entry, subject).await?;
        let Some((manifest, bytes)) = manifest else { return Ok(None) };
        self.keep_document(entry.digest, &bytes);
        match manifest.layers.first() {
            Some(layer) if is_bundle_of(&manifest, subject) && layer.size <= room => {
                let bundle = self.blob(action, repository, &layer.digest, layer.size).await?;
                bundle.iter().for_each(|bundle| self.keep_document(layer.digest, bundle));
                Ok(bundle)
            }
            _ => Ok(None),
        }
    }
}

/// Descriptors say the artifact type, or nothing (older registries), or the config's type: the manifest decides.
fn may_be_bundle(entry: &Descriptor) -> bool {
    entry.media_type == media::MANIFEST
        && matches!(entry.artifact_type.as_deref(), None | Some("" | media::BUNDLE))
}

/// The tag that lists referrers where there is no API (distribution-spec, "Referrers Tag Schema").
pub(super) fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The address in `<…>; rel="next"` (RFC 8288).
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next =
            parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_a_link() {
        assert_eq!(next_page(r#"</v2/a?n=1>; rel="next""#).as_deref(), Some("/v2/a?n=1"));
        assert_eq!(next_page(r#"</a>; rel="prev", </b>; rel=next"#).as_deref(), Some("/b"));
        assert_eq!(next_page(r#"</a>; rel="prev""#), None);
        assert_eq!(next_page("nothing"), None);
    }
}
