//! Packages on their way in: resolve, signatures, policy, and only then content; and back out of the store at each
//! activation.

mod registries;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use skep_api::PackageSource;
use skep_oci::{
    Collected, Memory, Store, archive, durable, keys_and_channels, signatures, trust_file,
};
use skep_runtime::{Cause, Packages};
use skep_spec::{Arch, Channel, Digest, PackageRef, media};
use skep_trust::bundle::Bundle;
use skep_trust::{Asked, Origin, Package, Policy, Verified, admit, verify_or_allow};

use crate::config::Config;
use crate::ending::Ending;
use crate::error::NodeError;
use crate::publishers::Publishers;

/// How the names of folders begin that hold what is taken out of a bundle.
const UNPACKED: &str = ".unpacked-";

/// The node's packages: an OCI layout, and for each package that was let in a note of how.
#[derive(Clone, Debug)]
pub struct Shelf {
    state: PathBuf,
    store: Store,
    notes: PathBuf,
    /// How packages were let in of which no service was made yet.
    came: Arc<Mutex<BTreeMap<Digest, Note>>>,
    trust: PathBuf,
    publishers: Publishers,
    config: Config,
    ending: Ending,
}

/// How a package was let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    /// What was asked for, at its digest.
    pub(crate) reference: PackageRef,
    /// The channel that led there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<Channel>,
    /// By `--allow-unsigned`.
    unsigned: bool,
}

/// Who answers for a package, by the rules as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// For people.
    pub origin: String,
    /// Nobody did when it was let in, and nobody does now.
    pub unsigned: bool,
    /// Why it would not be let in now as it was then.
    pub untrusted: Option<String>,
}

