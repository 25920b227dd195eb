//! From a `Verified<Digest>` to a `Verified<Package>`: the digest chain index → platform manifest → layers.

mod refusal;

pub use refusal::AdmitError;

use std::collections::BTreeMap;
use std::io;

use skep_spec::oci::{Descriptor, DocumentError, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, Manifest, PackageRef, media};

use crate::at_once::at_once;
use crate::layer::{self, Hashed, Room, Taken};
use crate::verified::Verified;

/// Most objects of one package.
pub const OBJECTS_MAX: usize = 64;
/// Largest compressed layer, in bytes.
pub const LAYER_MAX: u64 = 64 * 1024 * 1024;
/// Largest object, in bytes, uncompressed.
pub const OBJECT_MAX: u64 = layer::FILE_MAX;
/// Largest README, in bytes, uncompressed.
pub const README_MAX: u64 = 1024 * 1024;
/// Largest `manifest.json`, in bytes, uncompressed.
pub const MANIFEST_MAX: u64 = 1024 * 1024;
/// Most bytes of all objects of one platform together, uncompressed.
pub const OBJECTS_TOTAL_MAX: u64 = 128 * 1024 * 1024;

/// Bytes of layers for which a second thread is started.
const WORTH_A_THREAD: u64 = 256 * 1024;

/// A package for one platform, in memory. As `Verified<Package>` its digests were followed from a verified index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The digest of the index: what was signed, and what a reference pins.
    pub index: Digest,
    /// The digest of the platform's manifest.
    pub platform: Digest,
    /// `manifest.json`, parsed.
    pub manifest: Manifest,
    /// `manifest.json` as it was received.
    pub manifest_bytes: Vec<u8>,
    /// The BPF ELF objects by their name in the manifest.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// The README, where the package has one.
    pub readme: Option<String>,
}

/// Where blobs come from: a store, a registry's copy, a map in a test. Several may be asked for at once.
pub trait Blobs: Sync {
    /// The blob with this digest, or `None` if there is none. At most `limit` bytes are asked for: a longer blob may
    /// be an error. The caller checks the digest; an answer cannot be wrong in silence.
    ///
    /// # Errors
    /// When it cannot be read.
    fn blob(&self, digest: &Digest, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// Whether this process has just held the blob against its digest, as it came: it is not hashed again.
    fn is_checked(&self, _digest: &Digest) -> bool {
        false
    }
}

/// Follows the digests from a verified index to the package for `arch`.
///
/// Each size and digest on the way is checked; layers are one regular file within limits; the name and, where the
/// reference has one, the version are what was asked for; each object's bytes are what `manifest.json` says.
///
/// # Errors
/// When anything of that does not hold. Nothing is kept then.
pub fn admit(
    verified: Verified<Digest>,
    blobs: &dyn Blobs,
    arch: Arch,
    asked: &PackageRef,
) -> Result<Verified<Package>, AdmitError> {
    let origin = verified.origin().clone();
    let index = *verified;
    let followed = Reader { blobs, arch }.follow(index, asked)?;
    let Followed { platform, manifest, manifest_bytes, objects, readme } = followed;
    let package = Package { index, platform, manifest, manifest_bytes, objects, readme };
    Ok(Verified::new(package, origin))
}

/// What a package has for one platform: every byte was checked, and none is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The digest of the platform's manifest.
    pub platform: Digest,
    /// The names of the objects.
    pub objects: Vec<String>,
}

/// [`admit`], of a package that is looked at and not used.
///
/// # Errors
/// As [`admit`].
pub fn check(
    verified: &Verified<Digest>,
    blobs: &dyn Blobs,
    arch: Arch,
    asked: &PackageRef,
) -> Result<Checked, AdmitError> {
    let followed: Followed<Hashed> = Reader { blobs, arch }.follow(**verified, asked)?;
    let objects = followed.objects.into_keys().collect();
    Ok(Checked { platform: followed.platform, objects })
}

/// What a package says of itself: its objects need not be there, and nothing of it is let in.
///
/// # Errors
/// As [`admit`], but for what only objects can be wrong with.
pub fn manifest(
    index: Digest,
    blobs: &dyn Blobs,
    arch: Arch,
    asked: &PackageRef,
) -> Result<Manifest, AdmitError> {
    let reader = Reader { blobs, arch };
    let (_, parts) = reader.platform(index)?;
    reader.manifest(&parts, asked).map(|(manifest, _)| manifest)
}

/// What was found at the end of a digest chain.
struct Followed<T> {
    platform: Digest,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    objects: BTreeMap<String, T>,
    readme: Option<String>,
}

