//! What was seen of channels, and when: so that nobody can play back an old pointer, or set the clock back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use skep_spec::Digest;
use skep_trust::channel::{self, Asked, ChannelError, Pointer, Seen};
use skep_trust::{Policy, time};

use crate::{durable, regular};

/// No clock that is right says less, nor much more where nothing is kept yet: 2026-01-01. A release may raise it.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);
/// Ten years: a clock that is further than that past the last moment is taken for wrong, and what it says is not kept.
const STEP: Duration = Duration::from_secs(10 * 365 * 86_400);
/// An hour, by which clocks of one machine may differ without a word.
const BEHIND: Duration = Duration::from_secs(3600);

/// A file with the highest pointer of each channel that was followed, and the last moment that was seen.
#[derive(Clone, Debug)]
pub struct Memory {
    path: PathBuf,
}

/// Why a channel was not followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Its pointers.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The file cannot be read or written.
    #[error("cannot {action} '{}', which keeps what was seen of channels", path.display())]
    Memory {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// The last moment that was seen.
    #[serde(default)]
    time: Option<String>,
    /// By `publisher/name@channel`.
    #[serde(default)]
    channels: BTreeMap<String, KeptPointer>,
}

#[derive(Serialize, Deserialize)]
struct KeptPointer {
    sequence: u64,
    digest: Digest,
}

impl Memory {
    /// The memory in a file, which need not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where a channel points to, by its bundles and the rules; what came is kept before this returns.
    ///
    /// # Errors
    /// As [`channel::follow`], or the file cannot be read or written: then nobody follows.
    pub fn follow(
        &self,
        asked: &Asked<'_>,
        bundles: &[Vec<u8>],
        policy: &Policy,
        clock: SystemTime,
    ) -> Result<Pointer, FollowError> {
        self.with(asked, clock, |seen, now| channel::follow(asked, bundles, policy, seen, now))
    }

    /// As [`Memory::follow`], for who signs the next pointer: this one may have expired, or be behind what was seen, since what
    /// comes next is above both.
    ///
    /// # Errors
    /// As [`Memory::follow`], but for those.
    pub fn last(
        &self,
        asked: &Asked<'_>,
        bundles: &[Vec<u8>],
        policy: &Policy,
        clock: SystemTime,
    ) -> Result<Pointer, FollowError> {
        self.with(asked, clock, |seen, now| {
            match channel::look(asked, bundles, policy, seen, now) {
                Err(ChannelError::Older { .. }) => channel::look(asked, bundles, policy, None, now),
                last => last,
            }
        })
    }

    /// What keys are held against: the clock, or the last moment that was seen where that is later.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn now(&self, clock: SystemTime) -> Result<SystemTime, FollowError> {
        Ok(self.read()?.now(clock))
    }

    /// Keeps what the clock says, where that is later than what is kept.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn saw(&self, clock: SystemTime) -> Result<(), FollowError> {
        let _lock = self.lock()?;
        let kept = self.read()?;
        self.write(kept, clock)
    }

    /// What to do where something has expired by the last moment that was seen, and the clock is well behind that.
    #[must_use]
    pub fn behind(&self, clock: SystemTime) -> Option<String> {
        let last = self.read().ok()?.time().filter(|last| *last > clock + BEHIND)?;
        Some(format!(
            "it is held against {}, the last moment that was seen here, since the clock says {}; if a wrong clock said the former once, take \"time\" out of {}",
            time::format(last)?,
            time::format(clock)?,
            self.path.display()
        ))
    }

    /// The highest pointer of a channel that was seen.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn seen(&self, asked: &Asked<'_>) -> Result<Option<Seen>, FollowError> {
        Ok(self.read()?.seen(&name(asked)))
    }

    /// Keeps a pointer, if none as high was seen.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep(
        &self,
        asked: &Asked<'_>,
        pointer: Seen,
        clock: SystemTime,
    ) -> Result<(), FollowError> {
        let _lock = self.lock()?;
        let mut kept = self.read()?;
        kept.keep(name(asked), pointer);
        self.write(kept, clock)
    }

    fn with(
        &self,
        asked: &Asked<'_>,
        clock: SystemTime,
        look: impl FnOnce(Option<Seen>, SystemTime) -> Result<Pointer, ChannelError>,
    ) -> Result<Pointer, FollowError> {
        let _lock = self.lock()?; // until the end: nobody reads what another is about to raise
        let mut kept = self.read()?;
        let now = kept.now(clock);
        let pointer = look(kept.seen(&name(asked)), now)?;
        kept.keep(name(asked), Seen { sequence: pointer.sequence, digest: pointer.digest });
        self.write(kept, now)?;
        Ok(pointer)
    }

    fn lock(&self) -> Result<File, FollowError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let lock = fs::create_dir_all(folder).and_then(|()| File::open(folder));
        let lock = lock.and_then(|lock| lock.lock().map(|()| lock));
        lock.map_err(self.failed("lock"))
    }

    fn read(&self) -> Result<Kept, FollowError> {
        let text = match regular::text(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            text => text.map_err(self.failed("read"))?,
        };
        serde_json::from_str(&text).map_err(io::Error::from).map_err(self.failed("read"))
    }

    fn write(&self, mut kept: Kept, now: SystemTime) -> Result<(), FollowError> {
        kept.saw(now);
        let text = serde_json::to_vec(&kept).map_err(io::Error::from);
        text.and_then(|text| durable::replace(&self.path, &text, 0o644))
            .map_err(self.failed("write"))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> FollowError {
        let path = self.path.clone();
        move |source| FollowError::Memory { action, path, source }
    }
}

