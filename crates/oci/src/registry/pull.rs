//! Pulling a package into a store: every byte within its descriptor's size, every digest checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use skep_spec::oci::{Descriptor, DocumentError, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, PackageRef, Version, chain, media};
use skep_trust::Blobs;
use skep_trust::admit::LAYER_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::carry::Carried;
use super::error::RegistryError;
use super::{OURS, Registry};
use crate::store::{Received, Store, StoreError, Whole, package_entry};

/// Most bytes of one package, all platforms together.
const PACKAGE_MAX: u64 = 1024 * 1024 * 1024;

/// How many requests are under way at once.
const AT_ONCE: usize = 4;

/// How many files are written or wait for the disk at once: those that wait together are waited for as one.
const FILES: u32 = 32;

/// From so many bytes on, what came of a blob stays where a pull is cut off, and the next one goes on from there.
const LARGE: u64 = 64 * 1024;

/// Which part of a package is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: every platform, every layer.
    Whole,
    /// What a node of this architecture needs: its objects and the manifest.
    Node(Arch),
    /// What it says of itself: the manifest, of its first platform.
    Manifest,
}

impl Part {
    fn platforms(self, index: &Index) -> Vec<&Descriptor> {
        let arch = |entry: &&Descriptor| entry.platform.as_ref().and_then(|p| p.arch());
        let all = index.manifests.iter();
        match self {
            Self::Whole => all.collect(),
            Self::Node(wanted) => all.filter(|entry| arch(entry) == Some(wanted)).collect(),
            Self::Manifest => all.filter(|entry| arch(entry).is_some()).take(1).collect(),
        }
    }

    /// Whether a layer is of it; the rest stays in the registry.
    fn has(self, layer: &Descriptor) -> bool {
        match self {
            Self::Whole => true,
            Self::Node(_) => matches!(layer.role(), Some("object" | "manifest")),
            Self::Manifest => layer.role() == Some("manifest"),
        }
    }
}

impl Registry {
    /// Pulls the package whose index has `digest` into `store` and lists it there.
    ///
    /// What is there already is not pulled again. A node verifies the digest before it calls this: OCI documents are
    /// read here to follow them, the package's own files are not.
    ///
    /// # Errors
    /// When the registry does not give something, gives other or more bytes than the digest and size say, or the
    /// store cannot be written. What came until then stays, unlisted.
    pub async fn pull(
        &self,
        reference: &PackageRef,
        digest: Digest,
        part: Part,
        store: &Store,
    ) -> Result<(), RegistryError> {
        let (action, repository) =
            (format!("pull {}", reference.at(digest)), reference.repository());
        let pull = Pull::new(self, store, &repository, &action);
        let index = pull.index(digest).await?;
        let content = pull.ended(pull.content(reference, &index, part).await).await?;
        list(store, content.listed.into_iter().collect())
    }

    /// Pulls a package, all of it, and at the same time what refers to it and to its platform manifests, and lists
    /// everything. Nobody checks what the referrers say.
    ///
    /// # Errors
    /// As [`Registry::pull`].
    pub async fn pull_whole(
        &self,
        reference: &PackageRef,
        digest: Digest,
        store: &Store,
    ) -> Result<Carried, RegistryError> {
        self.bring(reference, digest, store).await?.list()
    }

    /// As [`Registry::pull_whole`], but that nothing is listed yet: the package can be looked at before.
    ///
    /// # Errors
    /// As [`Registry::pull`].
    pub async fn bring<'a>(
        &self,
        reference: &PackageRef,
        digest: Digest,
        store: &'a Store,
    ) -> Result<Brought<'a>, RegistryError> {
        let (action, repository) =
            (format!("pull {}", reference.at(digest)), reference.repository());
        let pull = Pull::new(self, store, &repository, &action);
        let index = pull.index(digest).await?;
        let came = tokio::try_join!(
            pull.content(reference, &index, Part::Whole),
            pull.referrers(reference, &index),
        );
        let (Content { listed, checked }, (carried, referrers)) = pull.ended(came).await?;
        let listed = listed.into_iter().chain(referrers).collect();
        Ok(Brought { store, carried, listed, checked })
    }

    pub(super) fn not_ours(
        &self,
        action: &str,
        what: &str,
        error: &DocumentError,
    ) -> RegistryError {
        RegistryError::NotAPackage {
            action: action.to_owned(),
            registry: self.host().to_owned(),
            why: format!("the {what}: {}", chain(error)),
            code: error.code(),
        }
    }
}

/// A package whose content is in a store, and that is not listed there yet.
pub struct Brought<'a> {
    store: &'a Store,
    carried: Carried,
    listed: Vec<Descriptor>,
    checked: BTreeSet<Digest>,
}