impl Shelf {
    /// The shelf in `state`, with the rules of `config_dir/trust.toml`, which is read again each time.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(state: &Path, config_dir: &Path, config: Config) -> Result<Self, NodeError> {
        let notes = state.join("admitted");
        let store = Store::create(&state.join("store")).map_err(NodeError::OwnStore)?;
        std::fs::create_dir_all(&notes).map_err(|error| written(&notes, error))?;
        durable::remove_leftovers(&notes)?;
        remove_unpacked(state);
        let (trust, ending) = (config_dir.join("trust.toml"), Ending::default());
        let (state, publishers) = (state.to_owned(), Publishers::of(state));
        let came = Arc::default();
        Ok(Self { state, store, notes, came, trust, publishers, config, ending })
    }

    /// Where it lies.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What gives up a pull.
    #[must_use]
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// Lets a package in: found, verified, pulled, its digests followed. Nothing of it is parsed before its signature
    /// is verified. Takes its time: not for the thread that answers.
    ///
    /// # Errors
    /// Not there, refused by policy, or not what its digests say. Nothing of it is kept but blobs, until [`Shelf::keep`].
    pub fn admit(
        &self,
        wanted: &PackageSource,
        allow_unsigned: bool,
    ) -> Result<Verified<Package>, NodeError> {
        self.let_in(wanted, allow_unsigned).map_err(|error| self.clock_told(error))
    }

    fn let_in(
        &self,
        wanted: &PackageSource,
        allow_unsigned: bool,
    ) -> Result<Verified<Package>, NodeError> {
        let mut channel = None;
        let (reference, verified) = match wanted {
            PackageSource::Reference(reference) => {
                let reference = self.with_hub(reference)?;
                let (registry, host) = self.registry(&reference)?;
                let followed = self.followed(&reference, &registry, &host)?;
                let reference = followed
                    .as_ref()
                    .map_or_else(|| reference.clone(), |(_, to)| reference.at(*to));
                channel = followed.map(|(channel, _)| channel);
                self.out_of_registry(&reference, (&registry, &host), allow_unsigned)?
            }
            PackageSource::Layout { path, package } => {
                self.out_of_layout(&Store::open(path)?, package.as_ref(), allow_unsigned)?
            }
            PackageSource::Bundle { path, package } => {
                self.out_of_bundle(path, package.as_ref(), allow_unsigned)?
            }
        };
        let digest = *verified;
        let unsigned = *verified.origin() == Origin::Unsigned;
        let package = admit(verified, &self.store, arch()?, &reference)?;
        self.memory().saw(SystemTime::now())?;
        let note = Note { reference: reference.at(digest), channel, unsigned };
        self.came().insert(digest, note);
        Ok(package)
    }

    /// Keeps how a package was let in, for as long as a service has it: before one is made of it, and never for a look.
    ///
    /// # Errors
    /// It cannot be written, or the package was not let in.
    pub fn keep(&self, digest: &Digest) -> Result<(), NodeError> {
        let path = self.note(digest);
        let note = self.came().get(digest).cloned();
        let note = note.map_or_else(|| self.read_note(digest), Ok)?;
        let text = serde_json::to_vec(&note).map_err(|error| written(&path, error.into()))?;
        Ok(durable::write(&path, &text)?)
    }

    fn came(&self) -> MutexGuard<'_, BTreeMap<Digest, Note>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a package that was let in once would be let in now as it was then, by policy and revocation as they are now: signed,
    /// or by the leave that was given.
    ///
    /// # Errors
    /// Refused now.
    pub fn check_again(&self, digest: &Digest) -> Result<(), NodeError> {
        self.check(digest, None).map(drop)
    }

    /// The same of one that somebody's command activates again: that it was let in unsigned once is no leave.
    ///
    /// # Errors
    /// Refused now.
    pub fn check_return(&self, digest: &Digest, allow_unsigned: bool) -> Result<(), NodeError> {
        let verified = self.check(digest, Some(allow_unsigned))?;
        if *verified.origin() == Origin::Unsigned {
            tracing::warn!(%digest, "activated again without a signature");
        }
        Ok(())
    }

    /// The same, with the leave that somebody gives, or the one that was given.
    ///
    /// # Errors
    /// Refused now.
    pub(crate) fn check(
        &self,
        digest: &Digest,
        leave: Option<bool>,
    ) -> Result<Verified<Digest>, NodeError> {
        let note = self.read_note(digest)?;
        let bundles = signatures::bundles(&self.store, *digest)?;
        let leave = leave.unwrap_or(note.unsigned);
        let checked = self.verify(&note.reference, *digest, &bundles, leave);
        checked.map_err(|error| self.clock_told(error))
    }

    /// Forgets every package but these, and removes from the store what only the others needed. Nobody may let a package in
    /// meanwhile.
    ///
    /// # Errors
    /// The store or the notes cannot be read or written: the next time goes on.
    pub fn keep_only(&self, used: &BTreeSet<Digest>) -> Result<(), NodeError> {
        self.came().clear();
        let notes: BTreeSet<PathBuf> = used.iter().map(|digest| self.note(digest)).collect();
        let there = std::fs::read_dir(&self.notes).map_err(|error| written(&self.notes, error))?;
        for note in there.flatten().map(|entry| entry.path()).filter(|path| !notes.contains(path)) {
            std::fs::remove_file(&note).map_err(|error| written(&note, error))?;
        }
        let Collected { blobs, bytes } = self.store.collect(used)?;
        if blobs > 0 {
            tracing::info!(blobs, bytes, "removed what no service needs from the store");
        }
        Ok(())
    }

    /// Who answers for a package.
    #[must_use]
    pub fn answers(&self, digest: &Digest) -> Answers {
        let unknown = || Answers { origin: "unknown".to_owned(), unsigned: true, untrusted: None };
        let Ok(note) = self.read_note(digest) else { return unknown() };
        let bundles = signatures::bundles(&self.store, *digest).unwrap_or_default();
        match self.verify(&note.reference, *digest, &bundles, note.unsigned) {
            Ok(verified) => {
                let unsigned = *verified.origin() == Origin::Unsigned;
                Answers { origin: verified.origin().to_string(), unsigned, untrusted: None }
            }
            Err(error) => {
                let (unsigned, why) = (note.unsigned, error.to_string());
                Answers { origin: "no longer trusted".to_owned(), unsigned, untrusted: Some(why) }
            }
        }
    }

    /// The files that say who answers for packages: rules, keys that were followed, signatures, ways in, and the last moment that
    /// was seen.
    pub(crate) fn grounds(&self) -> Vec<PathBuf> {
        let of_state = ["keys", "admitted", "channels.json", "store/index.json"];
        let of_state = of_state.map(|name| self.state.join(name));
        of_state.into_iter().chain([self.trust.clone()]).collect()
    }

    /// The package is held in a folder of its own until it is verified.
    fn out_of_bundle(
        &self,
        path: &Path,
        package: Option<&PackageRef>,
        allow_unsigned: bool,
    ) -> Result<(PackageRef, Verified<Digest>), NodeError> {
        let folder = tempfile::Builder::new().prefix(UNPACKED).tempdir_in(&self.state);
        let folder = folder.map_err(|error| written(&self.state, error))?;
        let store = Store::passing(folder.path())?;
        archive::take(path, package, Some(arch()?), &store)?;
        self.out_of_layout(&store, None, allow_unsigned)
    }

    fn out_of_layout(
        &self,
        layout: &Store,
        package: Option<&PackageRef>,
        allow_unsigned: bool,
    ) -> Result<(PackageRef, Verified<Digest>), NodeError> {
        let (reference, digest) = layout.the_package(package)?;
        let bundles = signatures::bundles(layout, digest)?;
        if self.follows(&reference)? {
            self.rules(
                &reference,
                &keys_and_channels::kept(layout, media::KEYS)?.concat(),
                self.now()?,
            )?;
        }
        let verified = self.verify(&reference, digest, &bundles, allow_unsigned)?;
        self.store.copy_from(layout, digest, &reference, arch()?)?;
        self.attach(digest, &bundles)?;
        Ok((reference, verified))
    }

    fn attach(&self, digest: Digest, bundles: &[Vec<u8>]) -> Result<(), NodeError> {
        let whole = |bundle: &&Vec<u8>| Bundle::parse(bundle).is_ok();
        bundles.iter().filter(whole).try_for_each(|bundle| {
            signatures::attach(&self.store, digest, bundle).map_err(NodeError::from)
        })
    }

    fn verify(
        &self,
        reference: &PackageRef,
        digest: Digest,
        bundles: &[Vec<u8>],
        allow_unsigned: bool,
    ) -> Result<Verified<Digest>, NodeError> {
        let now = self.now()?;
        let policy = self.rules(reference, &[], now)?;
        let asked = asked(reference, digest);
        Ok(verify_or_allow(&asked, bundles, &policy, now, allow_unsigned)?)
    }

    fn memory(&self) -> Memory {
        Memory::new(&self.state.join("channels.json"))
    }

    /// The later of the clock and of the last moment that was seen.
    fn now(&self) -> Result<SystemTime, NodeError> {
        Ok(self.memory().now(SystemTime::now())?)
    }

    /// With what the clock has to do with it, where that is behind what was seen.
    pub(crate) fn clock_told(&self, source: NodeError) -> NodeError {
        match self.memory().behind(SystemTime::now()).filter(|_| source.is_expired()) {
            Some(hint) => NodeError::Behind { source: Box::new(source), hint },
            None => source,
        }
    }

    /// Whether the rule of a package follows its publisher's keys.
    fn follows(&self, reference: &PackageRef) -> Result<bool, NodeError> {
        let registry = reference.registry.as_deref();
        Ok(self.policy()?.following(&reference.name, registry).is_some())
    }

    /// The rules for a package: with the keys that its publisher has come to, by what was kept and by what came.
    fn rules(
        &self,
        reference: &PackageRef,
        came: &[Vec<u8>],
        now: SystemTime,
    ) -> Result<Policy, NodeError> {
        self.publishers.rules(self.policy()?, reference, came, now)
    }

    fn policy(&self) -> Result<Policy, NodeError> {
        let bad = |why: String| NodeError::TrustFile { path: self.trust.clone(), why };
        let text = trust_file::text(&self.trust).map_err(|error| bad(error.to_string()))?;
        trust_file::rules(&text, &self.trust).map_err(|error| bad(error.to_string()))
    }

    fn note(&self, digest: &Digest) -> PathBuf {
        self.notes.join(format!("{}.json", digest.hex()))
    }

    pub(crate) fn read_note(&self, digest: &Digest) -> Result<Note, NodeError> {
        let path = self.note(digest);
        let missing = |why: String| NodeError::NeverLetIn { digest: *digest, why };
        let text = std::fs::read(&path).map_err(|error| missing(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| missing(error.to_string()))
    }
}