impl Kept {
    fn time(&self) -> Option<SystemTime> {
        time::parse(self.time.as_deref()?)
    }

    fn now(&self, clock: SystemTime) -> SystemTime {
        self.time().map_or(clock, |last| last.max(clock))
    }

    /// Only forward: a clock that is set back, or that is years ahead, leaves no trace.
    fn saw(&mut self, moment: SystemTime) {
        let last = self.time().unwrap_or(SystemTime::UNIX_EPOCH + BEGINNING);
        if (last..=last + STEP).contains(&moment) {
            self.time = time::format(moment);
        }
    }

    fn seen(&self, name: &str) -> Option<Seen> {
        self.channels.get(name).map(|kept| Seen { sequence: kept.sequence, digest: kept.digest })
    }

    fn keep(&mut self, name: String, pointer: Seen) {
        if self.seen(&name).is_none_or(|seen| seen.sequence < pointer.sequence) {
            let Seen { sequence, digest } = pointer;
            self.channels.insert(name, KeptPointer { sequence, digest });
        }
    }
}

fn name(asked: &Asked<'_>) -> String {
    format!("{}@{}", asked.name, asked.channel)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skep_spec::{Channel, PackageName};
    use skep_trust::SecretKey;
    use skep_trust::channel::Next;
    use skep_trust::key::KeyKind;

    use super::*;

    #[test]
    fn what_was_seen_is_never_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(&folder.path().join("state/channels.json"));
        let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
        let policy = Policy::of_keys(vec![key.public().unwrap()], 1);
        let (name, stable): (PackageName, Channel) =
            ("acme/exec".parse().unwrap(), "stable".parse().unwrap());
        let asked = Asked { name: &name, registry: None, channel: &stable };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let bundle = |sequence, digest: &[u8]| {
            let next = Next {
                name: &name,
                channel: &stable,
                sequence,
                digest: Digest::of(digest),
                previous: None,
                issued: start,
                expires: start + Duration::from_secs(1000),
            };
            vec![next.sign(&key).unwrap()]
        };
        let follow = |bundles: &[Vec<u8>], after| {
            memory.follow(&asked, bundles, &policy, start + Duration::from_secs(after))
        };
        let code = |error| match error {
            FollowError::Channel(error) => error.code(),
            FollowError::Memory { .. } => "memory",
        };
        assert_eq!(memory.seen(&asked).unwrap(), None);
        let first = bundle(7, b"one");
        assert_eq!(follow(&first, 0).unwrap().digest, Digest::of(b"one"));
        assert_eq!(follow(&first, 1).unwrap().sequence, 7, "the same again");
        assert_eq!(code(follow(&bundle(6, b"zero"), 1).unwrap_err()), "channel.older");
        assert_eq!(code(follow(&bundle(7, b"two"), 1).unwrap_err()), "channel.equivocation");
        assert_eq!(code(follow(&first, 1001).unwrap_err()), "channel.expired");
        let last = |bundles: &[Vec<u8>]| {
            memory.last(&asked, bundles, &policy, start + Duration::from_secs(1001))
        };
        assert_eq!(last(&first).unwrap().sequence, 7, "who moves it may see it");
        assert_eq!(last(&bundle(6, b"zero")).unwrap().sequence, 6, "in another registry");
        assert_eq!(code(last(&bundle(7, b"two")).unwrap_err()), "channel.equivocation");
        // The clock was past the end once: set back, it brings nothing back.
        assert_eq!(code(follow(&first, 2).unwrap_err()), "channel.expired");
        memory.keep(&asked, Seen { sequence: 3, digest: Digest::of(b"old") }, start).unwrap();
        assert_eq!(memory.seen(&asked).unwrap().unwrap().sequence, 7);
        fs::write(folder.path().join("state/channels.json"), "{").unwrap();
        assert_eq!(code(follow(&first, 0).unwrap_err()), "memory", "it is not taken for none");
        assert_eq!(code(memory.now(start).unwrap_err()), "memory");
    }

    #[test]
    fn moments_go_forward_and_no_wrong_clock_takes_them_far() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(&folder.path().join("channels.json"));
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let day = Duration::from_secs(86_400);
        assert_eq!(memory.now(start).unwrap(), start, "without a file");
        // A clock without a battery, and one that is far ahead.
        memory.saw(SystemTime::UNIX_EPOCH).unwrap();
        memory.saw(start + 40 * 365 * day).unwrap();
        assert_eq!(memory.now(start).unwrap(), start);
        memory.saw(start).unwrap();
        memory.saw(start - day).unwrap();
        assert_eq!((memory.now(start - day).unwrap(), memory.behind(start)), (start, None));
        assert_eq!(memory.now(start + day).unwrap(), start + day);
        let behind = memory.behind(start - day).unwrap();
        assert!(behind.contains("2027-01-15T08:00:00Z") && behind.contains("2027-01-14T08"));
        memory.saw(start + 10 * 365 * day + day).unwrap();
        assert_eq!(memory.now(start).unwrap(), start);
        memory.saw(start + 9 * 365 * day).unwrap();
        assert_eq!(memory.now(start).unwrap(), start + 9 * 365 * day);
    }
}
