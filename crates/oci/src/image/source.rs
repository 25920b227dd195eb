//! Where an image of others is, and its bytes from there: each within its limit, each digest checked.

use std::fmt;

use skep_spec::json::{self, JsonError};
use skep_spec::oci::{Descriptor, DocumentError, ImageManifest, Index, MAX_DOCUMENT, MAX_ENTRIES};
use skep_spec::{Digest, media};

use super::{ImageError, ImageRef, docker};
use crate::{Registry, Store};

/// The media types of images.
const ACCEPT: [&str; 4] = [media::INDEX, media::MANIFEST, docker::LIST, docker::MANIFEST];

/// Where an image is.
pub enum ImagePlace {
    /// In a registry.
    Registry(Box<Registry>, ImageRef),
    /// In an OCI layout: its only one, or the one of this name (`org.opencontainers.image.ref.name`).
    Layout(Store, Option<String>),
}

/// What a digest or tag of an image means.
pub(super) enum Document {
    Index(Index),
    Manifest(Box<ImageManifest>),
}

impl fmt::Display for ImagePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(_, reference) => reference.fmt(f),
            Self::Layout(store, None) => write!(f, "'{}'", store.root().display()),
            Self::Layout(store, Some(tag)) => write!(f, "'{tag}' in '{}'", store.root().display()),
        }
    }
}

impl ImagePlace {
    /// What the reference means, or the entry of the layout's list.
    pub(super) async fn root(&self) -> Result<Document, ImageError> {
        let (registry, reference) = match self {
            Self::Layout(store, tag) => {
                let entry = listed(store, tag.as_deref())?;
                return self.document(&entry).await;
            }
            Self::Registry(registry, reference) => (registry, reference),
        };
        let (action, repository) = (self.action(), &reference.repository);
        let bytes = match &reference.digest {
            Some(digest) => {
                registry.manifest_by_digest(&action, repository, digest, &ACCEPT).await?
            }
            None => registry.manifest_tagged(&action, repository, &reference.tag, &ACCEPT).await?,
        };
        self.parsed(&bytes.ok_or_else(|| registry.not_found(&action))?)
    }

    /// The document that a descriptor points at.
    pub(super) async fn document(&self, entry: &Descriptor) -> Result<Document, ImageError> {
        let Self::Registry(registry, reference) = self else {
            return self.parsed(&self.blob("a manifest", entry, MAX_DOCUMENT as u64).await?);
        };
        let (action, repository) = (self.action(), &reference.repository);
        let bytes =
            registry.manifest_by_digest(&action, repository, &entry.digest, &ACCEPT).await?;
        let bytes = bytes.ok_or_else(|| registry.not_found(&action))?;
        self.has_size(entry, bytes.len())?;
        self.parsed(&bytes)
    }

    /// The bytes that a descriptor points at.
    pub(super) async fn blob(
        &self,
        what: &'static str,
        entry: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let Descriptor { digest, size, .. } = entry;
        if *size > limit {
            return Err(ImageError::TooLarge { image: self.to_string(), what, size: *size, limit });
        }
        match self {
            Self::Layout(store, _) => {
                let bytes = store.require(digest, limit)?;
                self.has_size(entry, bytes.len())?;
                Ok(bytes)
            }
            Self::Registry(registry, reference) => {
                let action = self.action();
                let bytes = registry.blob(&action, &reference.repository, digest, *size).await?;
                Ok(bytes.ok_or_else(|| registry.not_found(&action))?)
            }
        }
    }

    fn action(&self) -> String {
        format!("read the image {self}")
    }

    fn has_size(&self, entry: &Descriptor, found: usize) -> Result<(), ImageError> {
        let (image, digest, expected) = (self.to_string(), entry.digest, entry.size);
        match found as u64 {
            found if found == expected => Ok(()),
            found => Err(ImageError::Length { image, digest, expected, found }),
        }
    }

    fn parsed(&self, bytes: &[u8]) -> Result<Document, ImageError> {
        parse(bytes).map_err(|source| {
            let source = Box::new(source);
            ImageError::Document { image: self.to_string(), source }
        })
    }
}

