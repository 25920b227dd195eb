//! Air-gap archives from stores and into them: packages with all that refers to them, in one file.

mod opened;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;

use skep_spec::oci::{Annotations, Descriptor, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, PackageRef, media};
use skep_trust::admit::LAYER_MAX;
use skep_trust::archive::{ArchiveError, Reader, Writer};

pub use self::opened::{is_archive, packages, take};
use crate::keys_and_channels;
use crate::signatures::{SignatureError, artifact_type, referrers};
use crate::store::{Store, StoreError, referrer_entry};

/// A package in a store.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Where.
    pub store: &'a Store,
    /// Its name and version.
    pub reference: PackageRef,
    /// Of its index.
    pub index: Digest,
}

/// What an archive was made of, or made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// The packages, by `publisher/name:version`.
    pub packages: BTreeMap<String, Digest>,
    /// How many blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Why packages cannot be put into an archive, or be taken out.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index of a package.
    #[error(transparent)]
    Signatures(#[from] SignatureError),
    /// Nothing of a package is for the architectures that are wanted.
    #[error("{package} has nothing for {}", wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NoPlatform {
        /// The package.
        package: String,
        /// The architectures.
        wanted: BTreeSet<Arch>,
    },
    /// Some of what is wanted of a package is not in its store.
    #[error("what is here of {package} is for {} only: put all its parts into one layout with skep unbundle -o, or say with --arch that no more is wanted", here.join(", "))]
    Partial {
        /// The package.
        package: String,
        /// The architectures that are there.
        here: Vec<String>,
    },
    /// Two packages of one name and version that are not the same.
    #[error("{package} is given twice, with different digests: {first} and {second}")]
    Twice {
        /// The package.
        package: String,
        /// One.
        first: Digest,
        /// The other.
        second: Digest,
    },
}

impl BundleError {
    /// Whether a package or archive is not what its digests say: refused, wherever its bytes came from.
    #[must_use]
    pub const fn is_altered(&self) -> bool {
        match self {
            Self::Archive(error) => !matches!(error, ArchiveError::Io { .. }),
            Self::Store(error) => error.is_altered(),
            Self::Signatures(error) => error.is_altered(),
            Self::NoPlatform { .. } | Self::Partial { .. } | Self::Twice { .. } => false,
        }
    }

    /// The standard's code, where it has one for that.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Archive(ArchiveError::Io { .. }) => None,
            Self::Archive(error) => Some(error.code()),
            Self::Store(error) => error.code(),
            Self::Signatures(error) => error.code(),
            Self::NoPlatform { .. } | Self::Partial { .. } | Self::Twice { .. } => None,
        }
    }
}

