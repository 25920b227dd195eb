//! Where packages come from when they are named: registries, what their channels point to, and the keys beside them.

use std::time::SystemTime;

use skep_api::PackageSource;
use skep_oci::registry::{Options, Part};
use skep_oci::{Credentials, Registry, RegistryError, Store};
use skep_spec::{Channel, Digest, PackageRef, Version};
use skep_trust::{Verified, channel};
use tokio::runtime::Handle;

use super::{Shelf, arch};
use crate::error::NodeError;

impl Shelf {
    pub(super) fn out_of_registry(
        &self,
        reference: &PackageRef,
        (registry, host): (&Registry, &str),
        allow_unsigned: bool,
    ) -> Result<(PackageRef, Verified<Digest>), NodeError> {
        let network = Handle::current();
        let explained = |error| self.explained(error, host);
        let (digest, bundles) = self.ending.or_answer(&network, async {
            let digest = registry.resolve(reference).await.map_err(explained)?;
            let bundles = registry.bundles(reference, digest).await.map_err(explained)?;
            Ok::<_, NodeError>((digest, bundles))
        })?;
        let verified = self.verify(reference, digest, &bundles, allow_unsigned)?;
        let pull = registry.pull(reference, digest, Part::Node(arch()?), &self.store);
        self.ending.or_answer(&network, async { pull.await.map_err(explained) })?;
        self.attach(digest, &bundles)?;
        Ok((reference.clone(), verified))
    }

    /// The digest that a place has of a package, before anything of it is let in; none of a bundle, which would be taken apart for
    /// that.
    ///
    /// # Errors
    /// It is not there, or the place does not say.
    pub(crate) fn digest_there(&self, wanted: &PackageSource) -> Result<Option<Digest>, NodeError> {
        let reference = match wanted {
            PackageSource::Reference(reference) => self.with_hub(reference)?,
            PackageSource::Layout { path, package } => {
                return Ok(Some(Store::open(path)?.the_package(package.as_ref())?.1));
            }
            PackageSource::Bundle { .. } => return Ok(None),
        };
        let (registry, host) = self.registry(&reference)?;
        if let Some((_, digest)) = self.followed(&reference, &registry, &host)? {
            return Ok(Some(digest));
        }
        let resolved = self.ending.or_answer(&Handle::current(), async {
            registry.resolve(&reference).await.map_err(|error| self.explained(error, &host))
        })?;
        Ok(Some(resolved))
    }

    /// The channel that a reference means, and where it points to, by the keys that count now.
    pub(crate) fn followed(
        &self,
        reference: &PackageRef,
        registry: &Registry,
        host: &str,
    ) -> Result<Option<(Channel, Digest)>, NodeError> {
        let network = Handle::current();
        let explained = |error| self.explained(error, host);
        if self.follows(reference)? {
            let keys = async { keys(registry, reference).await.map_err(explained) };
            self.rules(reference, &self.ending.or_answer(&network, keys)?, self.now()?)?;
        }
        let pointers = self.ending.or_answer(&network, async {
            pointers(registry, reference).await.map_err(explained)
        })?;
        let Some((channel, pointers)) = pointers else { return Ok(None) };
        let digest = self.pointed(reference, &channel, &pointers)?;
        Ok(Some((channel, digest)))
    }

    /// The registry that short names mean.
    #[must_use]
    pub fn hub(&self) -> Option<&str> {
        self.config.hub.as_deref()
    }

    /// The versions that a registry has of the package that a reference names; none where it has no such package.
    ///
    /// # Errors
    /// It does not say.
    pub fn versions(&self, reference: &PackageRef) -> Result<Vec<Version>, NodeError> {
        let reference = self.with_hub(reference)?;
        let (registry, host) = self.registry(&reference)?;
        let network = Handle::current();
        self.ending.or_answer(&network, async {
            registry.versions(&reference).await.map_err(|error| self.explained(error, &host))
        })
    }

    pub(crate) fn registry(&self, reference: &PackageRef) -> Result<(Registry, String), NodeError> {
        let host = reference.registry.clone().unwrap_or_default();
        let credentials = self
            .config
            .credentials
            .clone()
            .map_or(Credentials::Anonymous, Credentials::DockerConfig);
        let plain_http = self.config.plain_http.contains(&host);
        let settings = self.config.registries.clone();
        let options = Options { credentials, plain_http, settings, ..Options::default() };
        Ok((Registry::of(reference, options)?, host))
    }

    /// Where a channel points to. What was seen of it is kept on the disk before anything is installed by it.
    fn pointed(
        &self,
        reference: &PackageRef,
        channel: &Channel,
        pointers: &[Vec<u8>],
    ) -> Result<Digest, NodeError> {
        let registry = reference.registry.as_deref();
        let asked = channel::Asked { name: &reference.name, registry, channel };
        let policy = self.rules(reference, &[], self.now()?)?;
        let pointer = self.memory().follow(&asked, pointers, &policy, SystemTime::now());
        let pointer = pointer.inspect_err(|error| {
            tracing::warn!(package = %reference, %channel, "the channel is not followed: {error}");
        })?;
        Ok(pointer.digest)
    }

    /// skepd reads no credentials but those that its configuration names.
    fn explained(&self, error: RegistryError, registry: &str) -> NodeError {
        let Some((message, named)) = error.unauthorized() else { return error.into() };
        let hint = match (&self.config.credentials, named) {
            (None, _) => format!(
                "skepd has no credentials: name a docker config.json that has them for {registry} as 'credentials' in skepd.toml and restart skepd; \
                 DOCKER_CONFIG=/etc/skep skep login {registry} writes /etc/skep/config.json"
            ),
            (Some(file), false) => format!(
                "{}, which skepd.toml names as 'credentials', has none for {registry}: \
                 skep login {registry} with DOCKER_CONFIG set to its folder adds them to a config.json",
                file.display()
            ),
            (Some(file), true) => format!(
                "what {} has for {registry} may be mistyped, expired or revoked: get a new one and log in again there",
                file.display()
            ),
        };
        NodeError::Unauthorized { message, hint }
    }

    pub(crate) fn with_hub(&self, reference: &PackageRef) -> Result<PackageRef, NodeError> {
        if reference.registry.is_some() {
            return Ok(reference.clone());
        }
        let hub = self.hub();
        let hub = hub.ok_or_else(|| NodeError::NoHub(reference.clone()))?;
        Ok(reference.clone().or_registry(hub))
    }
}

/// The publisher's keys beside a package; none where what lies there is nothing that anybody reads: then they stay as they are.
async fn keys(registry: &Registry, reference: &PackageRef) -> Result<Vec<Vec<u8>>, RegistryError> {
    match registry.keys(reference).await {
        Err(error @ RegistryError::Junk { .. }) => {
            tracing::warn!(package = %reference, "the publisher's keys stay as they are: {error}");
            Ok(Vec::new())
        }
        keys => keys,
    }
}

/// The channel that a reference means, and its pointers: the one that it names, or `stable` where it names neither version nor
/// digest and there is one.
async fn pointers(
    registry: &Registry,
    reference: &PackageRef,
) -> Result<Option<(Channel, Vec<Vec<u8>>)>, RegistryError> {
    let Some(channel) = reference.channel_meant() else { return Ok(None) };
    let pointers = registry.channel(reference, &channel).await?;
    let is_there = reference.channel.is_some() || !pointers.is_empty();
    Ok(is_there.then_some((channel, pointers)))
}
