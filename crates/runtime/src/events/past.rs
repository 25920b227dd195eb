//! What readers were given a while ago, for those who ask for it again.

use std::collections::BTreeMap;

use super::source::Moment;
use super::stream::Event;

/// Records that are kept.
pub(super) const MOST: usize = 4096;
/// Bytes of theirs.
const MOST_BYTES: usize = 4 << 20;

/// The last events that some reader was given, in order.
#[derive(Debug)]
pub(super) struct Past {
    /// By number.
    events: BTreeMap<u64, Event>,
    bytes: usize,
    /// Behind the last one that was given up; at first when this began.
    kept_since: u64,
}

impl Default for Past {
    fn default() -> Self {
        Self { events: BTreeMap::new(), bytes: 0, kept_since: Moment::now().unix_ns }
    }
}

impl Past {
    /// Keeps events too; the oldest beyond the limits are given up, those of a batch that would only come and go at once.
    pub(super) fn add(&mut self, mut events: Vec<Event>) {
        let over = events.len().saturating_sub(MOST);
        if let Some(event) = events.drain(..over).next_back() {
            self.kept_since = self.kept_since.max(event.time() + 1);
        }
        for event in events {
            self.bytes += event.bytes().len();
            let again = self.events.insert(event.number(), event);
            self.bytes -= again.map_or(0, |event| event.bytes().len());
        }
        while self.events.len() > MOST || self.bytes > MOST_BYTES {
            let Some((_, event)) = self.events.pop_first() else { break };
            self.bytes -= event.bytes().len();
            self.kept_since = self.kept_since.max(event.time() + 1);
        }
    }

    /// Since when none was given up.
    pub(super) const fn kept_since(&self) -> u64 {
        self.kept_since
    }

    /// Those since a moment, and these that wait, each once and in order.
    pub(super) fn with(&self, waiting: Vec<Event>, since: u64) -> Vec<Event> {
        let past = self.events.values().filter(|event| event.time() >= since).cloned();
        let all: BTreeMap<u64, Event> =
            past.chain(waiting).map(|event| (event.number(), event)).collect();
        all.into_values().collect()
    }
}
