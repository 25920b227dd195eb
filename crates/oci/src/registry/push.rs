//! Pushing a package: blobs, platform manifests, the index, its signatures, and the tag last, so that whoever follows
//! the tag finds everything.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, StatusCode, Url};
use skep_spec::oci::{Descriptor, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Digest, PackageRef, chain, media};
use skep_trust::admit::LAYER_MAX;

use super::error::RegistryError;
use super::http::{Answer, Body, Get};
use super::referrers::fallback_tag;
use super::{Registry, announced};
use crate::signatures::{
    EMPTY, artifact_type, is_bundle_of, referrer, referrers, subject_descriptors,
};
use crate::store::Store;

/// What is said of a blob that is sent.
const BLOB: &str = "application/octet-stream";
/// Most bytes that are read of the answer to an upload.
const ANSWER_MAX: u64 = 64 * 1024;
/// How often the fallback tag is written until it keeps what was written: others may write it at the same time.
const TAG_TRIES: usize = 8;

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Blobs that the registry did not have.
    pub blobs: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Signature bundles of the index, attestations among them.
    pub signatures: usize,
    /// What else refers to the index.
    pub others: usize,
}

impl Registry {
    /// Pushes the package whose index has `digest` in `store`, with its signatures, and tags it with the reference's
    /// version.
    ///
    /// # Errors
    /// When the reference names no version or another name or version than the package has, the layout is not whole,
    /// or the registry does not take something. The tag is not moved then.
    pub async fn push(
        &self,
        store: &Store,
        digest: Digest,
        reference: &PackageRef,
    ) -> Result<Pushed, RegistryError> {
        let action = format!("push {reference}");
        let version = reference.version.as_ref();
        let version = version.ok_or_else(|| RegistryError::NoVersion(reference.to_string()))?;
        let bytes = store.require(&digest, MAX_DOCUMENT as u64)?;
        let index = self.own_index(&action, &bytes, reference)?;
        has_platforms(&action, store, &index)?;
        self.progress().expect(size(store, &index));
        let repository = reference.repository();
        let push = self.pusher(&repository, &action).await?;
        let mut pushed = Pushed::default();
        for entry in &index.manifests {
            push.platform(store, entry, &mut pushed).await?;
        }
        push.manifest(&digest.to_string(), media::INDEX, bytes.clone()).await?;
        for subject in subject_descriptors(&bytes).map_err(|e| self.layout(&action, &e))? {
            for (manifest, bytes) in referrers(store, subject.digest)? {
                push.referrer(store, &manifest, bytes, &mut pushed).await?;
                if subject.digest == digest {
                    let is_bundle = is_bundle_of(&manifest, digest);
                    pushed.signatures += usize::from(is_bundle);
                    pushed.others += usize::from(!is_bundle);
                }
            }
        }
        push.manifest(&version.tag(), media::INDEX, bytes).await?;
        Ok(pushed)
    }

    /// Attaches a bundle to an index, given by its bytes, and each of its platform manifests, which are all in the
    /// registry.
    ///
    /// # Errors
    /// When the bytes are no index, or the registry does not take something.
    pub async fn attach_bundle(
        &self,
        reference: &PackageRef,
        index: &[u8],
        bundle: &[u8],
    ) -> Result<(), RegistryError> {
        let action = format!("attach a signature to {}", reference.at(Digest::of(index)));
        let repository = reference.repository();
        let push = self.pusher(&repository, &action).await?;
        push.blob(&Digest::of(EMPTY), EMPTY.to_vec(), &mut Pushed::default()).await?;
        push.blob(&Digest::of(bundle), bundle.to_vec(), &mut Pushed::default()).await?;
        for subject in subject_descriptors(index).map_err(|e| self.layout(&action, &e))? {
            push.refer(referrer(bundle, &subject), subject.digest).await?;
        }
        Ok(())
    }

    /// The index, if it is of the package that the reference names: a push never renames.
    fn own_index(
        &self,
        action: &str,
        bytes: &[u8],
        reference: &PackageRef,
    ) -> Result<Index, RegistryError> {
        let index = Index::parse(bytes).map_err(|e| self.layout(action, &e))?;
        let title = index.annotations.get(media::TITLE).map(String::as_str);
        let version = index.annotations.get(media::VERSION).map(String::as_str);
        let asked = reference.version.as_ref().map(ToString::to_string);
        if title != Some(reference.name.as_str()) || version != asked.as_deref() {
            let found = format!("{}:{}", title.unwrap_or("?"), version.unwrap_or("?"));
            let reference = reference.to_string();
            return Err(RegistryError::AnotherPackage { reference, found });
        }
        Ok(index)
    }

    fn layout(&self, action: &str, error: &dyn std::error::Error) -> RegistryError {
        RegistryError::Layout { action: action.to_owned(), why: chain(error) }
    }

