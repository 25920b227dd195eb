//! What the file of a memory holds.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use skep_spec::Digest;
use skep_trust::channel::Seen;
use skep_trust::{KeyId, time};

/// No clock that is right says less, nor much more where nothing is kept yet: 2026-01-01. A release may raise it.
const BEGINNING: Duration = Duration::from_secs(1_767_225_600);
/// Ten years: a clock that is further than that past the last moment is taken for wrong, and what it says is not kept.
const STEP: Duration = Duration::from_secs(10 * 365 * 86_400);

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The last moment that was seen.
    #[serde(default)]
    time: Option<String>,
    /// What was followed, by `publisher/name@channel`; in a file that an earlier skep wrote, what was signed as well.
    #[serde(default)]
    channels: BTreeMap<String, KeptPointer>,
    /// What was signed, by the same name and by the key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    signed: BTreeMap<String, BTreeMap<KeyId, KeptPointer>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct KeptPointer {
    sequence: u64,
    digest: Digest,
    /// It was signed, and then not sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    withdrawn: bool,
}

impl Kept {
    pub(super) fn time(&self) -> Option<SystemTime> {
        time::parse(self.time.as_deref()?)
    }

    pub(super) fn now(&self, clock: SystemTime) -> SystemTime {
        self.time().map_or(clock, |last| last.max(clock))
    }

    /// Only forward: a clock that is set back, or that is years ahead, leaves no trace.
    pub(super) fn saw(&mut self, moment: SystemTime) {
        let last = self.time().unwrap_or(SystemTime::UNIX_EPOCH + BEGINNING);
        if (last..=last + STEP).contains(&moment) {
            self.time = time::format(moment);
        }
    }

    /// The highest that was followed.
    pub(super) fn followed(&self, name: &str) -> Option<Seen> {
        self.channels.get(name).map(seen)
    }

    /// The highest that was followed, and the highest that each of these keys has signed, unless that was never sent.
    pub(super) fn known(&self, name: &str, keys: &[KeyId]) -> Vec<Seen> {
        let signed = self.signed.get(name);
        let signed = keys.iter().filter_map(|key| signed?.get(key));
        let signed = signed.filter(|kept| !kept.withdrawn).map(seen);
        self.followed(name).into_iter().chain(signed).collect()
    }

    /// The highest of all, whoever has signed it.
    pub(super) fn highest(&self, name: &str) -> Option<Seen> {
        let signed = self.signed.get(name).into_iter().flat_map(BTreeMap::values).map(seen);
        self.followed(name).into_iter().chain(signed).max_by_key(|seen| seen.sequence)
    }

    pub(super) fn follow(&mut self, name: &str, pointer: Seen) {
        raise(&mut self.channels, name.to_owned(), pointer);
    }

    pub(super) fn sign(
        &mut self,
        name: &str,
        keys: impl IntoIterator<Item = KeyId>,
        pointer: Seen,
    ) {
        for key in keys {
            raise(self.signed.entry(name.to_owned()).or_default(), key, pointer);
        }
    }

    /// What these keys have signed was not sent: another pointer of that sequence is nobody's contradiction.
    pub(super) fn withdraw(&mut self, name: &str, keys: &[KeyId], sequence: u64) {
        let signed = self.signed.get_mut(name).into_iter().flatten();
        let theirs = signed.filter(|(key, kept)| keys.contains(key) && kept.sequence == sequence);
        theirs.for_each(|(_, kept)| kept.withdrawn = true);
    }
}

/// Only forward.
fn raise<K: Ord>(kept: &mut BTreeMap<K, KeptPointer>, key: K, pointer: Seen) {
    if kept.get(&key).is_none_or(|kept| kept.sequence < pointer.sequence) {
        let Seen { sequence, digest } = pointer;
        kept.insert(key, KeptPointer { sequence, digest, withdrawn: false });
    }
}

fn seen(kept: &KeptPointer) -> Seen {
    Seen { sequence: kept.sequence, digest: kept.digest }
}
