//! Pulling a package into a store: every byte within its descriptor's size, every digest checked.

use skep_spec::oci::{Descriptor, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, PackageRef, Version, media};
use skep_trust::admit::LAYER_MAX;

use super::Registry;
use super::error::RegistryError;
use crate::store::{Store, StoreError};

/// Most bytes of one package, all platforms together.
const PACKAGE_MAX: u64 = 1024 * 1024 * 1024;

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
        let mut room = PACKAGE_MAX;
        for entry in &index.manifests {
            let arch = entry.platform.as_ref().and_then(|platform| platform.arch());
            if part == Part::Whole || matches!(part, Part::Node(wanted) if arch == Some(wanted)) {
                pull.platform(entry, part, &mut room).await?;
            }
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
            why: format!("the {what}: {}", super::http::chain(error)),
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
    async fn platform(
        &self,
        entry: &Descriptor,
        part: Part,
        room: &mut u64,
    ) -> Result<(), RegistryError> {
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
        self.blob(&manifest.config, room).await?;
        for layer in &manifest.layers {
            let wanted = layer.role().is_some_and(|role| NODE_ROLES.contains(&role));
            if part == Part::Whole || wanted {
                self.blob(layer, room).await?;
            }
        }
        self.store.put(&bytes)?;
        Ok(())
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

    async fn blob(&self, entry: &Descriptor, room: &mut u64) -> Result<(), RegistryError> {
        let limit = LAYER_MAX.min(*room);
        if entry.size > limit {
            let (action, registry) = (self.action.to_owned(), self.registry.host().to_owned());
            return Err(RegistryError::TooLarge { action, registry, limit });
        }
        *room -= entry.size;
        if self.store.holds(entry) {
            return Ok(());
        }
        let action = format!("{}: layer {}", self.action, entry.digest.short());
        let bytes = self.registry.blob(&action, self.repository, &entry.digest, entry.size).await?;
        self.store.put(&bytes.ok_or_else(|| self.registry.not_found(&action))?)?;
        Ok(())
    }
}