impl Brought<'_> {
    /// Lists it, and what refers to it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn list(self) -> Result<Carried, RegistryError> {
        list(self.store, self.listed)?;
        Ok(self.carried)
    }
}

impl Blobs for Brought<'_> {
    fn blob(&self, digest: &Digest, limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.store.blob(digest, limit)
    }

    /// As they came, or lay in the store already.
    fn is_checked(&self, digest: &Digest) -> bool {
        self.checked.contains(digest)
    }
}

/// Lists what was kept, once its names are on the disk as well.
fn list(store: &Store, listed: Vec<Descriptor>) -> Result<(), RegistryError> {
    store.settle()?;
    Ok(store.list(listed)?)
}

/// What was brought of a package.
struct Content {
    /// What `index.json` is to say of it.
    listed: Option<Descriptor>,
    /// What was held against its digest.
    checked: BTreeSet<Digest>,
}

/// An index that is followed.
pub(super) struct Followed {
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub index: Index,
}

/// A pull on its way.
pub(super) struct Pull<'a> {
    pub registry: &'a Registry,
    pub store: &'a Store,
    pub repository: &'a str,
    pub action: &'a str,
    /// A place for each file that is written or waits for the disk.
    files: Arc<Semaphore>,
}

/// A blob that waits for the disk.
pub(super) type Kept = JoinHandle<Result<(), StoreError>>;

impl<'a> Pull<'a> {
    fn new(registry: &'a Registry, store: &'a Store, repository: &'a str, action: &'a str) -> Self {
        let files = Arc::new(Semaphore::new(FILES as usize));
        Self { registry, store, repository, action, files }
    }

    async fn index(&self, digest: Digest) -> Result<Followed, RegistryError> {
        let bytes = match self.registry.looked_up(&digest) {
            Some(bytes) => bytes,
            None => self.document(&digest).await?,
        };
        let index = Index::parse(&bytes);
        let index = index.map_err(|e| self.registry.not_ours(self.action, "index", &e))?;
        Ok(Followed { digest, bytes, index })
    }

    /// Brings what is not there of a package.
    async fn content(
        &self,
        reference: &PackageRef,
        followed: &Followed,
        part: Part,
    ) -> Result<Content, RegistryError> {
        let Followed { digest, bytes, index } = followed;
        let wanted = part.platforms(index);
        let mut checked: BTreeSet<Digest> = wanted.iter().map(|entry| entry.digest).collect();
        let platforms = at_once(wanted.into_iter().map(|entry| self.platform(entry))).await?;
        let blobs = self.wanted(platforms.iter().map(|(manifest, _)| manifest), part)?;
        checked.extend(blobs.iter().map(|entry| entry.digest).chain([*digest]));
        let progress = self.registry.progress();
        progress.expect(blobs.iter().map(|entry| entry.size).sum());
        let kept = at_once(blobs.into_iter().map(|entry| self.blob(entry))).await?;
        let mut kept: Vec<Kept> = kept.into_iter().flatten().collect();
        for bytes in platforms.into_iter().map(|(_, bytes)| bytes).chain([bytes.clone()]) {
            kept.push(self.keep(Received::Memory(bytes).whole().await?).await);
        }
        settled(kept).await?;
        let named = index.annotations.get(media::VERSION).and_then(|v| v.parse::<Version>().ok());
        let version = reference.version.clone().or(named);
        let size = bytes.len() as u64;
        let listed = version.map(|version| package_entry(&reference.name, &version, *digest, size));
        Ok(Content { listed, checked })
    }

    /// Waits after a failure until nothing is written any more: the next pull goes on with these files.
    async fn ended<T>(&self, pulled: Result<T, RegistryError>) -> Result<T, RegistryError> {
        if pulled.is_err() {
            drop(self.files.acquire_many(FILES).await);
        }
        pulled
    }

