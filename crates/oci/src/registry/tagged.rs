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
        let action = format!("move the channel '{channel}' of {}", reference.repository());
        self.tag(reference, &channel.tag(), media::CHANNEL, bundles, &action).await
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
        let action = format!("put the keys beside {}", reference.repository());
        self.tag(reference, media::KEYS_TAG, media::KEYS, bundles, &action).await
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
        let Some(bytes) = self.manifest(action, &repository, tag, By::Tag).await? else {
            return Ok(Vec::new());
        };
        let refuse = |why: String| self.http.misbehaves(action, format!("the tag {tag}{why}"));
        let manifest =
            ImageManifest::parse(&bytes).map_err(|e| refuse(format!(": {}", chain(&e))))?;
        let layers = keys_and_channels::layers(&manifest, artifact_type)
            .map_err(|why| refuse(format!(" {why}")))?;
        let mut bundles = Vec::new();
        for layer in layers {
            let bundle = self.blob(action, &repository, &layer.digest, layer.size).await?;
            bundles.push(bundle.ok_or_else(|| self.not_found(action))?);
        }
        Ok(bundles)
    }

    async fn tag(
        &self,
        reference: &PackageRef,
        tag: &str,
        artifact_type: &str,
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
        let bytes = manifest.to_bytes();
        push.manifest(tag, media::MANIFEST, bytes.clone()).await?;
        match push.registry.manifest(action, &repository, tag, By::Tag).await? {
            Some(stays) if stays == bytes => Ok(()),
            _ => Err(self.http.overwritten(action, "its tag")),
        }
    }
}
