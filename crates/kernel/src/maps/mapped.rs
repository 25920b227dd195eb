//! Values of array maps as memory: counters, switch words, live settings.

use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::{MMAPABLE, MapHandle, kind};
use crate::error::KernelError;

/// A shared mapping that goes with this value.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: shared memory has no owner thread; all access goes through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset` on, shared with everybody who maps or writes them.
    pub(crate) fn new(
        fd: &impl AsRawFd,
        len: usize,
        offset: usize,
        write: bool,
    ) -> std::io::Result<Self> {
        Self::with_flags(fd, len, offset, write, libc::MAP_SHARED)
    }

    /// Maps the first `len` bytes of `fd` for reading only, by a private mapping.
    pub(crate) fn private(fd: &impl AsRawFd, len: usize) -> std::io::Result<Self> {
        Self::with_flags(fd, len, 0, false, libc::MAP_PRIVATE)
    }

    fn with_flags(
        fd: &impl AsRawFd,
        len: usize,
        offset: usize,
        write: bool,
        flags: libc::c_int,
    ) -> std::io::Result<Self> {
        let access = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address that the kernel chooses; nothing of ours lies there.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                access,
                flags,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let address = NonNull::new(address).ok_or_else(|| std::io::Error::other("mapped at 0"))?;
        Ok(Self { address, len })
    }

    /// All bytes, of a file that does not change.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` readable bytes that stay mapped as long as `self`; only for mappings of constant files.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.address.as_ptr().cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, once; whoever borrowed from it is gone.
        unsafe { libc::munmap(self.address.as_ptr(), self.len) };
    }
}

/// An array of u64 in memory that programs write at the same time.
#[derive(Debug)]
pub struct MappedU64s {
    mapping: Mapping,
    len: usize,
}

impl MappedU64s {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a map has at least one value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Value `index`.
    ///
    /// # Panics
    /// `index` is not below [`Self::len`], as with a slice.
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        self.at(index).load(Ordering::SeqCst)
    }

    /// Stores value `index` with one instruction: every program sees the old or the new one.
    ///
    /// # Panics
    /// As [`Self::load`].
    pub fn store(&self, index: usize, value: u64) {
        self.at(index).store(value, Ordering::SeqCst);
    }

    /// Adds to value `index`, exactly also beside programs that add; gives the value before.
    ///
    /// # Panics
    /// As [`Self::load`].
    pub fn add(&self, index: usize, value: u64) -> u64 {
        self.at(index).fetch_add(value, Ordering::SeqCst)
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.len, "value {index} of {}", self.len);
        // SAFETY: below `len`, so within the mapping, which is page-aligned and lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.mapping.start().cast::<u64>().add(index)) }
    }
}

impl MapHandle {
    /// The values of an array of u64, or of one value of many u64, as memory.
    ///
    /// # Errors
    /// It is no mmapable array of words; what mmap(2) says.
    pub fn mmap(&self) -> Result<MappedU64s, KernelError> {
        let info = self.info();
        if !info.value_size.is_multiple_of(8) {
            let why = format!("its values have {} bytes, no multiple of 8", info.value_size);
            return Err(KernelError::unsupported("map as u64", self.name(), why));
        }
        if info.kind != kind::ARRAY || info.flags & MMAPABLE == 0 {
            let why = "it was not made with BPF_F_MMAPABLE";
            return Err(KernelError::unsupported("map into memory", self.name(), why));
        }
        // One after the other (kernel/bpf/arraymap.c).
        let bytes = info.value_size as usize * info.max_entries as usize;
        let fd = std::os::fd::AsFd::as_fd(self);
        let mapping = Mapping::new(&fd, bytes, 0, true)
            .map_err(|e| KernelError::new("map into memory", self.name(), e))?;
        Ok(MappedU64s { mapping, len: bytes / 8 })
    }
}

/// A variable in the one value of a map, as memory that programs use at the same time.
#[derive(Debug)]
pub struct MappedVariable {
    mapping: Mapping,
    offset: usize,
    size: usize,
}