impl Packages for Shelf {
    /// At boot and restart the digest counts: what ran goes on even if its key has expired since.
    fn package(&self, index: &Digest) -> Result<Verified<Package>, Cause> {
        let cause = |error: NodeError| Cause::from(error.text());
        let note = self.read_note(index).map_err(cause)?;
        let bundles = signatures::bundles(&self.store, *index)?;
        let now = self.now().unwrap_or_else(|_| SystemTime::now()); // of no weight here
        let policy = match self.rules(&note.reference, &[], now) {
            // Whose keys count is asked of what comes in; what is revoked is refused by the file itself.
            Err(NodeError::Keys { .. }) => self.policy(),
            policy => policy,
        };
        let asked = asked(&note.reference, *index);
        let verified = verify_or_allow(&asked, &bundles, &policy.map_err(cause)?, now, true);
        let verified = verified.map_err(|error| cause(error.into()))?;
        Ok(admit(verified, &self.store, arch().map_err(cause)?, &note.reference)?)
    }
}

fn asked(reference: &PackageRef, digest: Digest) -> Asked<'_> {
    Asked { name: &reference.name, registry: reference.registry.as_deref(), digest }
}

/// Removes what an earlier skepd took out of bundles and died over.
fn remove_unpacked(state: &Path) {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    let is_unpacked = |entry: &std::fs::DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(UNPACKED.as_bytes())
    };
    for folder in entries.filter(is_unpacked) {
        let _ = std::fs::remove_dir_all(folder.path()); // the next start tries again
    }
}

fn arch() -> Result<Arch, NodeError> {
    Arch::host().ok_or(NodeError::Architecture)
}

fn written(path: &Path, source: std::io::Error) -> NodeError {
    NodeError::Write { path: path.to_owned(), source }
}
