//! `skep.lock`: what the objects are made from, so that others get the same bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_oci::{durable, regular};
use skep_spec::{Arch, Digest, PackageName, Version};

use super::clang::Clang;

/// The lock of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of this file's form.
    version: u32,
    /// clang's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clang: Option<String>,
    /// Arguments for clang, the same on every machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    /// Digest of libbpf's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    headers: Option<Digest>,
    /// Kernel types by architecture.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    btf: BTreeMap<Arch, Pin>,
    /// What the package needs, and what that needs in turn.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    dependencies: Dependencies,
    #[serde(skip)]
    locked: bool,
    #[serde(skip)]
    changed: bool,
}

/// Packages that a package is built against, by name.
pub type Dependencies = BTreeMap<PackageName, Locked>;

/// A package that another one is built against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its version.
    pub version: Version,
    /// Digest of its index.
    pub digest: Digest,
    /// Whether only another one of these needs it, and skep.toml does not name it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub indirect: bool,
}

/// The kernel types that `vmlinux.h` is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// As `[build] btf` names it.
    pub source: String,
    /// The kernel's release, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Digest of the BTF.
    pub digest: Digest,
}

/// Why the lock refuses.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not readable or writable.
    #[error("can't {action} {}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a lock file.
    #[error("{} is no lock file: remove it and build again", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Of another skep.
    #[error(
        "{} has version {version}, and this skep knows version {VERSION}: build with the skep that wrote it, or remove it to pin anew what there is here",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// What is to be pinned is no TOML.
    #[error("can't write {}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        source: toml::ser::Error,
    },
    /// `--locked`, and no lock file.
    #[error("--locked: there is no {}; build without --locked to write it", .0.display())]
    Missing(PathBuf),
    /// `--locked`, and something else than what is pinned.
    #[error(
        "--locked: skep.lock has {what} {pinned}, here it is {found}; build without --locked to pin that instead"
    )]
    Differs {
        /// What differs.
        what: String,
        /// What is pinned.
        pinned: String,
        /// What is here.
        found: String,
    },
}

pub(super) const FILE: &str = "skep.lock";
const VERSION: u32 = 1;
const HEAD: &str =
    "# Written by `skep build`: what the objects are made from. Keep it with the source.\n";

impl Lock {
    /// Reads the lock of the project in `folder`; where it has none, the one of its last build elsewhere, in `other`.
    ///
    /// # Errors
    /// Not readable, no lock file, or none though `locked` asks for one.
    pub fn read(folder: &Path, other: &Path, locked: bool) -> Result<Self, LockError> {
        let (own, other) = (folder.join(FILE), other.join(FILE));
        let path = if !own.exists() && other.exists() { other } else { own };
        let lock = match regular::text(&path) {
            Ok(text) => Self::parse(&text, path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !locked => Self::empty(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LockError::Missing(path));
            }
            Err(source) => return Err(LockError::File { action: "read", path, source }),
        };
        Ok(Self { locked, ..lock })
    }

    /// clang's version, where anything was compiled.
    #[must_use]
    pub fn clang(&self) -> Option<&str> {
        self.clang.as_deref()
    }

    /// Arguments for clang.
    #[must_use]
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Digest of libbpf's headers.
    #[must_use]
    pub const fn headers(&self) -> Option<Digest> {
        self.headers
    }

    /// Kernel types.
    pub fn types(&self) -> impl Iterator<Item = (Arch, &Pin)> {
        self.btf.iter().map(|(arch, pin)| (*arch, pin))
    }

    /// What the package needs.
    #[must_use]
    pub const fn dependencies(&self) -> &Dependencies {
        &self.dependencies
    }

    pub(super) fn empty() -> Self {
        Self {
            version: VERSION,
            clang: None,
            flags: Vec::new(),
            headers: None,
            btf: BTreeMap::new(),
            dependencies: Dependencies::new(),
            locked: false,
            changed: false,
        }
    }