/// Writes packages, their signatures and whatever else refers to them; only these architectures, or all where none is named; and
/// the kernel types that `beside` holds. The same packages always give the same bytes.
///
/// # Errors
/// A package is not whole in its store, or the archive cannot be written.
pub fn write(
    sources: &[Source<'_>],
    beside: Option<&Store>,
    arches: &BTreeSet<Arch>,
    out: impl Write,
) -> Result<Archived, BundleError> {
    let mut contents = Contents::default();
    for source in sources {
        contents.package(source, arches)?;
        contents.beside(source.store)?;
    }
    beside.map_or(Ok(()), |store| contents.beside(store))?;
    let Contents { packages, referrers, blobs } = contents;
    let listed = packages.iter().map(|(name, descriptor)| Descriptor {
        annotations: Annotations::from([(media::REF_NAME.to_owned(), name.clone())]),
        ..descriptor.clone()
    });
    let index = Index::new(listed.chain(referrers.into_values()).collect(), Annotations::new());
    let mut writer = Writer::new(out, &index.to_bytes())?;
    let mut archived = Archived { blobs: blobs.len(), ..Archived::default() };
    for (digest, store) in blobs {
        let bytes = store.require(&digest, LAYER_MAX)?;
        archived.bytes += bytes.len() as u64;
        writer.add(digest, &bytes)?;
    }
    writer.finish()?;
    let digests = packages.into_iter().map(|(name, descriptor)| (name, descriptor.digest));
    Ok(Archived { packages: digests.collect(), ..archived })
}

/// That all of some packages that [`write`] would put into an archive is for the architectures that are wanted, and there.
///
/// # Errors
/// It is not.
pub fn is_whole(sources: &[Source<'_>], arches: &BTreeSet<Arch>) -> Result<(), BundleError> {
    let mut contents = Contents::default();
    sources.iter().try_for_each(|source| contents.package(source, arches))
}

/// Takes everything out of an archive into a store, and lists it there when all of it has been checked. Where it fails, no
/// blob stays that was not there before.
///
/// # Errors
/// It is no archive, or not whole; the store cannot be written.
pub fn read(from: impl Read, store: &Store) -> Result<Archived, BundleError> {
    let mut new = Vec::new();
    let read = read_into(from, store, &mut new);
    if read.is_err() {
        // What cannot be removed now is collected some time; the error is the one to tell.
        new.iter().for_each(|digest| drop(store.remove(digest)));
    }
    read
}

fn read_into(
    from: impl Read,
    store: &Store,
    new: &mut Vec<Digest>,
) -> Result<Archived, BundleError> {
    let mut reader = Reader::new(from)?;
    let archived = blobs_into(&mut reader, store, new)?;
    let blob = |digest: &Digest| {
        let failed =
            |error: StoreError| ArchiveError::Io { action: "read", why: error.to_string() };
        store.read(digest, MAX_DOCUMENT as u64).map_err(failed)
    };
    let (index, packages) = reader.finish(blob)?;
    store.settle()?;
    store.list(index.manifests)?;
    Ok(Archived { packages, ..archived })
}

/// The disk takes a blob while the next one is read and held against its name.
fn blobs_into(
    reader: &mut Reader<impl Read>,
    store: &Store,
    new: &mut Vec<Digest>,
) -> Result<Archived, BundleError> {
    let mut archived = Archived::default();
    thread::scope(|scope| {
        let (sender, blobs) = mpsc::sync_channel::<(Digest, Vec<u8>)>(0);
        let keep = |(digest, bytes): (Digest, Vec<u8>)| store.put_checked(&digest, &bytes);
        let writer = scope.spawn(move || blobs.into_iter().try_for_each(keep));
        while let Some((digest, bytes)) = reader.blob()? {
            if !store.has(&digest) {
                new.push(digest);
            }
            archived.blobs += 1;
            archived.bytes += bytes.len() as u64;
            if sender.send((digest, bytes)).is_err() {
                break; // the writer says why
            }
        }
        drop(sender);
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(archived)
    })
}

/// What an archive is to hold.
#[derive(Default)]
struct Contents<'a> {
    packages: BTreeMap<String, Descriptor>,
    referrers: BTreeMap<Digest, Descriptor>,
    blobs: BTreeMap<Digest, &'a Store>,
}

impl<'a> Contents<'a> {
    fn package(&mut self, source: &Source<'a>, arches: &BTreeSet<Arch>) -> Result<(), BundleError> {
        let Source { store, reference, index: digest } = source;
        let name = PackageRef {
            registry: None,
            path: String::new(),
            digest: None,
            channel: None,
            ..reference.clone()
        };
        let name = name.to_string();
        let bytes = store.require(digest, MAX_DOCUMENT as u64)?;
        let index = Index::parse(&bytes).map_err(|source| SignatureError::Index {
            digest: *digest,
            source: Box::new(source),
        })?;
        let descriptor = Descriptor::of(media::INDEX, &bytes);
        match self.packages.insert(name.clone(), descriptor) {
            Some(first) if first.digest != *digest => {
                let (first, second) = (first.digest, *digest);
                return Err(BundleError::Twice { package: name, first, second });
            }
            _ => {}
        }
        let is_wanted = |entry: &&Descriptor| {
            let arch = entry.platform.as_ref().and_then(|platform| platform.arch());
            arches.is_empty() || arch.is_some_and(|arch| arches.contains(&arch))
        };
        is_there(store, &name, &index, &is_wanted)?;
        let platforms: Vec<Digest> =
            index.manifests.iter().filter(is_wanted).map(|entry| entry.digest).collect();
        if platforms.is_empty() {
            return Err(BundleError::NoPlatform { package: name, wanted: arches.clone() });
        }
        self.blobs.insert(*digest, store);
        for platform in &platforms {
            self.manifest(store, *platform)?;
        }
        for subject in platforms.iter().chain([digest]) {
            for (manifest, bytes) in referrers(store, *subject)? {
                let mut descriptor = Descriptor::of(media::MANIFEST, &bytes);
                descriptor.artifact_type = Some(artifact_type(&manifest).to_owned());
                self.manifest(store, descriptor.digest)?;
                self.referrers.insert(descriptor.digest, descriptor);
            }
        }
        Ok(())
    }

    /// What the layout carries that refers to no package.
    fn beside(&mut self, store: &'a Store) -> Result<(), BundleError> {
        for Descriptor { digest, size, artifact_type, .. } in store.index()?.manifests {
            let is_carried =
                |kind: &str| keys_and_channels::KINDS.contains(&kind) || kind == media::BTF;
            let kind = artifact_type.filter(|kind| is_carried(kind));
            if let Some(kind) = kind {
                self.manifest(store, digest)?;
                self.referrers.insert(digest, referrer_entry(&kind, digest, size));
            }
        }
        Ok(())
    }

    /// A manifest with its config and layers.
    fn manifest(&mut self, store: &'a Store, digest: Digest) -> Result<(), BundleError> {
        let bytes = store.require(&digest, MAX_DOCUMENT as u64)?;
        let manifest = ImageManifest::parse(&bytes).map_err(|source| StoreError::Document {
            what: "manifest",
            digest,
            source: Box::new(source),
        })?;
        let blobs = manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest);
        self.blobs.extend(blobs.chain([digest]).map(|digest| (digest, store)));
        Ok(())
    }
}

/// That each platform of a package that is wanted is in its store, or none: then the store itself is damaged.
fn is_there(
    store: &Store,
    package: &str,
    index: &Index,
    is_wanted: &impl Fn(&&Descriptor) -> bool,
) -> Result<(), BundleError> {
    let (mut here, mut is_whole) = (Vec::new(), true);
    for entry in &index.manifests {
        let is_here = store.read(&entry.digest, MAX_DOCUMENT as u64)?.is_some();
        is_whole &= is_here || !is_wanted(&entry);
        let arch = entry.platform.as_ref().and_then(|platform| platform.arch());
        here.extend(arch.filter(|_| is_here).map(|arch| arch.to_string()));
    }
    match is_whole || here.is_empty() {
        true => Ok(()),
        false => Err(BundleError::Partial { package: package.to_owned(), here }),
    }
}
