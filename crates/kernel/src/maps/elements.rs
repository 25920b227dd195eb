//! Elements of maps: look up, update, delete, walk; unpreempted, for the sake of events (see [`Unpreempted`]).

use std::os::fd::{AsFd, AsRawFd};

use super::{MapHandle, possible_cpus};
use crate::error::KernelError;
use crate::sched::Unpreempted;
use crate::sys;

/// How an update treats what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// Set, whatever was there (`BPF_ANY`).
    #[default]
    Any,
    /// Only if the key is not there yet (`BPF_NOEXIST`).
    New,
    /// Only if the key is there (`BPF_EXIST`).
    Existing,
}

/// Keys with their values as the kernel gives them.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Where a walk in batches stands.
struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Entries for which there is room.
    room: usize,
    /// What the kernel gave to go on from; `None` at the start.
    token: Option<Vec<u8>>,
}

impl MapHandle {
    /// The value of `key`: `value_size` bytes; for a per-CPU map the values of all possible CPUs, each padded to 8 bytes.
    ///
    /// # Errors
    /// `key` has another size; the type has no lookup.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        self.check_key("look up", key)?;
        let mut value = vec![0u8; self.value_bytes_of_one()?];
        let _stretch = Unpreempted::begin();
        // SAFETY: the key has key_size bytes and the value what the kernel writes for this type; checked above.
        let found = sys::check(unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                self.as_fd().as_raw_fd(),
                key.as_ptr().cast(),
                value.as_mut_ptr().cast(),
            )
        });
        match found {
            Ok(_) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(KernelError::new("look up a key in the map", self.name(), e)),
        }
    }

    /// The values of `key` on each possible CPU, of a per-CPU map.
    ///
    /// # Errors
    /// As [`Self::lookup`], or the map is not per CPU.
    pub fn lookup_per_cpu(&self, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>, KernelError> {
        if !self.info().is_per_cpu() {
            let why = "its values are not per CPU";
            return Err(KernelError::unsupported("read per CPU", self.name(), why));
        }
        let size = self.info().value_size as usize;
        let split = |all: Vec<u8>| {
            all.chunks_exact(size.next_multiple_of(8)).map(|one| one[..size].to_vec()).collect()
        };
        Ok(self.lookup(key)?.map(split))
    }

    /// Sets `key` to `value`, which has the size that [`Self::lookup`] gives; for a map of maps or programs the fd as 4 bytes.
    ///
    /// # Errors
    /// A size is wrong; E2BIG when full; EEXIST and ENOENT by `how`; EPERM when frozen.
    pub fn update(&self, key: &[u8], value: &[u8], how: Update) -> Result<(), KernelError> {
        self.check_key("update", key)?;
        let size = self.value_bytes_of_one()?;
        if value.len() != size {
            let why = format!("the value has {} bytes, the map's have {size}", value.len());
            return Err(KernelError::unsupported("update the map", self.name(), why));
        }
        let _stretch = Unpreempted::begin();
        // SAFETY: key and value have the sizes that the kernel reads; checked above.
        sys::check(unsafe {
            libbpf_sys::bpf_map_update_elem(
                self.as_fd().as_raw_fd(),
                key.as_ptr().cast(),
                value.as_ptr().cast(),
                match how {
                    Update::Any => 0,
                    Update::New => 1,
                    Update::Existing => 2,
                },
            )
        })
        .map(drop)
        .map_err(|e| KernelError::new("update the map", self.name(), e))
    }

    /// Removes `key`; says whether it was there.
    ///
    /// # Errors
    /// `key` has another size; EINVAL for arrays.
    pub fn delete(&self, key: &[u8]) -> Result<bool, KernelError> {
        self.check_key("delete from", key)?;
        let _stretch = Unpreempted::begin();
        // SAFETY: the key has key_size bytes; checked above.
        let gone = sys::check(unsafe {
            libbpf_sys::bpf_map_delete_elem(self.as_fd().as_raw_fd(), key.as_ptr().cast())
        });
        match gone {
            Ok(_) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(e) => Err(KernelError::new("delete a key from the map", self.name(), e)),
        }
    }

    /// All keys. A key that comes or goes meanwhile may be missing; none comes twice.
    ///
    /// # Errors
    /// The type has no keys to walk.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, KernelError> {
        if self.info().key_size == 0 {
            return Err(KernelError::unsupported(
                "walk the keys of the map",
                self.name(),
                "it has none",
            ));
        }
        if self.info().is_array() {
            return Ok((0..self.info().max_entries).map(|i| i.to_ne_bytes().to_vec()).collect());
        }
        let mut keys = std::collections::BTreeSet::new();
        let mut last: Option<Vec<u8>> = None;
        // A walk that deletions send back to the start ends all the same.
        let most = u64::from(self.info().max_entries) * 2 + 16;
        for _ in 0..most {
            let Some(next) = self.next_key(last.as_deref())? else { break };
            keys.insert(next.clone());
            last = Some(next);
        }
        Ok(keys.into_iter().collect())
    }

    /// All keys with their values, in batches where the kernel has them (5.6).
    ///
    /// # Errors
    /// As [`Self::keys`] and [`Self::lookup`].
    pub fn entries(&self) -> Result<Entries, KernelError> {
        if let Some(entries) = self.entries_by_batch()? {
            return Ok(entries);
        }
        let mut entries = Vec::new();
        for key in self.keys()? {
            if let Some(value) = self.lookup(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    fn next_key(&self, last: Option<&[u8]>) -> Result<Option<Vec<u8>>, KernelError> {
        let mut next = vec![0u8; self.info().key_size as usize];
        // SAFETY: `last` is null or a key that this function gave; `next` has key_size bytes.
        let found = sys::check(unsafe {
            libbpf_sys::bpf_map_get_next_key(
                self.as_fd().as_raw_fd(),
                last.map_or(std::ptr::null(), |key| key.as_ptr().cast()),
                next.as_mut_ptr().cast(),
            )
        });
        match found {
            Ok(_) => Ok(Some(next)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(KernelError::new("walk the keys of the map", self.name(), e)),
        }
    }

    /// `None` where the kernel or the type has no batches.
    fn entries_by_batch(&self) -> Result<Option<Entries>, KernelError> {
        let (key_size, value_size) = (self.info().key_size as usize, self.value_bytes_of_one()?);
        if key_size == 0 || value_size == 0 {
            return Ok(None);
        }
        let room = (self.info().max_entries as usize).clamp(64, 1024);
        let mut batch = Batch { keys: vec![], values: vec![], room, token: None };
        let mut entries = Entries::new();
        loop {
            let (count, end) = match self.next_batch(&mut batch, key_size, value_size) {
                Ok(next) => next,
                // one bucket holds more than the room
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && batch.room < 1 << 22 => {
                    batch.room *= 2;
                    continue;
                }
                Err(_) if batch.token.is_none() => return Ok(None),
                Err(e) => return Err(KernelError::new("read the map", self.name(), e)),
            };
            let values = batch.values.chunks_exact(value_size).map(<[u8]>::to_vec);
            let keys = batch.keys.chunks_exact(key_size).map(<[u8]>::to_vec);
            entries.extend(keys.zip(values).take(count));
            if end {
                entries.sort();
                entries.dedup_by(|a, b| a.0 == b.0);
                return Ok(Some(entries));
            }
        }
    }

    /// The next entries and whether they are the last ones; nothing is changed on an error.
    fn next_batch(
        &self,
        batch: &mut Batch,
        key_size: usize,
        value_size: usize,
    ) -> std::io::Result<(usize, bool)> {
        batch.keys.resize(batch.room * key_size, 0);
        batch.values.resize(batch.room * value_size, 0);
        let mut next = vec![0u8; key_size.max(8)];
        let mut count = batch.room as u32;
        let token = batch.token.as_mut().map_or(std::ptr::null_mut(), |token| token.as_mut_ptr());
        let _stretch = Unpreempted::begin();
        // SAFETY: keys and values have room for `count` entries, the tokens for a key or a bucket's number.
        let ret = sys::check(unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                self.as_fd().as_raw_fd(),
                token.cast(),
                next.as_mut_ptr().cast(),
                batch.keys.as_mut_ptr().cast(),
                batch.values.as_mut_ptr().cast(),
                &raw mut count,
                std::ptr::null(),
            )
        });
        let end = match ret {
            Ok(_) => false,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
            Err(e) => return Err(e),
        };
        batch.token = Some(next);
        Ok((count as usize, end))
    }

    fn check_key(&self, action: &'static str, key: &[u8]) -> Result<(), KernelError> {
        let size = self.info().key_size as usize;
        if key.len() == size {
            return Ok(());
        }
        let why = format!("the key has {} bytes, the map's have {size}", key.len());
        Err(KernelError::unsupported(action, format!("the map '{}'", self.name()), why))
    }

    /// Bytes that the kernel reads or writes for one value.
    pub(crate) fn value_bytes_of_one(&self) -> Result<usize, KernelError> {
        let info = self.info();
        Ok(if info.is_per_cpu() {
            (info.value_size as usize).next_multiple_of(8) * possible_cpus()?
        } else if info.holds_fds() {
            4
        } else {
            info.value_size as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::{MapSpec, kind};

    fn map(kind: u32) -> MapHandle {
        let name = "elements".to_owned();
        let spec = MapSpec { name, kind, key_size: 4, value_size: 12, max_entries: 5000, flags: 0 };
        MapHandle::create(&spec).unwrap()
    }

    #[test]
    fn a_hash_table() {
        let map = map(kind::HASH);
        let value = [7; 12];
        assert_eq!(map.lookup(&[1; 4]).unwrap(), None);
        map.update(&[1; 4], &value, Update::New).unwrap();
        assert_eq!(
            map.update(&[1; 4], &value, Update::New).unwrap_err().errno(),
            Some(libc::EEXIST)
        );
        assert_eq!(map.lookup(&[1; 4]).unwrap().unwrap(), value);
        assert!(map.delete(&[1; 4]).unwrap() && !map.delete(&[1; 4]).unwrap());
    }

    #[test]
    fn all_entries_come_once() {
        let map = map(kind::HASH);
        for i in 0..4000u32 {
            map.update(&i.to_ne_bytes(), &[i as u8; 12], Update::Any).unwrap();
        }
        let entries = map.entries().unwrap();
        assert_eq!(entries.len(), 4000);
        assert!(entries.iter().all(|(k, v)| v[0] == k[0]));
        assert_eq!(map.keys().unwrap().len(), 4000);
    }

    #[test]
    fn values_per_cpu() {
        let map = map(kind::PERCPU_HASH);
        let cpus = possible_cpus().unwrap();
        let value: Vec<u8> = (0..cpus).flat_map(|cpu| [cpu as u8 + 1; 16]).collect();
        map.update(&[2; 4], &value, Update::Any).unwrap();
        let values = map.lookup_per_cpu(&[2; 4]).unwrap().unwrap();
        assert_eq!((values.len(), values[0].as_slice()), (cpus, &[1; 12][..]));
        assert_eq!(map.entries().unwrap().len(), 1);
    }

    #[test]
    fn sizes_are_checked() {
        let map = map(kind::HASH);
        assert!(map.lookup(&[0; 3]).is_err() && map.delete(&[0; 5]).is_err());
        assert!(map.update(&[0; 4], &[0; 11], Update::Any).is_err());
        assert!(map.lookup_per_cpu(&[0; 4]).is_err());
        assert!(map.memory().unwrap() > 0);
    }

    #[test]
    fn a_frozen_map_is_only_read() {
        let map = map(kind::ARRAY);
        map.update(&[0; 4], &[1; 12], Update::Existing).unwrap();
        map.freeze().unwrap();
        assert_eq!(
            map.update(&[0; 4], &[2; 12], Update::Any).unwrap_err().errno(),
            Some(libc::EPERM)
        );
        assert!(map.freeze().is_err());
        assert_eq!(map.lookup(&[0; 4]).unwrap().unwrap(), [1; 12]);
        assert_eq!(map.entries().unwrap().len(), 5000);
    }

    #[test]
    fn a_ring_has_no_keys() {
        let spec = MapSpec { kind: kind::RINGBUF, max_entries: 4096, ..MapSpec::default() };
        let ring = MapHandle::create(&spec).unwrap();
        assert_eq!(ring.keys().unwrap_err().to_string(), "cannot walk the keys of the map ");
        assert!(ring.entries().is_err() && ring.lookup(&[]).is_err());
    }
}