    /// A place for a file; there is always one some time, as each file is closed in the end.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.files.clone().acquire_owned().await.ok()
    }

    /// Keeps a blob, on a thread that may wait for the disk.
    pub(super) async fn keep(&self, whole: Whole) -> Kept {
        let place = if whole.is_file() { None } else { self.place().await };
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let kept = store.keep(whole);
            drop(place);
            kept
        })
    }

    /// A platform's manifest, and its bytes.
    async fn platform(
        &self,
        entry: &Descriptor,
    ) -> Result<(ImageManifest, Vec<u8>), RegistryError> {
        let bytes = self.document(&entry.digest).await;
        let bytes = bytes.map_err(|error| match error {
            RegistryError::NotFound { action, .. } => self.missing(&action),
            error => error,
        })?;
        if bytes.len() as u64 != entry.size {
            return Err(RegistryError::Length {
                action: self.action.to_owned(),
                registry: self.registry.host().to_owned(),
                expected: entry.size,
                found: bytes.len() as u64,
            });
        }
        let manifest = ImageManifest::parse(&bytes)
            .map_err(|e| self.registry.not_ours(self.action, "platform manifest", &e))?;
        Ok((manifest, bytes))
    }

    /// What is to come of these platforms, each blob once: all of it within what a package may have.
    fn wanted<'m>(
        &self,
        platforms: impl Iterator<Item = &'m ImageManifest>,
        part: Part,
    ) -> Result<Vec<&'m Descriptor>, RegistryError> {
        let mut room = PACKAGE_MAX;
        let mut blobs: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
        for manifest in platforms {
            let layers = manifest.layers.iter().filter(|layer| part.has(layer));
            for entry in std::iter::once(&manifest.config).chain(layers) {
                let limit = LAYER_MAX.min(room);
                if entry.size > limit {
                    let (action, registry) = (self.action.into(), self.registry.host().into());
                    return Err(RegistryError::TooLarge { action, registry, limit });
                }
                // One of another size is no duplicate, and is refused when it comes.
                if blobs.insert(entry.digest, entry).is_none_or(|other| other.size != entry.size) {
                    room -= entry.size;
                }
            }
        }
        Ok(blobs.into_values().collect())
    }

    async fn document(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        match self.store.read(digest, MAX_DOCUMENT as u64) {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) | Err(StoreError::Damaged { .. } | StoreError::TooLarge { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let found =
            self.registry.manifest_by_digest(self.action, self.repository, digest, &OURS).await?;
        found.ok_or_else(|| self.registry.not_found(self.action))
    }

    /// The error of what the package names and the registry does not have.
    fn missing(&self, action: &str) -> RegistryError {
        let registry = self.registry.host().to_owned();
        RegistryError::Missing { action: action.to_owned(), registry }
    }

    /// Brings a blob, if it is not there; nothing to wait for if it is.
    async fn blob(&self, entry: &Descriptor) -> Result<Option<Kept>, RegistryError> {
        let progress = self.registry.progress();
        if self.store.holds(entry) {
            progress.advance(entry.size);
            return Ok(None);
        }
        let first = self.came(entry).await;
        if self.registry.is_mirrors_fault(&first) {
            progress.go_back(entry.size);
            return self.came(entry).await.map(Some);
        }
        first.map(Some)
    }

    async fn came(&self, entry: &Descriptor) -> Result<Kept, RegistryError> {
        let digest = entry.digest;
        let (mut whole, held) = self.brought(entry).await?;
        if whole.digest != digest && held {
            // What was there before may be what is wrong, as a crash leaves it: no word yet against the registry.
            self.store.discard(&whole)?;
            drop(whole);
            self.registry.progress().go_back(entry.size);
            (whole, _) = self.brought(entry).await?;
        }
        if whole.digest == digest {
            return Ok(self.keep(whole).await);
        }
        self.store.discard(&whole)?;
        let action = self.of_layer(&digest);
        let (registry, found) = (self.registry.host().to_owned(), whole.digest);
        Err(RegistryError::Digest { action, registry, found })
    }

    fn of_layer(&self, digest: &Digest) -> String {
        format!("{}: layer {}", self.action, digest.short())
    }

    /// All of a blob, unchecked, and whether some of it was there before.
    async fn brought(&self, entry: &Descriptor) -> Result<(Whole, bool), RegistryError> {
        let Descriptor { digest, size, .. } = *entry;
        let action = self.of_layer(&digest);
        let mut received = match size >= LARGE {
            true => self.store.received(&digest, size, self.place().await)?,
            false => Received::default(),
        };
        let held = received.len();
        self.registry.progress().advance(held);
        let came = self.registry.receive(&action, self.repository, &digest, size, &mut received);
        if !came.await? {
            return Err(self.missing(&action));
        }
        Ok((received.whole().await?, held > 0))
    }
}

/// Waits until all of these are on the disk.
pub(super) async fn settled(kept: Vec<Kept>) -> Result<(), RegistryError> {
    for kept in kept {
        kept.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    }
    Ok(())
}

/// Does all of these, several at once; the first failure ends the others.
async fn at_once<T>(
    work: impl Iterator<Item = impl Future<Output = Result<T, RegistryError>>>,
) -> Result<Vec<T>, RegistryError> {
    stream::iter(work).buffered(AT_ONCE).try_collect().await
}