/// An index or a manifest, in OCI's words or docker's.
fn parse(bytes: &[u8]) -> Result<Document, DocumentError> {
    let broken = |what| move |source: JsonError| DocumentError::Json { what, source };
    let value = json::parse(bytes, MAX_DOCUMENT).map_err(broken("manifest"))?;
    if value.get("manifests").is_some() {
        let index: Index = json::typed(value).map_err(broken("index"))?;
        let types = [media::INDEX, docker::LIST];
        is_of("index", index.schema_version, &index.media_type, types, index.manifests.len())?;
        return Ok(Document::Index(index));
    }
    let manifest: ImageManifest = json::typed(value).map_err(broken("manifest"))?;
    let types = [media::MANIFEST, docker::MANIFEST];
    let (version, layers) = (manifest.schema_version, manifest.layers.len());
    is_of("manifest", version, &manifest.media_type, types, layers)?;
    Ok(Document::Manifest(Box::new(manifest)))
}

fn is_of(
    what: &'static str,
    version: i64,
    media_type: &str,
    types: [&str; 2],
    entries: usize,
) -> Result<(), DocumentError> {
    let kind = |field, found, wanted: &str| DocumentError::Kind {
        what,
        field,
        found,
        wanted: wanted.into(),
    };
    if version != 2 {
        return Err(kind("schemaVersion", version.to_string(), "2"));
    }
    if !types.contains(&media_type) {
        return Err(kind("mediaType", format!("'{media_type}'"), &types.join(" or ")));
    }
    match entries > MAX_ENTRIES {
        true => Err(DocumentError::TooMany { what, found: entries, max: MAX_ENTRIES }),
        false => Ok(()),
    }
}

/// The image that a layout lists, or the one of a name where it lists several. What refers to others, such as signatures, is
/// listed without a name beside those that have one.
fn listed(store: &Store, tag: Option<&str>) -> Result<Descriptor, ImageError> {
    let name = |entry: &Descriptor| entry.annotations.get(media::REF_NAME).cloned();
    let mut all = store.index()?.manifests;
    if all.iter().any(|entry| name(entry).is_some()) {
        all.retain(|entry| name(entry).is_some());
    }
    let called = |entry: &Descriptor| name(entry).unwrap_or_else(|| entry.digest.to_string());
    let there: Vec<String> = all.iter().map(called).collect();
    let layout = store.root().display().to_string();
    if let Some(tag) = tag {
        all.retain(|entry| called(entry) == tag);
    }
    let digests = |all: &[Descriptor]| all.iter().map(|one| one.digest).collect::<Vec<Digest>>();
    match all.first() {
        None => Err(ImageError::NoImage { layout, tag: tag.map(str::to_owned), there }),
        Some(first) if digests(&all).iter().all(|digest| *digest == first.digest) => {
            Ok(first.clone())
        }
        Some(_) => Err(ImageError::Several { layout, there }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_words_are_read_and_others_are_not() {
        let entry = |kind: &str| {
            format!(r#"{{"mediaType":"{kind}","digest":"{}","size":2}}"#, Digest::of(b"{}"))
        };
        let manifest = |kind: &str| {
            let config = entry(docker::CONFIG);
            format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[]}}"#)
        };
        let index = |kind: &str| {
            let list = entry(docker::MANIFEST);
            format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{list}]}}"#)
        };
        let read = |text: String| parse(text.as_bytes());
        assert!(matches!(read(manifest(docker::MANIFEST)), Ok(Document::Manifest(_))));
        assert!(matches!(read(index(docker::LIST)), Ok(Document::Index(_))));
        for text in [
            manifest(docker::LIST),
            index(docker::MANIFEST),
            manifest("text/html"),
            manifest(media::MANIFEST).replace("schemaVersion\":2", "schemaVersion\":1"),
            manifest(media::MANIFEST).replace("\"layers\":[]", "\"layers\":[],\"layers\":[]"),
            "{".to_owned(),
            "[]".to_owned(),
            String::new(),
        ] {
            assert!(read(text.clone()).is_err(), "{text}");
        }
    }
}
