//! What a registry has under tags of its own beside a package's versions, part 9 of the standard: the pointers of channels, and
//! its publisher's keys.

use skep_spec::oci::ImageManifest;
use skep_spec::{Channel, Digest, PackageRef, chain, media};

use super::Registry;
use super::error::RegistryError;
use super::mirrors::By;
use super::push::Pushed;
use crate::keys_and_channels;
use crate::signatures::EMPTY;

impl Registry {
    /// The bundles of a package's channel, of which nobody checked any; none where it has no such channel.
    ///
    /// # Errors
    /// When the registry does not answer as it should, or has something else under the channel's tag.
    pub async fn channel(
        &self,
        reference: &PackageRef,
        channel: &Channel,
    ) -> Result<Vec<Vec<u8>>, RegistryError> {
        let action = format!("look up the channel '{channel}' of {}", reference.repository());
        self.tagged(reference, &channel.tag(), media::CHANNEL, &action).await
    }

    /// Puts a channel's bundles under its tag, in place of what was there, and looks whether they stay.
    ///
    /// # Errors
    /// When the registry does not take something, or others move the channel at the same time.
    pub async fn put_channel(
        &self,
        reference: &PackageRef,
        channel: &Channel,
        bundles: &[Vec<u8>],
    ) -> Result<(), RegistryError> {
        self.move_channel(reference, channel, None, bundles).await
    }

    /// The same over what was looked at, if that is known: what others have put there since stays.
    ///
    /// # Errors
    /// As [`Registry::put_channel`], and when something else is there now.
    pub async fn move_channel(
        &self,
        reference: &PackageRef,
        channel: &Channel,
        before: Option<&[Vec<u8>]>,
        bundles: &[Vec<u8>],
    ) -> Result<(), RegistryError> {
        let action = format!("move the channel '{channel}' of {}", reference.repository());
        let under = Tagged { tag: &channel.tag(), artifact_type: media::CHANNEL, before };
        self.tag(reference, under, bundles, &action).await
    }

    /// The bundles of a package's publisher's keys, of all versions, of which nobody checked any; none where there are none.
    ///
    /// # Errors
    /// When the registry does not answer as it should, or has something else under the tag.
    pub async fn keys(&self, reference: &PackageRef) -> Result<Vec<Vec<u8>>, RegistryError> {
        let action = format!("look up the keys beside {}", reference.repository());
        self.tagged(reference, media::KEYS_TAG, media::KEYS, &action).await
    }

    /// Puts a publisher's keys beside a package, in place of what was there, and looks whether they stay.
    ///
    /// # Errors
    /// When the registry does not take something, or others write there at the same time.
    pub async fn put_keys(
        &self,
        reference: &PackageRef,
        bundles: &[Vec<u8>],
    ) -> Result<(), RegistryError> {
        self.change_keys(reference, None, bundles).await
    }

    /// The same over what was looked at, if that is known: what others have put there since stays.
    ///
    /// # Errors
    /// As [`Registry::put_keys`], and when something else is there now.
    pub async fn change_keys(
        &self,
        reference: &PackageRef,
        before: Option<&[Vec<u8>]>,
        bundles: &[Vec<u8>],
    ) -> Result<(), RegistryError> {
        let action = format!("put the keys beside {}", reference.repository());
        let under = Tagged { tag: media::KEYS_TAG, artifact_type: media::KEYS, before };
        self.tag(reference, under, bundles, &action).await
    }

    async fn tagged(
        &self,
        reference: &PackageRef,
        tag: &str,
        artifact_type: &str,
        action: &str,
    ) -> Result<Vec<Vec<u8>>, RegistryError> {
        let work = self.bundles_under(reference, tag, artifact_type, action);
        self.http.within_list(action, work).await
    }

    async fn bundles_under(
        &self,
        reference: &PackageRef,
        tag: &str,
        artifact_type: &str,
        action: &str,
    ) -> Result<Vec<Vec<u8>>, RegistryError> {
        let repository = reference.repository();
        let junk = |why: String| self.junk(action, tag, why);
        let bytes = match self.manifest(action, &repository, tag, By::Tag).await {
            Err(RegistryError::TooLarge { limit, .. }) => {
                return Err(junk(format!("has more than {limit} bytes")));
            }
            bytes => bytes?,
        };
        let Some(bytes) = bytes else { return Ok(Vec::new()) };
        let manifest = ImageManifest::parse(&bytes)
            .map_err(|e| junk(format!("is no manifest of bundles: {}", chain(&e))))?;
        let layers = keys_and_channels::layers(&manifest, artifact_type).map_err(junk)?;
        if layers.is_empty() {
            return Err(junk("has no bundle".to_owned()));
        }
        let mut bundles = Vec::new();
        for layer in layers {
            let bundle = self.blob(action, &repository, &layer.digest, layer.size).await?;
            bundles
                .push(bundle.ok_or_else(|| junk("names bundles that are not there".to_owned()))?);
        }
        Ok(bundles)
    }

    fn junk(&self, action: &str, tag: &str, why: String) -> RegistryError {
        let (action, registry, tag) = (action.into(), self.host().to_owned(), tag.into());
        RegistryError::Junk { action, registry, tag, why }
    }

    async fn tag(
        &self,
        reference: &PackageRef,
        Tagged { tag, artifact_type, before }: Tagged<'_>,
        bundles: &[Vec<u8>],
        action: &str,
    ) -> Result<(), RegistryError> {
        let repository = reference.repository();
        let manifest = keys_and_channels::manifest(artifact_type, bundles);
        if let Err(why) = keys_and_channels::layers(&manifest, artifact_type) {
            return Err(RegistryError::Bundles { action: action.to_owned(), why });
        }
        let push = self.pusher(&repository, action).await?;
        for blob in bundles.iter().map(Vec::as_slice).chain([EMPTY]) {
            push.blob(&Digest::of(blob), blob.to_vec(), &mut Pushed::default()).await?;
        }
        // As late as can be: no registry locks a tag.
        if let Some(before) = before {
            let there = push.registry.manifest(action, &repository, tag, By::Tag).await?;
            if !is_of(there.as_deref(), before) {
                let (action, registry) = (action.to_owned(), self.host().to_owned());
                return Err(RegistryError::Changed { action, registry });
            }
        }
        let bytes = manifest.to_bytes();
        push.manifest(tag, media::MANIFEST, bytes.clone()).await?;
        match push.registry.manifest(action, &repository, tag, By::Tag).await? {
            Some(stays) if stays == bytes => Ok(()),
            _ => Err(self.http.overwritten(action, "its tag")),
        }
    }
}

/// What is put under a tag.
struct Tagged<'a> {
    tag: &'a str,
    artifact_type: &'a str,
    /// What should still be there.
    before: Option<&'a [Vec<u8>]>,
}

/// Whether a manifest has these bundles; of none, whether there is no manifest.
fn is_of(manifest: Option<&[u8]>, bundles: &[Vec<u8>]) -> bool {
    let Some(manifest) = manifest.map(ImageManifest::parse) else { return bundles.is_empty() };
    let layers = manifest.map(|manifest| manifest.layers).unwrap_or_default();
    let there = layers.iter().map(|layer| layer.digest);
    !layers.is_empty() && there.eq(bundles.iter().map(|bundle| Digest::of(bundle)))
}
