//! The memory of maps. The kernel tells it in a file of /proc, which costs as much as all else that is asked of a map: what
//! cannot grow is asked once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use skep_kernel::maps::kind;
use skep_kernel::{KernelError, MapHandle};

/// How many maps are kept in mind; ids are given once a boot, so that those of maps that went pile up.
const MOST: usize = 1 << 16;
/// `BPF_F_NO_PREALLOC`: memory comes with the entries.
const COMES_WITH_ENTRIES: u32 = 1;

/// By the map's id.
#[derive(Debug, Default)]
pub(crate) struct Memories(Mutex<BTreeMap<u32, u64>>);

impl Memories {
    /// The bytes that a map is charged for.
    ///
    /// # Errors
    /// /proc is not readable.
    pub(crate) fn of(&self, map: &MapHandle) -> Result<u64, KernelError> {
        let (id, flags) = (map.info().id, map.info().flags);
        if !stays(map.info().kind, flags) {
            return map.memory();
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = known.get(&id) {
            return Ok(*memory);
        }
        if known.len() >= MOST {
            known.clear();
        }
        let memory = map.memory()?;
        known.insert(id, memory);
        Ok(memory)
    }
}

/// Whether all of a map's memory is there from the start.
fn stays(of_kind: u32, flags: u32) -> bool {
    let whole = [
        kind::ARRAY,
        kind::PERCPU_ARRAY,
        kind::PROG_ARRAY,
        kind::PERF_EVENT_ARRAY,
        kind::RINGBUF,
        kind::HASH,
        kind::PERCPU_HASH,
        kind::LRU_HASH,
        kind::LRU_PERCPU_HASH,
    ];
    whole.contains(&of_kind) && flags & COMES_WITH_ENTRIES == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_asked_each_time() {
        assert!(stays(kind::HASH, 0) && stays(kind::RINGBUF, 0));
        assert!(!stays(kind::HASH, COMES_WITH_ENTRIES) && !stays(kind::LPM_TRIE, 1));
    }
}
