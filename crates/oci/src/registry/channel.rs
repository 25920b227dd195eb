//! The pointers of a channel in a registry: bundles under a tag, part 9 of the standard.

use skep_spec::oci::{Annotations, Descriptor, ImageManifest};
use skep_spec::{Channel, Digest, PackageRef, chain, media};
use skep_trust::bundle::BUNDLE_MAX;
use skep_trust::verify::BUNDLES_MAX;

use super::Registry;
use super::error::RegistryError;
use super::push::Pushed;
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
        let repository = reference.repository();
        let action = format!("look up the channel '{channel}' of {repository}");
        let tag = channel.tag();
        let Some(bytes) = self.manifest(&action, &repository, &tag).await? else {
            return Ok(Vec::new());
        };
        let refuse = |why: String| self.http.misbehaves(&action, why);
        let manifest = ImageManifest::parse(&bytes)
            .map_err(|e| refuse(format!("the tag {tag}: {}", chain(&e))))?;
        if manifest.artifact_type.as_deref() != Some(media::CHANNEL) {
            return Err(refuse(format!("the tag {tag} is no channel's")));
        }
        let (most, mut room) = (BUNDLES_MAX, BUNDLE_MAX as u64);
        let mut bundles = Vec::new();
        for layer in manifest.layers.iter().take(most) {
            let rest = room.checked_sub(layer.size);
            room = rest.ok_or_else(|| refuse(format!("the tag {tag} has more than 1 MiB")))?;
            let bundle = self.blob(&action, &repository, &layer.digest, layer.size).await?;
            bundles.push(bundle.ok_or_else(|| self.not_found(&action))?);
        }
        Ok(bundles)
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
        let repository = reference.repository();
        let action = format!("move the channel '{channel}' of {repository}");
        let push = self.pusher(&repository, &action).await?;
        for blob in bundles.iter().map(Vec::as_slice).chain([EMPTY]) {
            push.blob(&Digest::of(blob), blob.to_vec(), &mut Pushed::default()).await?;
        }
        let layers = bundles.iter().map(|bundle| Descriptor::of(media::BUNDLE, bundle)).collect();
        let config = Descriptor::of(media::EMPTY, EMPTY);
        let manifest = ImageManifest::new(media::CHANNEL, config, layers, Annotations::new());
        let (bytes, tag) = (manifest.to_bytes(), channel.tag());
        push.manifest(&tag, media::MANIFEST, bytes.clone()).await?;
        match self.manifest(&action, &repository, &tag).await? {
            Some(stays) if stays == bytes => Ok(()),
            _ => Err(self.http.overwritten(&action, "its tag")),
        }
    }
}
