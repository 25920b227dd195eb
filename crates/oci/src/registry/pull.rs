//! Pulling a package into a store: every byte within its descriptor's size, every digest checked.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use skep_spec::oci::{Descriptor, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, PackageRef, Version, chain, media};
use skep_trust::admit::LAYER_MAX;

use super::Registry;
use super::error::RegistryError;
use crate::store::{Received, Store, StoreError};

/// Most bytes of one package, all platforms together.
const PACKAGE_MAX: u64 = 1024 * 1024 * 1024;

/// How many requests are under way at once.
const AT_ONCE: usize = 4;

/// From so many bytes on, what came of a blob stays where a pull is cut off, and the next one goes on from there.
const LARGE: u64 = 64 * 1024;

/// The roles that a node needs; the rest stays in the registry.
const NODE_ROLES: [&str; 2] = ["object", "manifest"];

/// Which part of a package is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: every platform, every layer.
    Whole,
    /// What a node of this architecture needs: its objects and the manifest.
    Node(Arch),
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
        let action = format!("pull {}", reference.at(digest));
        let pull =
            Pull { registry: self, store, repository: &reference.repository(), action: &action };
        let bytes = pull.document(&digest).await?;
        let index = Index::parse(&bytes).map_err(|e| self.not_ours(&action, "index", &e))?;
        let is_wanted = |entry: &&Descriptor| {
            let arch = entry.platform.as_ref().and_then(|platform| platform.arch());
            part == Part::Whole || matches!(part, Part::Node(wanted) if arch == Some(wanted))
        };
        let wanted: Vec<&Descriptor> = index.manifests.iter().filter(is_wanted).collect();
        let platforms = at_once(wanted.into_iter().map(|entry| pull.platform(entry))).await?;
        let blobs = pull.wanted(platforms.iter().map(|(manifest, _)| manifest), part)?;
        at_once(blobs.into_iter().map(|entry| pull.blob(entry))).await?;
        for (_, bytes) in &platforms {
            store.put(bytes)?;
        }
        store.put(&bytes)?;
        let named = index.annotations.get(media::VERSION).and_then(|v| v.parse::<Version>().ok());
        if let Some(version) = reference.version.clone().or(named) {
            store.list_package(&reference.name, &version, digest, bytes.len() as u64)?;
        }
        Ok(())
    }

    pub(super) fn not_ours(
        &self,
        action: &str,
        what: &str,
        error: &dyn std::error::Error,
    ) -> RegistryError {
        RegistryError::NotAPackage {
            action: action.to_owned(),
            registry: self.host().to_owned(),
            why: format!("the {what}: {}", chain(error)),
        }
    }
}

struct Pull<'a> {
    registry: &'a Registry,
    store: &'a Store,
    repository: &'a str,
    action: &'a str,
}

impl Pull<'_> {
    /// A platform's manifest, and its bytes.
    async fn platform(
        &self,
        entry: &Descriptor,
    ) -> Result<(ImageManifest, Vec<u8>), RegistryError> {
        let bytes = self.document(&entry.digest).await?;
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
            let is_wanted = |layer: &&Descriptor| {
                let is_node = layer.role().is_some_and(|role| NODE_ROLES.contains(&role));
                part == Part::Whole || is_node
            };
            let layers = manifest.layers.iter().filter(is_wanted);
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
        let found = self.registry.manifest_by_digest(self.action, self.repository, digest).await?;
        found.ok_or_else(|| self.registry.not_found(self.action))
    }

    async fn blob(&self, entry: &Descriptor) -> Result<(), RegistryError> {
        let Descriptor { digest, size, .. } = *entry;
        if self.store.holds(entry) {
            return Ok(());
        }
        let action = format!("{}: layer {}", self.action, digest.short());
        let mut received = match size >= LARGE {
            true => self.store.received(&digest, size)?,
            false => Received::default(),
        };
        let came = self.registry.receive(&action, self.repository, &digest, size, &mut received);
        if !came.await? {
            return Err(self.registry.not_found(&action));
        }
        // Hashing and waiting for the disk: elsewhere, so that others come meanwhile.
        let store = self.store.clone();
        let kept = tokio::task::spawn_blocking(move || store.keep(&digest, received)).await;
        let kept = kept.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        kept?.map_err(|found| {
            let registry = self.registry.host().to_owned();
            RegistryError::Digest { action, registry, found }
        })
    }
}

/// Does all of these, several at once; the first failure ends the others.
async fn at_once<T>(
    work: impl Iterator<Item = impl Future<Output = Result<T, RegistryError>>>,
) -> Result<Vec<T>, RegistryError> {
    stream::iter(work).buffered(AT_ONCE).try_collect().await
}
