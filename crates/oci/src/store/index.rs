//! `index.json`: what a layout lists.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use skep_spec::oci::{Descriptor, Index};
use skep_spec::{Digest, PackageName, PackageRef, Version, media};

use super::{Store, StoreError, io_error};
use crate::regular;

pub(super) const FILE: &str = "index.json";
pub(super) const LOCK: &str = ".index.lock";
/// Largest `index.json` that is read, in bytes.
const INDEX_MAX: u64 = 4 * 1024 * 1024;
/// The annotation by which layouts name their entries (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl Store {
    /// `index.json`: the packages and signatures that the layout lists.
    ///
    /// # Errors
    /// When it cannot be read or is no index.
    pub fn index(&self) -> Result<Index, StoreError> {
        let path = self.index_path();
        let mut bytes = Vec::new();
        let file = regular::open(&path).map_err(io_error("read", &path))?;
        file.take(INDEX_MAX + 1).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
        Index::parse_list(&bytes)
            .map_err(|source| StoreError::Index { path, source: Box::new(source) })
    }

    /// Lists a package's index under `publisher/name:version`, in place of what had that name.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written.
    pub fn list_package(
        &self,
        name: &PackageName,
        version: &Version,
        index: Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        self.list(vec![package_entry(name, version, index, size)])
    }

    /// Lists a referrer (a signature's manifest), once.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written.
    pub fn list_referrer(
        &self,
        artifact_type: &str,
        manifest: Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        self.list(vec![referrer_entry(artifact_type, manifest, size)])
    }

    /// Lists all of these, in place of what had their names or was listed already.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written, or has no room for all: then none is listed.
    pub(crate) fn list(&self, entries: Vec<Descriptor>) -> Result<(), StoreError> {
        let name = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
        let names: BTreeSet<String> = entries.iter().filter_map(name).collect();
        let digests: BTreeSet<Digest> = entries
            .iter()
            .filter(|entry| name(entry).is_none())
            .map(|entry| entry.digest)
            .collect();
        self.change_index(|list| {
            list.manifests.retain(|other| match name(other) {
                Some(name) => !names.contains(&name),
                None => !digests.contains(&other.digest),
            });
            list.manifests.extend(entries);
        })
    }

    /// Takes entries off the list: `keep` says which stay. Blobs stay.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written.
    pub fn unlist(&self, keep: impl Fn(&Descriptor) -> bool) -> Result<(), StoreError> {
        self.change_index(|list| list.manifests.retain(keep))
    }

    /// The packages that the layout lists, each with its name and version. What others listed under names that no
    /// package has is left out.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub fn packages(&self) -> Result<Vec<(PackageRef, Digest)>, StoreError> {
        Ok(packages_of(&self.index()?))
    }

    /// The one package that the layout lists, or the one of several that `wanted` names, with its own name and version.
    ///
    /// # Errors
    /// There is none, or there are several and none is named; when `index.json` cannot be read.
    pub fn the_package(
        &self,
        wanted: Option<&PackageRef>,
    ) -> Result<(PackageRef, Digest), StoreError> {
        choose(self.packages()?, wanted, &self.root)
    }

    /// The index digest that `reference` means in this layout, if it is listed.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub fn find(&self, reference: &PackageRef) -> Result<Option<Digest>, StoreError> {
        if let Some(digest) = reference.digest {
            return Ok(self.has(&digest).then_some(digest));
        }
        if reference.version.is_none() {
            return Ok(None);
        }
        let is_it = |listed: &PackageRef| {
            listed.name == reference.name && listed.version == reference.version
        };
        let packages = self.packages()?;
        Ok(packages.into_iter().find(|(listed, _)| is_it(listed)).map(|(_, digest)| digest))
    }

    pub(super) fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), StoreError> {
        let lock_path = self.root.join(LOCK);
        let lock = regular::append(&lock_path).map_err(io_error("open", &lock_path))?;
        lock.lock().map_err(io_error("lock", &lock_path))?; // until `lock` is dropped
        let path = self.index_path();
        let is_there = path.exists();
        let before = if is_there { self.index()? } else { empty_index() };
        let mut after = before.clone();
        change(&mut after);
        if is_there && after == before {
            return Ok(());
        }
        let bytes = after.to_bytes();
        // What could not be read again would close the store to everyone.
        Index::parse_list(&bytes)
            .map_err(|source| StoreError::Full { path: path.clone(), source: Box::new(source) })?;
        match is_there || !after.manifests.is_empty() {
            true => self.write(&path, &bytes),
            false => self.place(&path, &bytes), // a new one that lists nothing loses nothing
        }
    }

    fn index_path(&self) -> PathBuf {
        self.root.join(FILE)
    }
}

/// The packages that a list names, each with its name and version.
pub(crate) fn packages_of(list: &Index) -> Vec<(PackageRef, Digest)> {
    let indexes = list.manifests.iter().filter(|entry| entry.media_type == media::INDEX);
    let package =
        |entry: &Descriptor| Some((listed_as(entry.annotations.get(REF_NAME)?)?, entry.digest));
    indexes.filter_map(package).collect()
}

/// The one of these packages, or the one of several that `wanted` names; `root` is what holds them.
pub(crate) fn choose(
    packages: Vec<(PackageRef, Digest)>,
    wanted: Option<&PackageRef>,
    root: &Path,
) -> Result<(PackageRef, Digest), StoreError> {
    let is_wanted = |listed: &PackageRef| {
        wanted.is_none_or(|w| listed.name == w.name && listed.version == w.version)
    };
    let root = root.to_owned();
    let listed = || packages.iter().map(|(listed, _)| listed.to_string()).collect();
    let mut found = packages.iter().filter(|(listed, _)| is_wanted(listed));
    match (found.next(), found.next()) {
        (Some(package), None) => Ok(package.clone()),
        (None, _) => {
            let wanted = wanted.cloned().map(Box::new);
            Err(StoreError::NoPackage { root, wanted, listed: listed() })
        }
        (Some(_), Some(_)) => Err(StoreError::Several { root, listed: listed() }),
    }
}