    /// What pushes, and asks no mirror what is there.
    pub(super) async fn pusher<'a>(
        &self,
        repository: &'a str,
        action: &'a str,
    ) -> Result<Pusher<'a>, RegistryError> {
        let registry = self.without_mirrors();
        let known = registry.auth.before_push(&registry.http, repository, action).await?;
        let authorization = known.map(|known| known.header());
        Ok(Pusher { registry, authorization, repository, action })
    }
}

/// That a package can be pushed as far as a layout goes: one that was taken out of a bundle may have some platforms only.
///
/// # Errors
/// Some are not there, or its index cannot be read.
pub fn is_whole(
    store: &Store,
    digest: Digest,
    reference: &PackageRef,
) -> Result<(), RegistryError> {
    let action = format!("push {reference}");
    let bytes = store.require(&digest, MAX_DOCUMENT as u64)?;
    let layout = |why| RegistryError::Layout { action: action.clone(), why };
    let index = Index::parse(&bytes).map_err(|error| layout(chain(&error)))?;
    has_platforms(&action, store, &index)
}

fn has_platforms(action: &str, store: &Store, index: &Index) -> Result<(), RegistryError> {
    let is_here = |entry: &&Descriptor| store.has(&entry.digest);
    let named = |entry: &Descriptor| {
        let platform = entry.platform.as_ref();
        platform.map(|platform| format!("{}/{}", platform.os, platform.architecture))
    };
    let here: Vec<&Descriptor> = index.manifests.iter().filter(is_here).collect();
    if here.is_empty() || here.len() == index.manifests.len() {
        return Ok(());
    }
    let (action, here) = (action.to_owned(), here.into_iter().filter_map(named).collect());
    Err(RegistryError::Partial { action, here })
}

/// Bytes of all layers and configs.
fn size(store: &Store, index: &Index) -> u64 {
    let document = |digest| store.read(digest, MAX_DOCUMENT as u64).ok().flatten();
    let manifests = index.manifests.iter().filter_map(|entry| document(&entry.digest));
    let manifests = manifests.filter_map(|bytes| ImageManifest::parse(&bytes).ok());
    let sizes = |manifest: ImageManifest| {
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        blobs.fold(0_u64, |sum, blob| sum.saturating_add(blob.size))
    };
    manifests.map(sizes).fold(0, u64::saturating_add)
}

pub(super) struct Pusher<'a> {
    pub(super) registry: Registry,
    authorization: Option<String>,
    repository: &'a str,
    action: &'a str,
}

/// One upload, which may be tried again.
enum Upload {
    Blob { digest: Digest, bytes: Bytes },
    Manifest { tag: String, media_type: &'static str, bytes: Bytes },
}

impl Pusher<'_> {
    async fn platform(
        &self,
        store: &Store,
        entry: &Descriptor,
        pushed: &mut Pushed,
    ) -> Result<(), RegistryError> {
        let bytes = store.require(&entry.digest, MAX_DOCUMENT as u64)?;
        let manifest =
            ImageManifest::parse(&bytes).map_err(|e| self.registry.layout(self.action, &e))?;
        self.blobs(store, &manifest, pushed).await?;
        self.manifest(&entry.digest.to_string(), media::MANIFEST, bytes).await
    }

    async fn referrer(
        &self,
        store: &Store,
        manifest: &ImageManifest,
        bytes: Vec<u8>,
        pushed: &mut Pushed,
    ) -> Result<(), RegistryError> {
        self.blobs(store, manifest, pushed).await?;
        let Some(subject) = &manifest.subject else { return Ok(()) };
        self.refer(bytes, subject.digest).await
    }

    async fn blobs(
        &self,
        store: &Store,
        manifest: &ImageManifest,
        pushed: &mut Pushed,
    ) -> Result<(), RegistryError> {
        for entry in std::iter::once(&manifest.config).chain(&manifest.layers) {
            let bytes = store.require(&entry.digest, LAYER_MAX)?;
            self.blob(&entry.digest, bytes, pushed).await?;
            self.registry.progress().advance(entry.size);
        }
        Ok(())
    }

    pub(super) async fn blob(
        &self,
        digest: &Digest,
        bytes: Vec<u8>,
        pushed: &mut Pushed,
    ) -> Result<(), RegistryError> {
        if self.registry.has_blob(self.action, self.repository, digest).await? {
            return Ok(());
        }
        pushed.blobs += 1;
        pushed.bytes += bytes.len() as u64;
        self.upload(&Upload::Blob { digest: *digest, bytes: bytes.into() }).await
    }

    pub(super) async fn manifest(
        &self,
        tag: &str,
        media_type: &'static str,
        bytes: Vec<u8>,
    ) -> Result<(), RegistryError> {
        let tag = tag.to_owned();
        self.upload(&Upload::Manifest { tag, media_type, bytes: bytes.into() }).await
    }

