//! One package out of an archive in a file: all of the archive is checked, and only that package is taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use skep_spec::oci::{Descriptor, ImageManifest, Index, Layout};
use skep_spec::{Arch, Digest, PackageRef, media};
use skep_trust::archive::{ArchiveError, Reader};

use super::BundleError;
use crate::store::{Store, StoreError, choose, io_error, packages_of};
use crate::{keys_and_channels, regular};

/// Whether a file is meant to be an archive: by its beginning, or for one that lost that, by its name.
#[must_use]
pub fn is_archive(path: &Path) -> bool {
    let mut begin = [0; Layout::FILE.len()];
    let read = regular::open(path).and_then(|mut file| file.read_exact(&mut begin));
    let begins = read.is_ok() && begin == Layout::FILE.as_bytes();
    begins || path.extension().is_some_and(|extension| extension == "skep")
}

/// Holds all of an archive against its digests, then takes its one package, or the one of several that `wanted` names, out
/// into a store, with all that refers to it; of its platforms only `arch`, where one is named.
///
/// # Errors
/// It is no archive, or not whole; it holds no such package, or several and none is named; the store cannot be written.
pub fn take(
    path: &Path,
    wanted: Option<&PackageRef>,
    arch: Option<Arch>,
    store: &Store,
) -> Result<(PackageRef, Digest), BundleError> {
    let opened = Opened::checked(regular::open(path).map_err(io_error("read", path))?)?;
    let (reference, digest) = choose(packages_of(&opened.index), wanted, path)?;
    let mut taken = Taken { opened: &opened, blobs: BTreeSet::new(), listed: Vec::new() };
    taken.package(digest, arch)?;
    for blob in &taken.blobs {
        store.put_checked(blob, &opened.blob(blob)?)?;
    }
    store.settle()?;
    store.list(taken.listed)?;
    Ok((reference, digest))
}

/// What packages an archive holds, of which all is held against its digests.
///
/// # Errors
/// It is no archive, or not whole.
pub fn packages(path: &Path) -> Result<Vec<(PackageRef, Digest)>, BundleError> {
    let opened = Opened::checked(regular::open(path).map_err(io_error("read", path))?)?;
    Ok(packages_of(&opened.index))
}

/// An archive of which every byte was held against its digest.
struct Opened {
    file: File,
    index: Index,
    /// Where each blob lies, and its size.
    blobs: BTreeMap<Digest, (u64, u64)>,
}

impl Opened {
    fn checked(file: File) -> Result<Self, ArchiveError> {
        let mut reader = Reader::new(BufReader::new(&file))?;
        let mut blobs = BTreeMap::new();
        while let Some((digest, bytes)) = reader.blob()? {
            let size = bytes.len() as u64;
            blobs.insert(digest, (reader.last_begins_at(size), size));
        }
        let (index, _) = reader.finish(|digest| {
            blobs.get(digest).map(|place| read(&file, *digest, *place)).transpose()
        })?;
        Ok(Self { file, index, blobs })
    }

    /// A blob, checked again: the file may be written to meanwhile.
    fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ArchiveError> {
        let place = self.blobs.get(digest).ok_or(ArchiveError::Missing(*digest))?;
        read(&self.file, *digest, *place)
    }

    fn manifest(&self, digest: Digest) -> Result<ImageManifest, BundleError> {
        let bytes = self.blob(&digest)?;
        ImageManifest::parse(&bytes).map_err(|source| {
            StoreError::Document { what: "manifest", digest, source: Box::new(source) }.into()
        })
    }
}

fn read(file: &File, digest: Digest, (at, size): (u64, u64)) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| ArchiveError::Limit("bytes"))?];
    file.read_exact_at(&mut bytes, at)
        .map_err(|error| ArchiveError::Io { action: "read", why: error.to_string() })?;
    if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(ArchiveError::Altered(digest)) }
}

/// What is taken out of an archive.
struct Taken<'a> {
    opened: &'a Opened,
    blobs: BTreeSet<Digest>,
    listed: Vec<Descriptor>,
}

impl Taken<'_> {
    fn package(&mut self, digest: Digest, arch: Option<Arch>) -> Result<(), BundleError> {
        let entries = &self.opened.index.manifests;
        let is_it =
            |entry: &&Descriptor| entry.media_type == media::INDEX && entry.digest == digest;
        self.listed.extend(entries.iter().filter(is_it).cloned());
        self.blobs.insert(digest);
        let bytes = self.opened.blob(&digest)?;
        let index = Index::parse(&bytes).map_err(|source| StoreError::Document {
            what: "index",
            digest,
            source: Box::new(source),
        })?;
        for entry in &index.manifests {
            let of = entry.platform.as_ref().and_then(|platform| platform.arch());
            let is_wanted = arch.is_none() || of == arch;
            if is_wanted && self.opened.blobs.contains_key(&entry.digest) {
                self.manifest(entry.digest)?;
            }
        }
        self.referrers()
    }

    /// What refers to something that is taken, and what refers to no package.
    fn referrers(&mut self) -> Result<(), BundleError> {
        for entry in &self.opened.index.manifests {
            if entry.media_type != media::MANIFEST || entry.artifact_type.is_none() {
                continue;
            }
            let is_apart = entry
                .artifact_type
                .as_deref()
                .is_some_and(|kind| keys_and_channels::KINDS.contains(&kind));
            let subject = self.opened.manifest(entry.digest)?.subject;
            if is_apart || subject.is_some_and(|subject| self.blobs.contains(&subject.digest)) {
                self.manifest(entry.digest)?;
                self.listed.push(entry.clone());
            }
        }
        Ok(())
    }

    /// A manifest with its config and layers.
    fn manifest(&mut self, digest: Digest) -> Result<(), BundleError> {
        let manifest = self.opened.manifest(digest)?;
        self.blobs.extend(manifest.layers.iter().chain([&manifest.config]).map(|b| b.digest));
        self.blobs.insert(digest);
        Ok(())
    }
}
