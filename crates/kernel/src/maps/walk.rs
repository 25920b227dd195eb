//! Walking a map in batches, without having all of it in memory.

use std::os::fd::{AsFd, AsRawFd};

use super::MapHandle;
use crate::error::KernelError;
use crate::sched::Unpreempted;
use crate::sys;

/// Bytes of the entries that are read at once; a stretch of real-time priority lasts as long.
const BYTES: usize = 256 << 10;
/// Most of them.
const MOST: usize = 8192;
/// A bucket of a hash table is read whole: room that is never exceeded.
const MOST_ROOM: usize = 1 << 22;

/// Entries that were read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    key_size: usize,
    value_size: usize,
}

impl Batch {
    /// Each key with its value: of a map per CPU the values of all possible CPUs, each padded to 8 bytes.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let keys = self.keys.chunks_exact(self.key_size.max(1));
        keys.zip(self.values.chunks_exact(self.value_size.max(1)))
    }
}

/// Where a walk in batches stands.
struct Walk {
    key_size: usize,
    value_size: usize,
    /// Entries for which there is room.
    room: usize,
    /// What the kernel gave to go on from; `None` at the start.
    token: Option<Vec<u8>>,
}

impl MapHandle {
    /// Hands all entries to `each` as they are read, in the kernel's order and in batches where it has them (5.6), until it
    /// says false. What others change meanwhile may be missing; in a trie it may come twice.
    ///
    /// # Errors
    /// The type has no keys to walk, or no values that can be read.
    pub fn walk(&self, mut each: impl FnMut(Batch) -> bool) -> Result<(), KernelError> {
        match self.walk_by_batch(&mut each)? {
            true => Ok(()),
            false => self.walk_by_key(&mut each),
        }
    }

    /// False where the kernel or the type has no batches: nothing was read then.
    fn walk_by_batch(&self, each: &mut impl FnMut(Batch) -> bool) -> Result<bool, KernelError> {
        let (key_size, value_size) = (self.info().key_size as usize, self.value_bytes_of_one()?);
        if key_size == 0 || value_size == 0 {
            return Ok(false);
        }
        let most = (BYTES / (key_size + value_size)).clamp(1, MOST);
        let room = (self.info().max_entries as usize).clamp(1, most);
        let mut walk = Walk { key_size, value_size, room, token: None };
        loop {
            match self.next_batch(&mut walk) {
                Ok((batch, end)) => {
                    if !each(batch) || end {
                        return Ok(true);
                    }
                }
                // one bucket holds more than the room
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && walk.room < MOST_ROOM => {
                    walk.room *= 2;
                }
                Err(_) if walk.token.is_none() => return Ok(false),
                Err(e) => return Err(KernelError::new("read the map", self.name(), e)),
            }
        }
    }

    /// The next entries and whether they are the last ones; nothing is changed on an error.
    fn next_batch(&self, walk: &mut Walk) -> std::io::Result<(Batch, bool)> {
        let Walk { key_size, value_size, room, .. } = *walk;
        let (mut keys, mut values) = (vec![0; room * key_size], vec![0; room * value_size]);
        let mut next = vec![0u8; key_size.max(8)];
        let mut count = room as u32;
        let token = walk.token.as_mut().map_or(std::ptr::null_mut(), |token| token.as_mut_ptr());
        let stretch = Unpreempted::begin();
        // SAFETY: keys and values have room for `count` entries, the tokens for a key or a bucket's number.
        let ret = sys::check(unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                self.as_fd().as_raw_fd(),
                token.cast(),
                next.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                std::ptr::null(),
            )
        });
        drop(stretch);
        let end = match ret {
            Ok(_) => false,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
            Err(e) => return Err(e),
        };
        keys.truncate(count as usize * key_size);
        values.truncate(count as usize * value_size);
        walk.token = Some(next);
        Ok((Batch { keys, values, key_size, value_size }, end))
    }

    fn walk_by_key(&self, each: &mut impl FnMut(Batch) -> bool) -> Result<(), KernelError> {
        let (key_size, value_size) = (self.info().key_size as usize, self.value_bytes_of_one()?);
        let empty = || Batch { key_size, value_size, ..Batch::default() };
        let (mut batch, mut last) = (empty(), None);
        for _ in 0..self.most_steps() {
            let Some(key) = self.next_key(last.as_deref())? else { break };
            if let Some(value) = self.lookup(&key)? {
                batch.keys.extend_from_slice(&key);
                batch.values.extend_from_slice(&value);
            }
            last = Some(key);
            let is_full = batch.keys.len() + batch.values.len() >= BYTES;
            if is_full && !each(std::mem::replace(&mut batch, empty())) {
                return Ok(());
            }
        }
        each(batch);
        Ok(())
    }
}