    /// Puts a manifest that refers to `subject`, and where there is no referrers API its entry in the fallback tag.
    async fn refer(&self, bytes: Vec<u8>, subject: Digest) -> Result<(), RegistryError> {
        let manifest =
            ImageManifest::parse(&bytes).map_err(|e| self.registry.layout(self.action, &e))?;
        let entry = Descriptor {
            artifact_type: Some(artifact_type(&manifest).to_owned()),
            annotations: manifest.annotations,
            ..Descriptor::of(media::MANIFEST, &bytes)
        };
        self.manifest(&entry.digest.to_string(), media::MANIFEST, bytes).await?;
        let listed = self.registry.referrers(self.action, self.repository, subject).await?;
        if listed.is_some() { Ok(()) } else { self.list_in_fallback(entry, subject).await }
    }

    /// Nothing locks a tag: write, wait until whoever read it before that has written too, look, and write again until
    /// the entry stays.
    async fn list_in_fallback(
        &self,
        entry: Descriptor,
        subject: Digest,
    ) -> Result<(), RegistryError> {
        for _ in 0..TAG_TRIES {
            let mut list = self.registry.fallback(self.action, self.repository, subject).await?;
            if list.manifests.iter().any(|other| other.digest == entry.digest) {
                return Ok(());
            }
            list.manifests.push(entry.clone());
            self.manifest(&fallback_tag(&subject), media::INDEX, list.to_bytes()).await?;
            let pause = self.registry.http.limits().back_off;
            // Writers that met once are not to meet again: each waits for another time.
            let share = (RandomState::new().build_hasher().finish() % 256) as u32;
            tokio::time::sleep(pause / 2 + pause * share / 256).await;
        }
        Err(self.registry.http.overwritten(self.action, "the list of its signatures"))
    }

    async fn upload(&self, upload: &Upload) -> Result<(), RegistryError> {
        let mut tries = self.registry.http.tries();
        loop {
            match self.upload_once(upload).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn upload_once(&self, upload: &Upload) -> Result<(), RegistryError> {
        let http = &self.registry.http;
        let (sent, answer) = match upload {
            Upload::Blob { digest, bytes } => {
                let start = format!("/v2/{}/blobs/uploads/", self.repository);
                let begun = self.send(Method::POST, http.url(&start)?, BLOB, Bytes::new()).await?;
                let mut place = self.place(&begun.headers)?;
                place.query_pairs_mut().append_pair("digest", &digest.to_string());
                (*digest, self.send(Method::PUT, place, BLOB, bytes.clone()).await?)
            }
            Upload::Manifest { tag, media_type, bytes } => {
                let place = http.url(&format!("/v2/{}/manifests/{tag}", self.repository))?;
                let answer = self.send(Method::PUT, place, media_type, bytes.clone()).await?;
                (Digest::of(bytes), answer)
            }
        };
        self.is_kept_as(sent, &answer)
    }

    /// Holds what was sent against the digest that the registry says it keeps.
    fn is_kept_as(&self, sent: Digest, answer: &Answer) -> Result<(), RegistryError> {
        match announced(answer).filter(|announced| *announced != sent) {
            None => Ok(()),
            Some(announced) => Err(RegistryError::NotAsSent {
                action: self.action.to_owned(),
                registry: self.registry.host().to_owned(),
                announced,
                sent,
            }),
        }
    }

    /// Where an upload goes on: here or elsewhere, but never in the clear unless all of it is.
    fn place(&self, headers: &HeaderMap) -> Result<Url, RegistryError> {
        let http = &self.registry.http;
        let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
        let none =
            || http.misbehaves(self.action, "it says not where an upload goes on".to_owned());
        let place = http.url("/")?.join(place.ok_or_else(none)?);
        let broken = |e| http.misbehaves(self.action, format!("an upload goes on nowhere: {e}"));
        http.is_safe(self.action, "an upload goes on at", place.map_err(broken)?)
    }

    /// Sends something; only the registry itself is told who does.
    async fn send(
        &self,
        method: Method,
        url: Url,
        media_type: &str,
        content: Bytes,
    ) -> Result<Answer, RegistryError> {
        let Registry { http, auth, .. } = &self.registry;
        let is_own = url.origin() == http.url("/")?.origin();
        let time = http.limits().for_blob(content.len() as u64);
        let done = if method == Method::PUT { StatusCode::CREATED } else { StatusCode::ACCEPTED };
        let get = Get {
            action: self.action,
            url,
            method,
            accept: "",
            authorization: self.authorization.as_deref().filter(|_| is_own),
            content: Some((media_type, content)),
            body: Body::AtMost(ANSWER_MAX),
            time,
        };
        let answer = http.send(&get).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => Err(auth.refused(http, self.action, &answer.body)),
            status if status == done => Ok(answer),
            status if status.is_success() => {
                let (status, done) = (status.as_u16(), done.as_u16());
                let why = format!("it takes an upload with {status} instead of {done}");
                Err(http.misbehaves(self.action, why))
            }
            status => Err(http.refused(self.action, status, &answer.body)),
        }
    }
}