/// How a package's index is listed.
pub(crate) fn package_entry(
    name: &PackageName,
    version: &Version,
    index: Digest,
    size: u64,
) -> Descriptor {
    let annotations = BTreeMap::from([(REF_NAME.to_owned(), ref_name(name, version))]);
    Descriptor { annotations, ..descriptor(media::INDEX, index, size) }
}

/// How a referrer is listed.
pub(crate) fn referrer_entry(artifact_type: &str, manifest: Digest, size: u64) -> Descriptor {
    let artifact_type = Some(artifact_type.to_owned());
    Descriptor { artifact_type, ..descriptor(media::MANIFEST, manifest, size) }
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor { digest, size, ..Descriptor::of(media_type, b"") }
}

fn empty_index() -> Index {
    Index::new(Vec::new(), BTreeMap::new())
}

fn ref_name(name: &PackageName, version: &Version) -> String {
    format!("{name}:{}", version.tag())
}

/// What [`ref_name`] wrote. Other tools write a registry before it; nobody has signed that, so it chooses no rule.
fn listed_as(ref_name: &str) -> Option<PackageRef> {
    let (name, tag) = ref_name.rsplit_once(':')?;
    let mut reference: PackageRef = name.parse().ok()?;
    reference.version = Some(Version::from_tag(tag).ok()?);
    (reference.registry, reference.path) = (None, String::new());
    Some(reference)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use skep_spec::oci::MAX_LISTED;

    use super::super::tests::store;
    use super::*;

    fn package(store: &Store, version: &str, bytes: &[u8]) -> Digest {
        let digest = store.put(bytes).unwrap();
        let (name, version) = ("acme/exec".parse().unwrap(), version.parse().unwrap());
        store.list_package(&name, &version, digest, bytes.len() as u64).unwrap();
        digest
    }

    #[test]
    fn the_list_names_each_version_once() {
        let (_folder, store) = store();
        package(&store, "1.0.0", b"old");
        let new = package(&store, "1.0.0", b"new");
        let plus = package(&store, "1.1.0+b.1", b"plus");
        store
            .change_index(|list| {
                let mut foreign = descriptor(media::INDEX, Digest::of(b"image"), 5);
                foreign.annotations.insert(REF_NAME.into(), "latest".into());
                list.manifests.push(foreign);
            })
            .unwrap();
        let packages = store.packages().unwrap();
        let names: Vec<String> = packages.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["acme/exec:1.0.0", "acme/exec:1.1.0+b.1"]);
        let elsewhere = listed_as("hub.example.com:5000/x/acme/exec:1.0.0").unwrap();
        assert_eq!(elsewhere.to_string(), "acme/exec:1.0.0");
        assert_eq!(store.find(&"acme/exec:1.0.0".parse().unwrap()).unwrap(), Some(new));
        assert_eq!(store.find(&"acme/exec:1.1.0+b.1".parse().unwrap()).unwrap(), Some(plus));
        assert_eq!(store.find(&"acme/exec:2.0.0".parse().unwrap()).unwrap(), None);
        let wanted = "acme/exec:1.0.0".parse().unwrap();
        assert_eq!(store.the_package(Some(&wanted)).unwrap(), (wanted, new));
        let absent = "acme/exec:3.0.0".parse().unwrap();
        let error = store.the_package(Some(&absent)).unwrap_err().to_string();
        let words = "holds no acme/exec:3.0.0; it holds acme/exec:1.0.0, acme/exec:1.1.0+b.1";
        assert!(error.ends_with(words), "{error}");
        assert!(matches!(store.the_package(None), Err(StoreError::Several { .. })));
        store.list_referrer(media::BUNDLE, Digest::of(b"r"), 1).unwrap();
        store.list_referrer(media::BUNDLE, Digest::of(b"r"), 1).unwrap();
        assert_eq!(store.index().unwrap().manifests.len(), 4);
        store.unlist(|entry| entry.digest != new).unwrap();
        assert_eq!(store.index().unwrap().manifests.len(), 3);
    }

    #[test]
    fn many_writers_lose_nothing() {
        let (folder, _) = store();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let root = folder.path();
                scope.spawn(move || {
                    let store = Store::create(root).unwrap();
                    for number in 0..8 {
                        package(&store, &format!("{writer}.{number}.0"), b"same bytes from all");
                    }
                });
            }
        });
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.packages().unwrap().len(), 32);
        assert_eq!(fs::read_dir(store.blobs()).unwrap().count(), 1);
    }

    /// A store with one entry too many could not be opened any more.
    #[test]
    fn a_list_takes_as_many_as_can_be_read_again() {
        let (_folder, store) = store();
        let entry = |number: usize| descriptor(media::MANIFEST, Digest::of(&[0]), number as u64);
        store.change_index(|list| list.manifests.extend((0..MAX_LISTED).map(entry))).unwrap();
        let error = store.list_referrer(media::BUNDLE, Digest::of(b"r"), 1).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert_eq!(store.index().unwrap().manifests.len(), MAX_LISTED);
    }

    #[test]
    fn what_is_no_index_is_an_error() {
        let (folder, store) = store();
        fs::write(folder.path().join("index.json"), "{").unwrap();
        assert!(matches!(store.index(), Err(StoreError::Index { .. })));
    }
}
