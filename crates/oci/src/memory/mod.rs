//! What was seen of channels, and when: so that nobody can play back an old pointer, or set the clock back; and what was signed,
//! so that no sequence is signed for a second package.

mod kept;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use skep_spec::Digest;
use skep_trust::channel::{self, Asked, ChannelError, Pointer, Seen};
use skep_trust::{KeyId, Policy, time};

use self::kept::Kept;
use crate::{durable, regular};

/// An hour, by which clocks of one machine may differ without a word.
const BEHIND: Duration = Duration::from_secs(3600);

/// A file with the highest pointer of each channel that was followed, the highest that each key here has signed, and the last
/// moment that was seen. What is signed raises nothing of what is followed: it may be by a key that nobody here trusts.
#[derive(Clone, Debug)]
pub struct Memory {
    path: PathBuf,
}

/// A sequence that nobody else here signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// It.
    pub sequence: u64,
    /// Where the last pointer went that was followed, or that the same keys have signed.
    pub previous: Option<Digest>,
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
        let _lock = self.lock()?; // until the end: nobody reads what another is about to raise
        let mut kept = self.read()?;
        let (name, now) = (name(asked), kept.now(clock));
        let pointer = channel::follow(asked, bundles, policy, kept.followed(&name), now)?;
        kept.follow(&name, seen_of(&pointer));
        self.write(kept, now)?;
        Ok(pointer)
    }

    /// The last pointer that keys of the rules have signed, for who signs the next one with `keys`: this one may have expired, or be
    /// behind what was seen, since what comes next is above both. What these keys have signed is kept.
    ///
    /// # Errors
    /// As [`Memory::follow`], but for those.
    pub fn last(
        &self,
        asked: &Asked<'_>,
        bundles: &[Vec<u8>],
        policy: &Policy,
        keys: &[KeyId],
        clock: SystemTime,
    ) -> Result<Pointer, FollowError> {
        let _lock = self.lock()?;
        let mut kept = self.read()?;
        let (name, now) = (name(asked), kept.now(clock));
        let pointer = channel::look(asked, bundles, policy, None, now)?;
        let known = kept.known(&name, keys);
        known.iter().try_for_each(|seen| is_no_equivocation(&pointer, *seen))?;
        kept.sign(&name, by(&pointer, keys), seen_of(&pointer));
        self.write(kept, now)?;
        Ok(pointer)
    }

    /// As [`Memory::follow`], of a pointer that others have signed, before it goes out under a key as well: it is held against what
    /// that key has signed, too, and kept as signed by it.
    ///
    /// # Errors
    /// As [`Memory::follow`].
    pub fn sign_too(
        &self,
        asked: &Asked<'_>,
        bundles: &[Vec<u8>],
        policy: &Policy,
        key: KeyId,
        clock: SystemTime,
    ) -> Result<Pointer, FollowError> {
        let _lock = self.lock()?;
        let mut kept = self.read()?;
        let (name, now) = (name(asked), kept.now(clock));
        let known = kept.known(&name, &[key]);
        let highest = known.iter().copied().max_by_key(|seen| seen.sequence);
        let pointer = channel::follow(asked, bundles, policy, highest, now)?;
        known.iter().try_for_each(|seen| is_no_equivocation(&pointer, *seen))?;
        kept.sign(&name, [key], seen_of(&pointer));
        self.write(kept, now)?;
        Ok(pointer)
    }

    /// Takes a sequence for a digest that keys are about to sign: what `pick` says of the highest that was followed or signed here.
    /// Nobody takes it again, also who asks at the same time.
    ///
    /// # Errors
    /// The file cannot be read or written. That of `pick` is in what comes back.
    pub fn claim<E>(
        &self,
        asked: &Asked<'_>,
        (keys, digest): (&[KeyId], Digest),
        clock: SystemTime,
        pick: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Result<Result<Claimed, E>, FollowError> {
        let _lock = self.lock()?;
        let mut kept = self.read()?;
        let name = name(asked);
        let sequence = match pick(kept.highest(&name).map_or(0, |seen| seen.sequence)) {
            Ok(sequence) => sequence,
            Err(error) => return Ok(Err(error)),
        };
        let known = kept.known(&name, keys).into_iter();
        let previous = known.max_by_key(|seen| seen.sequence).map(|seen| seen.digest);
        kept.sign(&name, keys.iter().copied(), Seen { sequence, digest });
        self.write(kept, clock)?;
        Ok(Ok(Claimed { sequence, previous }))
    }

    /// What keys have signed was not sent, since others were there first. The sequence stays taken.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn withdraw(
        &self,
        asked: &Asked<'_>,
        keys: &[KeyId],
        sequence: u64,
        clock: SystemTime,
    ) -> Result<(), FollowError> {
        let _lock = self.lock()?;
        let mut kept = self.read()?;
        kept.withdraw(&name(asked), keys, sequence);
        self.write(kept, clock)
    }

    /// The highest pointer of a channel that was followed or signed, by whatever key.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn highest(&self, asked: &Asked<'_>) -> Result<Option<Seen>, FollowError> {
        Ok(self.read()?.highest(&name(asked)))
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

    /// The highest pointer of a channel that was followed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn seen(&self, asked: &Asked<'_>) -> Result<Option<Seen>, FollowError> {
        Ok(self.read()?.followed(&name(asked)))
    }

    /// Keeps a pointer as followed, if none as high was.
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
        kept.follow(&name(asked), pointer);
        self.write(kept, clock)
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

fn name(asked: &Asked<'_>) -> String {
    format!("{}@{}", asked.name, asked.channel)
}

fn seen_of(pointer: &Pointer) -> Seen {
    Seen { sequence: pointer.sequence, digest: pointer.digest }
}

/// Those of some keys that have signed a pointer.
fn by(pointer: &Pointer, keys: &[KeyId]) -> impl Iterator<Item = KeyId> {
    pointer.keys.iter().copied().filter(|key| keys.contains(key))
}

fn is_no_equivocation(pointer: &Pointer, seen: Seen) -> Result<(), ChannelError> {
    let (sequence, found) = (pointer.sequence, pointer.digest);
    match seen.sequence == sequence && seen.digest != found {
        true => Err(ChannelError::Equivocation { sequence, seen: seen.digest, found }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
