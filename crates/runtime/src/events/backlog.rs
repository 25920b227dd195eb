//! What waits in memory for the next reader.

use std::collections::BTreeMap;

use super::stream::Event;

/// Records that are kept.
pub(super) const MOST: usize = 4096;
/// Bytes of theirs.
const MOST_BYTES: usize = 4 << 20;

/// Events that no reader was given, or that those who were left, in order.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// By number.
    events: BTreeMap<u64, Event>,
    bytes: usize,
}

impl Backlog {
    /// Keeps events too; the oldest beyond the limits are given up. Gives the number of those.
    pub(super) fn add(&mut self, events: impl IntoIterator<Item = Event>) -> u64 {
        for event in events {
            self.bytes += event.bytes().len();
            self.events.insert(event.number(), event);
        }
        let mut over = 0;
        while self.events.len() > MOST || self.bytes > MOST_BYTES {
            let Some((_, event)) = self.events.pop_first() else { break };
            self.bytes -= event.bytes().len();
            over += 1;
        }
        over
    }

    /// All that waits.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Event> + use<> {
        std::mem::take(self).events.into_values()
    }
}
