//! Reading an archive blob after blob.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use skep_spec::oci::{Descriptor, ImageManifest, Index, Layout};
use skep_spec::{Digest, PackageRef, media};

use super::entries::{Entries, unexpected};
use super::{ArchiveError, BLOBS, INDEX};
use crate::ustar::BLOCK;

/// An archive that is being read, one blob at a time.
pub struct Reader<R> {
    entries: Entries<R>,
    index: Index,
    packages: BTreeMap<String, Digest>,
    /// The blobs that came, with their sizes.
    sizes: BTreeMap<Digest, u64>,
}

impl<R: Read> Reader<R> {
    /// Reads its beginning.
    ///
    /// # Errors
    /// It does not begin with the two files of a layout.
    pub fn new(from: R) -> Result<Self, ArchiveError> {
        let mut entries = Entries::new(from);
        is_layout(&entries.must(Layout::FILE)?)?;
        let index = Index::parse_list(&entries.must(INDEX)?).map_err(|error| {
            ArchiveError::Layout { what: INDEX, why: format!("{error} ({})", error.code()) }
        })?;
        let packages = packages(&index)?;
        Ok(Self { entries, index, packages, sizes: BTreeMap::new() })
    }

    /// Where in the archive the last blob begins that came.
    #[must_use]
    pub fn last_begins_at(&self, size: u64) -> u64 {
        self.entries.position() - size.next_multiple_of(BLOCK as u64)
    }

    /// The next blob, held against its name; none at the end.
    ///
    /// # Errors
    /// Not ustar, an entry too many or in another place, an altered blob, beyond the limits.
    pub fn blob(&mut self) -> Result<Option<(Digest, Vec<u8>)>, ArchiveError> {
        let Some((name, data)) = self.entries.next()? else { return Ok(None) };
        let digest = blob_name(&name).ok_or_else(|| unexpected(&name))?;
        if self.sizes.last_key_value().is_some_and(|(last, _)| *last >= digest) {
            return Err(unexpected(&name));
        }
        if Digest::of(&data) != digest {
            return Err(ArchiveError::Altered(digest));
        }
        self.sizes.insert(digest, data.len() as u64);
        Ok(Some((digest, data)))
    }

    /// After the last blob: `index.json` and the packages by name. Until then nobody knows whether the archive is whole.
    /// `blob` gives a blob that came, for the documents to be followed.
    ///
    /// # Errors
    /// A blob is missing, or nothing names it; a document cannot be read.
    pub fn finish(
        self,
        blob: impl Fn(&Digest) -> Result<Option<Vec<u8>>, ArchiveError>,
    ) -> Result<(Index, BTreeMap<String, Digest>), ArchiveError> {
        reached(&self.index, &self.sizes, blob)?;
        Ok((self.index, self.packages))
    }
}

fn blob_name(name: &str) -> Option<Digest> {
    format!("sha256:{}", name.strip_prefix(BLOBS)?).parse().ok()
}

fn is_layout(bytes: &[u8]) -> Result<(), ArchiveError> {
    let layout = |why: String| ArchiveError::Layout { what: Layout::FILE, why };
    match Layout::read(bytes).map_err(|error| layout(error.to_string()))?.is_known() {
        true => Ok(()),
        false => Err(layout(format!("its version is not {}", Layout::VERSION))),
    }
}

fn packages(index: &Index) -> Result<BTreeMap<String, Digest>, ArchiveError> {
    let mut packages = BTreeMap::new();
    for entry in index.manifests.iter().filter(|entry| entry.media_type == media::INDEX) {
        let name = entry.annotations.get(media::REF_NAME).map_or("", String::as_str);
        let fine = |found: &PackageRef| found.registry.is_none() && found.version.is_some();
        if !name.parse::<PackageRef>().is_ok_and(|found| fine(&found) && !name.contains('@')) {
            let why = format!("'{}' is not publisher/name:version", name.escape_debug());
            return Err(ArchiveError::Layout { what: "index.json", why });
        }
        packages.insert(name.to_owned(), entry.digest);
    }
    Ok(packages)
}

/// Follows every descriptor: nothing may be missing, and nothing may be left.
fn reached(
    index: &Index,
    sizes: &BTreeMap<Digest, u64>,
    blob: impl Fn(&Digest) -> Result<Option<Vec<u8>>, ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<Descriptor> = index.manifests.clone();
    while let Some(descriptor) = todo.pop() {
        let digest = descriptor.digest;
        let missing = ArchiveError::Missing(digest);
        if sizes.get(&digest) != Some(&descriptor.size) {
            return Err(missing);
        }
        if !seen.insert(digest) {
            continue;
        }
        let document = |source| ArchiveError::Document { digest, source: Box::new(source) };
        match descriptor.media_type.as_str() {
            media::INDEX => {
                let data = blob(&digest)?.ok_or(missing)?;
                let inner = Index::parse(&data).map_err(document)?;
                // Platforms may be left out of an archive.
                let there = |entry: &Descriptor| sizes.contains_key(&entry.digest);
                todo.extend(inner.manifests.into_iter().filter(there));
            }
            media::MANIFEST => {
                let data = blob(&digest)?.ok_or(missing)?;
                let inner = ImageManifest::parse(&data).map_err(document)?;
                todo.push(inner.config);
                todo.extend(inner.layers);
            }
            _ => {}
        }
    }
    let stray = sizes.keys().find(|digest| !seen.contains(digest));
    stray.map_or(Ok(()), |digest| Err(ArchiveError::Stray(*digest)))
}