/// That a descriptor says what stands there in a package.
fn is_of(what: &'static str, entry: &Descriptor, expected: &'static str) -> Result<(), AdmitError> {
    if entry.media_type == expected {
        return Ok(());
    }
    let (digest, found) = (entry.digest, entry.media_type.escape_debug().to_string());
    Err(AdmitError::Kind { what, digest, found, expected })
}

fn is_what_was_asked(manifest: &Manifest, asked: &PackageRef) -> Result<(), AdmitError> {
    let found = &manifest.package;
    if found.name != asked.name {
        return Err(AdmitError::Name { asked: asked.name.clone(), found: found.name.clone() });
    }
    match &asked.version {
        Some(version) if *version != found.version => Err(AdmitError::Version {
            name: found.name.clone(),
            asked: version.clone(),
            found: found.version.clone(),
        }),
        _ => Ok(()),
    }
}

fn document(what: &'static str, digest: Digest, source: DocumentError) -> AdmitError {
    AdmitError::Document { what, digest, source: Box::new(source) }
}

/// How many layers are read at once: never so many that they take more memory than one of the largest may.
fn threads(layers: &[&Descriptor]) -> usize {
    let (largest, all) = layers.iter().fold((1, 0_u64), |(largest, all), layer| {
        (layer.size.max(largest), all.saturating_add(layer.size))
    });
    match all < WORTH_A_THREAD {
        true => 1,
        false => usize::try_from(LAYER_MAX / largest).unwrap_or(usize::MAX),
    }
}

/// An object that has two names.
fn copied<T: Taken>(object: &T, room: &Room) -> Result<T, AdmitError> {
    let (what, size) = ("objects of one platform", object.size());
    let too_large = |limit| AdmitError::TooLarge { what, size, limit };
    room.take(size).map_err(too_large).map(|()| object.clone())
}

struct Reader<'a> {
    blobs: &'a dyn Blobs,
    arch: Arch,
}