    /// The version is looked at first: the rest of another one may have any form.
    fn parse(text: &str, path: PathBuf) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Form {
            version: i64,
        }
        let parsed = toml::from_str::<Form>(text).and_then(|form| match form.version {
            version if version == i64::from(VERSION) => toml::from_str(text).map(Ok),
            version => Ok(Err(version)),
        });
        match parsed {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(version)) => Err(LockError::Version { path, version }),
            Err(source) => Err(LockError::Parse { path, source: Box::new(source) }),
        }
    }

    /// Holds the compiler against the lock.
    pub(super) fn compiler(
        &mut self,
        clang: &Clang,
        cflags: &[String],
        headers: Digest,
    ) -> Result<(), LockError> {
        let mut flags = Clang::flags(Arch::X86_64);
        flags.retain(|flag| !flag.starts_with("-D__TARGET_ARCH"));
        flags.extend(cflags.iter().cloned());
        let locked = self.locked;
        let mut changed =
            replace(locked, "clang", &mut self.clang, Some(clang.version.clone()), Option::clone)?;
        changed |= replace(locked, "flags", &mut self.flags, flags, |flags| Some(flags.join(" ")))?;
        changed |= replace(locked, "headers", &mut self.headers, Some(headers), |d| {
            d.map(|d| d.to_string())
        })?;
        self.changed |= changed;
        Ok(())
    }

    /// Pins what the package needs.
    pub(super) fn depend(&mut self, found: &Dependencies) -> Result<(), LockError> {
        let say = |all: &Dependencies| {
            let one = |(name, on): (&PackageName, &Locked)| {
                format!("{name} {}@{}", on.version, on.digest)
            };
            let said: Vec<String> = all.iter().map(one).collect();
            (!said.is_empty()).then(|| said.join(", "))
        };
        let what = "the dependencies";
        let found = found.clone();
        self.changed |= replace(self.locked, what, &mut self.dependencies, found, say)?;
        Ok(())
    }

    /// What is pinned for `arch`.
    pub(super) fn pin(&self, arch: Arch) -> Option<&Pin> {
        self.btf.get(&arch)
    }

    /// What `vmlinux.h` was made from: what is pinned, or what the command line gave.
    pub(super) fn used(&self, arch: Arch, given: Option<&Path>, digest: Digest) -> Pin {
        let pinned = self.btf.get(&arch).filter(|pin| pin.digest == digest);
        pinned.cloned().unwrap_or_else(|| {
            let name = given.and_then(Path::file_name).unwrap_or_default();
            Pin { source: name.to_string_lossy().into_owned(), release: None, digest }
        })
    }

    /// Pins `found` for `arch`.
    pub(super) fn set_pin(&mut self, arch: Arch, found: Pin) -> Result<(), LockError> {
        let old = self.btf.get(&arch);
        if old == Some(&found) {
            return Ok(());
        }
        self.allow_pin(arch, found.digest)?;
        self.btf.insert(arch, found);
        self.changed = true;
        Ok(())
    }

    /// Whether a build may use a BTF with this digest, pinned or not.
    pub(super) fn allow_pin(&self, arch: Arch, digest: Digest) -> Result<(), LockError> {
        let old = self.btf.get(&arch).map(|pin| pin.digest);
        if !self.locked || old == Some(digest) {
            return Ok(());
        }
        let pinned = old.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
        Err(LockError::Differs {
            what: format!("kernel types for {arch}:"),
            pinned,
            found: digest.to_string(),
        })
    }

    /// Writes the lock if it changed.
    pub(super) fn write(&self, folder: &Path) -> Result<(), LockError> {
        if !self.changed {
            return Ok(());
        }
        let path = folder.join(FILE);
        let text = match toml::to_string(self) {
            Ok(text) => HEAD.to_owned() + &text,
            Err(source) => return Err(LockError::Text { path, source }),
        };
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| durable::replace(&path, text.as_bytes(), 0o666));
        written.map_err(|source| LockError::File { action: "write", path, source })
    }
}

/// Puts `found` in the place of `old`, unless the lock is closed. Whether that changed something.
fn replace<T: PartialEq>(
    locked: bool,
    what: &str,
    old: &mut T,
    found: T,
    text: impl Fn(&T) -> Option<String>,
) -> Result<bool, LockError> {
    if *old == found {
        return Ok(false);
    }
    if locked {
        let say = |value: &T| text(value).unwrap_or_else(|| "nothing".to_owned());
        return Err(LockError::Differs {
            what: what.to_owned(),
            pinned: say(old),
            found: say(&found),
        });
    }
    *old = found;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Lock, LockError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let read = Lock::read(folder.path(), folder.path(), false);
        let kept = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(kept, text);
        read
    }

    #[test]
    fn a_lock_of_another_version_is_refused_whatever_it_holds() {
        assert_eq!(read("version = 1\n").unwrap(), Lock::empty());
        for text in ["version = 2\n", "version = 2\n[rust]\nedition = \"2027\"\n", "version = -1\n"]
        {
            let error = read(text).unwrap_err();
            assert!(matches!(error, LockError::Version { .. }), "{text}: {error}");
        }
        for text in ["", "version = \"1\"\n", "version = 1\nnew = 2\n", "version ="] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, LockError::Parse { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(folder.path(), folder.path(), false).unwrap();
        let digest = Digest::of(b"types");
        lock.set_pin(Arch::X86_64, Pin { source: "debian:6.12".to_owned(), release: None, digest })
            .unwrap();
        let on = Locked { version: "1.2.0".parse().unwrap(), digest, indirect: false };
        let found = Dependencies::from([("acme/flows".parse().unwrap(), on)]);
        lock.depend(&found).unwrap();
        lock.write(folder.path()).unwrap();
        let again = Lock::read(folder.path(), folder.path(), true).unwrap();
        assert_eq!(again, Lock { locked: true, changed: false, ..lock });
        again.clone().depend(&found).unwrap();
        let error = again.clone().depend(&Dependencies::new()).unwrap_err().to_string();
        assert!(
            error.starts_with("--locked: skep.lock has the dependencies acme/flows 1.2.0@"),
            "{error}"
        );
    }
}