impl MapHandle {
    /// A variable of `size` bytes, `offset` bytes into a section of variables.
    ///
    /// # Errors
    /// The map is no such section, ends before it, or cannot be mapped.
    pub fn variable(&self, offset: usize, size: usize) -> Result<MappedVariable, KernelError> {
        let (info, action) = (self.info(), "write a variable into");
        let value = info.value_size as usize;
        if info.kind != kind::ARRAY || info.flags & MMAPABLE == 0 || info.max_entries != 1 {
            let why = "it is no section of variables that can be mapped";
            return Err(KernelError::unsupported(action, self.name(), why));
        }
        if offset.checked_add(size).is_none_or(|end| end > value) {
            let why = format!("its value has {value} bytes");
            return Err(KernelError::unsupported(action, self.name(), why));
        }
        let fd = std::os::fd::AsFd::as_fd(self);
        let mapping = Mapping::new(&fd, value, 0, true)
            .map_err(|e| KernelError::new(action, self.name(), e))?;
        Ok(MappedVariable { mapping, offset, size })
    }
}

impl MappedVariable {
    /// Stores its value: one of 1, 2, 4 or 8 bytes at a multiple of that by one instruction, so that every program sees the old or the
    /// new one; any other byte by byte. Bytes beyond its size are left out.
    pub fn store(&self, bytes: &[u8]) {
        let bytes = bytes.get(..self.size).unwrap_or(bytes);
        // SAFETY: `variable` saw to it that its bytes lie within the mapping.
        let place = unsafe { self.mapping.start().add(self.offset) };
        let fits = self.offset.is_multiple_of(bytes.len().max(1));
        match bytes {
            [a, b] if fits => {
                // SAFETY: within the mapping, which lives as long as `self`; aligned, since that is by pages and the offset by the size.
                let whole = unsafe { AtomicU16::from_ptr(place.cast()) };
                whole.store(u16::from_ne_bytes([*a, *b]), Ordering::SeqCst);
            }
            [a, b, c, d] if fits => {
                // SAFETY: as above.
                let whole = unsafe { AtomicU32::from_ptr(place.cast()) };
                whole.store(u32::from_ne_bytes([*a, *b, *c, *d]), Ordering::SeqCst);
            }
            [a, b, c, d, e, f, g, h] if fits => {
                // SAFETY: as above.
                let whole = unsafe { AtomicU64::from_ptr(place.cast()) };
                whole.store(u64::from_ne_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), Ordering::SeqCst);
            }
            bytes => {
                for (at, byte) in bytes.iter().enumerate() {
                    // SAFETY: as above, of one byte.
                    let one = unsafe { AtomicU8::from_ptr(place.add(at)) };
                    one.store(*byte, Ordering::SeqCst);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::MapSpec;

    #[test]
    fn a_variable_is_stored_alone() {
        let spec = MapSpec {
            name: "variables".into(),
            kind: kind::ARRAY,
            key_size: 4,
            value_size: 20,
            max_entries: 1,
            flags: MMAPABLE,
        };
        let map = MapHandle::create(&spec).unwrap();
        let value = || map.lookup(&[0; 4]).unwrap().unwrap();
        for (offset, bytes) in
            [(0, &[1u8][..]), (2, &[2, 3]), (4, &[4, 5, 6, 7]), (8, &[8; 8]), (17, &[9; 3])]
        {
            map.variable(offset, bytes.len()).unwrap().store(bytes);
        }
        let expected = [1, 0, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8, 0, 9, 9, 9];
        assert_eq!(value()[..20], expected);
        assert!(map.variable(17, 4).is_err() && map.variable(usize::MAX, 1).is_err());
        assert_eq!(value()[..20], expected);
        let plain = MapHandle::create(&MapSpec { flags: 0, ..spec }).unwrap();
        assert!(plain.variable(0, 1).is_err());
    }

    #[test]
    fn two_mappings_are_one_memory() {
        let map = MapHandle::create_u64s("counters", 600).unwrap();
        let (a, b) = (map.mmap().unwrap(), map.mmap().unwrap());
        a.store(599, 41);
        assert_eq!(b.add(599, 1), 41);
        assert_eq!((a.load(599), a.load(0), a.len()), (42, 0, 600));
        assert_eq!(map.lookup(&[0; 4]).unwrap().unwrap()[599 * 8..], 42u64.to_ne_bytes());
    }

    #[test]
    fn what_is_not_mmapable_is_refused() {
        let spec = MapSpec {
            name: "plain".into(),
            kind: kind::ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
        };
        let error = MapHandle::create(&spec).unwrap().mmap().unwrap_err();
        assert_eq!(error.to_string(), "cannot map into memory plain");
        assert!(MapHandle::create(&MapSpec { value_size: 4, ..spec }).unwrap().mmap().is_err());
    }
}