impl Reader<'_> {
    fn follow<T: Taken>(
        &self,
        index: Digest,
        asked: &PackageRef,
    ) -> Result<Followed<T>, AdmitError> {
        let (platform, parts) = self.platform(index)?;
        let (manifest, manifest_bytes) = self.manifest(&parts, asked)?;
        let objects = self.objects(&manifest, &parts)?;
        let readme = self.readme(&parts)?;
        Ok(Followed { platform, manifest, manifest_bytes, objects, readme })
    }

    fn platform(&self, digest: Digest) -> Result<(Digest, ImageManifest), AdmitError> {
        let what = "index";
        let bytes = self.whole(what, digest, MAX_DOCUMENT as u64)?;
        let index = Index::parse(&bytes);
        let index = index.map_err(|source| document(what, digest, source))?;
        let Some(entry) = index.platform(self.arch) else {
            let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
            let has = platforms.map(|p| format!("{}/{}", p.os, p.architecture)).collect();
            return Err(AdmitError::NoPlatform { arch: self.arch, has });
        };
        let (what, digest) = ("platform manifest", entry.digest);
        is_of(what, entry, media::MANIFEST)?;
        let bytes = self.part(what, entry, MAX_DOCUMENT as u64)?;
        let manifest = ImageManifest::parse(&bytes);
        let manifest = manifest.map_err(|source| document(what, digest, source))?;
        if manifest.artifact_type.as_deref() != Some(media::PACKAGE) {
            let found = manifest.artifact_type.unwrap_or_default().escape_debug().to_string();
            return Err(AdmitError::NotAPackage { digest, found });
        }
        self.config(&manifest.config)?;
        Ok((digest, manifest))
    }

    /// Nothing here reads the config, other tools do: where it is there, it is what was signed.
    fn config(&self, entry: &Descriptor) -> Result<(), AdmitError> {
        let what = "config";
        if self.is_there(what, entry.digest, MAX_DOCUMENT as u64)? {
            self.part(what, entry, MAX_DOCUMENT as u64)?;
        }
        Ok(())
    }

    /// Nodes need neither config nor README and may not have fetched them.
    fn is_there(&self, what: &'static str, digest: Digest, max: u64) -> Result<bool, AdmitError> {
        let blob = self.blobs.blob(&digest, max);
        let blob = blob.map_err(|source| AdmitError::Read { what, digest, source })?;
        Ok(blob.is_some())
    }

    fn manifest(
        &self,
        parts: &ImageManifest,
        asked: &PackageRef,
    ) -> Result<(Manifest, Vec<u8>), AdmitError> {
        let layers: Vec<_> = parts.layers_with_role("manifest").collect();
        let [layer] = layers.as_slice() else {
            let (what, found) = ("manifest", layers.len());
            return Err(AdmitError::Layers { what, found, expected: "exactly one".into() });
        };
        let room = Room::new(MANIFEST_MAX);
        let bytes: Vec<u8> = self.file("manifest layer", layer, MANIFEST_MAX, &room)?;
        let manifest = Manifest::parse(&bytes).map_err(AdmitError::Manifest)?;
        is_what_was_asked(&manifest, asked)?;
        Ok((manifest, bytes))
    }

    fn objects<T: Taken>(
        &self,
        manifest: &Manifest,
        parts: &ImageManifest,
    ) -> Result<BTreeMap<String, T>, AdmitError> {
        let arch = self.arch;
        let room = Room::new(OBJECTS_TOTAL_MAX);
        let mut held = self.object_layers(parts, &room)?;
        let mut named = Vec::new();
        let mut uses = BTreeMap::new();
        for (name, object) in &manifest.objects {
            let none = || AdmitError::NoDigest { name: name.clone(), arch };
            let digest = object.digest(arch).ok_or_else(none)?;
            named.push((name.clone(), digest));
            *uses.entry(digest).or_insert(0_usize) += 1;
        }
        let mut objects = BTreeMap::new();
        for (name, digest) in named {
            let more = uses.entry(digest).and_modify(|uses| *uses -= 1).or_default();
            let data = match *more {
                0 => held.remove(&digest),
                _ => held.get(&digest).map(|data| copied(data, &room)).transpose()?,
            };
            let data =
                data.ok_or_else(|| AdmitError::NoObject { name: name.clone(), arch, digest });
            objects.insert(name, data?);
        }
        match held.into_keys().next() {
            Some(digest) => Err(AdmitError::Unnamed { arch, digest }),
            None => Ok(objects),
        }
    }

    /// The objects by their uncompressed digest.
    fn object_layers<T: Taken>(
        &self,
        parts: &ImageManifest,
        room: &Room,
    ) -> Result<BTreeMap<Digest, T>, AdmitError> {
        let layers: Vec<_> = parts.layers_with_role("object").collect();
        if layers.is_empty() || layers.len() > OBJECTS_MAX {
            let expected = format!("1 to {OBJECTS_MAX}");
            return Err(AdmitError::Layers { what: "object", found: layers.len(), expected });
        }
        let object = |layer: &&Descriptor| {
            let object: T = self.file("object layer", layer, OBJECT_MAX, room)?;
            Ok((object.digest(), object))
        };
        Ok(at_once(&layers, threads(&layers), object)?.into_iter().collect())
    }

    fn readme(&self, parts: &ImageManifest) -> Result<Option<String>, AdmitError> {
        let Some(layer) = parts.layers_with_role("readme").next() else { return Ok(None) };
        let what = "readme layer";
        is_of(what, layer, media::LAYER)?;
        if !self.is_there(what, layer.digest, LAYER_MAX)? {
            return Ok(None);
        }
        let text = self.file(what, layer, README_MAX, &Room::new(README_MAX))?;
        String::from_utf8(text).map(Some).map_err(|_| AdmitError::Readme)
    }

    fn file<T: Taken>(
        &self,
        what: &'static str,
        layer: &Descriptor,
        max: u64,
        room: &Room,
    ) -> Result<T, AdmitError> {
        is_of(what, layer, media::LAYER)?;
        let bytes = self.part(what, layer, LAYER_MAX)?;
        let digest = layer.digest;
        let read = layer::read_within(&bytes, max, room);
        read.map(|(_, file)| file).map_err(|source| AdmitError::Layer { what, digest, source })
    }

    /// What a descriptor points at, with the size that it says.
    fn part(
        &self,
        what: &'static str,
        entry: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, AdmitError> {
        let (digest, expected) = (entry.digest, entry.size);
        if expected > limit {
            return Err(AdmitError::TooLarge { what, size: expected, limit });
        }
        let bytes = self.whole(what, digest, expected)?;
        let found = bytes.len() as u64;
        if found != expected {
            return Err(AdmitError::Size { what, digest, expected, found });
        }
        Ok(bytes)
    }

    /// A blob whose bytes are what its digest says.
    fn whole(&self, what: &'static str, digest: Digest, limit: u64) -> Result<Vec<u8>, AdmitError> {
        let bytes = self.blobs.blob(&digest, limit);
        let bytes = bytes.map_err(|source| AdmitError::Read { what, digest, source })?;
        let bytes = bytes.ok_or(AdmitError::Missing { what, digest })?;
        if self.blobs.is_checked(&digest) {
            return Ok(bytes);
        }
        let found = Digest::of(&bytes);
        if found == digest { Ok(bytes) } else { Err(AdmitError::Altered { what, digest, found }) }
    }
}
