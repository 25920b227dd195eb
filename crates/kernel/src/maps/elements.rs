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
        .map_err(|e| {
            let hint = match e.raw_os_error() {
                Some(libc::E2BIG) => {
                    Some(format!("it has room for {} entries", self.info().max_entries))
                }
                Some(libc::EPERM) => Some("it may be frozen: programs count on what it has".into()),
                _ => None,
            };
            let error = KernelError::new("update the map", self.name(), e);
            hint.into_iter().fold(error, KernelError::with_hint)
        })
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
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                Err(KernelError::new("delete a key from the map", self.name(), e)
                    .with_hint("entries of an array are always there: set them to 0"))
            }
            Err(e) => Err(KernelError::new("delete a key from the map", self.name(), e)),
        }
    }

    /// All keys. A key that comes or goes meanwhile may be missing; none comes twice.
    ///
    /// # Errors
    /// The type has no keys to walk.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, KernelError> {
        if self.info().is_array() {
            return Ok((0..self.info().max_entries).map(|i| i.to_ne_bytes().to_vec()).collect());
        }
        let mut keys = std::collections::BTreeSet::new();
        let mut last: Option<Vec<u8>> = None;
        for _ in 0..self.most_steps() {
            let Some(next) = self.next_key(last.as_deref())? else { break };
            keys.insert(next.clone());
            last = Some(next);
        }
        Ok(keys.into_iter().collect())
    }

    /// All keys with their values, by key and each once.
    ///
    /// # Errors
    /// As [`Self::walk`].
    pub fn entries(&self) -> Result<Entries, KernelError> {
        let mut entries = Entries::new();
        self.walk(|batch| {
            entries.extend(batch.entries().map(|(key, value)| (key.to_vec(), value.to_vec())));
            true
        })?;
        entries.sort();
        entries.dedup_by(|a, b| a.0 == b.0);
        Ok(entries)
    }

    /// Steps of a walk from key to key that ends even if deletions send it back to the start.
    pub(super) fn most_steps(&self) -> u64 {
        u64::from(self.info().max_entries) * 2 + 16
    }

    pub(super) fn next_key(&self, last: Option<&[u8]>) -> Result<Option<Vec<u8>>, KernelError> {
        if self.info().key_size == 0 {
            let why = "it has none";
            return Err(KernelError::unsupported("walk the keys of the map", self.name(), why));
        }
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
    fn a_walk_gives_all_in_pieces_and_ends_when_told() {
        let name = "walk".to_owned();
        for (kind, value_size) in [(kind::HASH, 8), (kind::ARRAY, 8), (kind::HASH, 70_000)] {
            let most = if value_size > 8 { 64 } else { 20_000 };
            let spec = MapSpec {
                kind,
                key_size: 4,
                value_size,
                max_entries: most,
                name: name.clone(),
                flags: 0,
            };
            let map = MapHandle::create(&spec).unwrap();
            for i in 0..most {
                map.update(&i.to_ne_bytes(), &vec![i as u8; value_size as usize], Update::Any)
                    .unwrap();
            }
            let (mut pieces, mut keys) = (0, std::collections::BTreeSet::new());
            map.walk(|batch| {
                pieces += 1;
                keys.extend(batch.entries().map(|(key, value)| {
                    assert!(value.len() == value_size as usize && value[0] == key[0]);
                    key.to_vec()
                }));
                true
            })
            .unwrap();
            assert!(pieces > 1 && keys.len() == most as usize, "{pieces} {}", keys.len());
            let mut first = 0;
            map.walk(|_| {
                first += 1;
                false
            })
            .unwrap();
            assert_eq!(first, 1);
        }
    }

    #[test]
    fn a_map_without_batches_is_walked_by_its_keys() {
        let spec = MapSpec {
            kind: kind::STACK_TRACE,
            key_size: 4,
            value_size: 8,
            max_entries: 16,
            ..MapSpec::default()
        };
        let map = MapHandle::create(&spec).unwrap();
        assert_eq!(map.entries().unwrap(), []);
        let spec = MapSpec { kind: kind::PROG_ARRAY, value_size: 4, ..spec };
        assert_eq!(MapHandle::create(&spec).unwrap().entries().unwrap(), []);
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
