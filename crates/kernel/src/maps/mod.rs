//! Maps: make, open, pin, read and write, map into memory.

mod elements;
mod mapped;
pub mod prog_array;
pub mod rcu;
mod walk;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

pub use elements::{Entries, Update};
pub(crate) use mapped::Mapping;
pub use mapped::{MappedU64s, MappedVariable};
pub use walk::Batch;

use crate::error::KernelError;
use crate::pin::{expect_kind, fd_kind, open_pinned, pin};
use crate::sys;

/// Map types, `BPF_MAP_TYPE_*` of include/uapi/linux/bpf.h.
pub mod kind {
    /// Hash table.
    pub const HASH: u32 = 1;
    /// Array.
    pub const ARRAY: u32 = 2;
    /// Programs to tail-call.
    pub const PROG_ARRAY: u32 = 3;
    /// Perf buffer.
    pub const PERF_EVENT_ARRAY: u32 = 4;
    /// Hash table with a value per CPU.
    pub const PERCPU_HASH: u32 = 5;
    /// Array with a value per CPU.
    pub const PERCPU_ARRAY: u32 = 6;
    /// Stacks of addresses.
    pub const STACK_TRACE: u32 = 7;
    /// Hash table that forgets.
    pub const LRU_HASH: u32 = 9;
    /// Hash table that forgets, with a value per CPU.
    pub const LRU_PERCPU_HASH: u32 = 10;
    /// Prefixes, of which a look-up finds the longest that fits.
    pub const LPM_TRIE: u32 = 11;
    /// Array of maps.
    pub const ARRAY_OF_MAPS: u32 = 12;
    /// Hash table of maps.
    pub const HASH_OF_MAPS: u32 = 13;
    /// Interfaces to send packets to.
    pub const DEVMAP: u32 = 14;
    /// CPUs to send packets to.
    pub const CPUMAP: u32 = 16;
    /// cgroup storage per CPU.
    pub const PERCPU_CGROUP_STORAGE: u32 = 21;
    /// Interfaces to send packets to, by any key.
    pub const DEVMAP_HASH: u32 = 25;
    /// Ring buffer.
    pub const RINGBUF: u32 = 27;
    /// Ring buffer that processes write to.
    pub const USER_RINGBUF: u32 = 31;
}

/// `BPF_F_MMAPABLE`: an array whose values can be mapped into memory (Linux 5.5).
pub const MMAPABLE: u32 = libbpf_sys::BPF_F_MMAPABLE;
/// `BPF_F_NO_PREALLOC`: entries of a hash table are allocated as they come.
pub const NO_PREALLOC: u32 = libbpf_sys::BPF_F_NO_PREALLOC;

/// What a map is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapSpec {
    /// Name; the kernel keeps 15 bytes of it.
    pub name: String,
    /// One of [`kind`].
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// What BPF_OBJ_GET_INFO_BY_FD says of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// Id in this kernel, since boot.
    pub id: u32,
    /// Name, cut to 15 bytes by the kernel.
    pub name: String,
    /// One of [`kind`].
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Id of the BTF object that describes it, 0 without.
    pub btf_id: u32,
    /// Type of the key in that BTF, 0 without.
    pub btf_key_type: u32,
    /// Type of the value in that BTF, 0 without.
    pub btf_value_type: u32,
}

impl MapInfo {
    /// Whether each CPU has its own value.
    #[must_use]
    pub fn is_per_cpu(&self) -> bool {
        use kind::{LRU_PERCPU_HASH, PERCPU_ARRAY, PERCPU_CGROUP_STORAGE, PERCPU_HASH};
        matches!(self.kind, PERCPU_HASH | PERCPU_ARRAY | LRU_PERCPU_HASH | PERCPU_CGROUP_STORAGE)
    }

    /// Whether keys are 0 to `max_entries` - 1 and always there.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self.kind, kind::ARRAY | kind::PERCPU_ARRAY)
    }

    /// Whether its values have a program behind their first word, written as an fd and read as an id (devmap, cpumap).
    #[must_use]
    pub fn holds_programs(&self) -> bool {
        use kind::{CPUMAP, DEVMAP, DEVMAP_HASH};
        matches!(self.kind, DEVMAP | DEVMAP_HASH | CPUMAP) && self.value_size == 8
    }

    /// Whether its values are other maps or programs, written as fds and read as ids.
    #[must_use]
    pub fn holds_fds(&self) -> bool {
        use kind::{ARRAY_OF_MAPS, HASH_OF_MAPS, PERF_EVENT_ARRAY, PROG_ARRAY};
        matches!(self.kind, PROG_ARRAY | PERF_EVENT_ARRAY | ARRAY_OF_MAPS | HASH_OF_MAPS)
    }
}

/// A map in the kernel. It goes with its last fd, pin or program.
#[derive(Debug)]
pub struct MapHandle {
    fd: OwnedFd,
    info: MapInfo,
}

impl MapHandle {
    /// Makes a map.
    ///
    /// # Errors
    /// EINVAL for sizes that the type can't have, ENOMEM, EPERM.
    pub fn create(spec: &MapSpec) -> Result<Self, KernelError> {
        Self::create_with(spec, None)
    }

    /// Makes a map of maps whose members are like `inner`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_outer(spec: &MapSpec, inner: &Self) -> Result<Self, KernelError> {
        Self::create_with(spec, Some(inner))
    }

    fn create_with(spec: &MapSpec, inner: Option<&Self>) -> Result<Self, KernelError> {
        let name = sys::kernel_name(&spec.name);
        let opts = libbpf_sys::bpf_map_create_opts {
            sz: sys::size::<libbpf_sys::bpf_map_create_opts>(),
            map_flags: spec.flags,
            inner_map_fd: inner.map_or(0, |map| map.fd.as_raw_fd() as u32),
            ..Default::default()
        };
        // SAFETY: the name and the options outlive the call.
        let fd = sys::owned(unsafe {
            libbpf_sys::bpf_map_create(
                spec.kind,
                name.as_ptr(),
                spec.key_size,
                spec.value_size,
                spec.max_entries,
                &raw const opts,
            )
        });
        Self::from_fd(fd.map_err(|e| KernelError::new("make the map", spec.name.as_str(), e))?)
    }

    /// `len` words of memory that user space maps: one value of 8 × `len` bytes, because instructions can
    /// address the first value of an array only if it is the only one.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_u64s(name: &str, len: u32) -> Result<Self, KernelError> {
        Self::create(&MapSpec {
            name: name.to_owned(),
            kind: kind::ARRAY,
            key_size: 4,
            value_size: len.saturating_mul(8),
            max_entries: 1,
            flags: MMAPABLE,
        })
    }

    /// The map behind an fd that was received or duplicated.
    ///
    /// # Errors
    /// EINVAL if it is no map.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, KernelError> {
        expect_kind(fd.as_fd(), fd_kind::MAP)
            .map_err(|e| KernelError::new("take as a map", "the fd", e))?;
        let info = info(fd.as_fd())?;
        Ok(Self { fd, info })
    }

    /// Opens the map pinned at `path`.
    ///
    /// # Errors
    /// ENOENT; EINVAL if it is no map.
    pub fn open_pinned(path: &Path) -> Result<Self, KernelError> {
        let fd = open_pinned(path, fd_kind::MAP)
            .map_err(|e| KernelError::new("open the map", path.display().to_string(), e))?;
        Ok(Self { info: info(fd.as_fd())?, fd })
    }

    /// Opens a map by the id that it has in this kernel.
    ///
    /// # Errors
    /// ENOENT if there is none.
    pub fn by_id(id: u32) -> Result<Self, KernelError> {
        // SAFETY: takes an integer.
        let fd = sys::owned(unsafe { libbpf_sys::bpf_map_get_fd_by_id(id) })
            .map_err(|e| KernelError::new("open", format!("the map with id {id}"), e))?;
        Self::from_fd(fd)
    }

    /// Pins it at `path` on a bpffs.
    ///
    /// # Errors
    /// EEXIST, ENOENT for the folder, EPERM for a dot in the name.
    pub fn pin(&self, path: &Path) -> Result<(), KernelError> {
        pin(self.as_fd(), "pin the map at", path)
    }

    /// Forbids changes from user space for good (`.rodata`).
    ///
    /// # Errors
    /// EBUSY while it is mapped writable; an error too if it is frozen already.
    pub fn freeze(&self) -> Result<(), KernelError> {
        // SAFETY: takes an open fd.
        sys::check(unsafe { libbpf_sys::bpf_map_freeze(self.fd.as_raw_fd()) })
            .map(drop)
            .map_err(|e| KernelError::new("freeze the map", self.info.name.as_str(), e))
    }

    /// Another handle of the same map.
    ///
    /// # Errors
    /// EMFILE.
    pub fn try_clone(&self) -> Result<Self, KernelError> {
        let fd = self.fd.try_clone();
        let fd = fd.map_err(|e| KernelError::new("copy the fd of the map", self.name(), e))?;
        Ok(Self { fd, info: self.info.clone() })
    }

    /// What the kernel says of it.
    #[must_use]
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Its name, cut to 15 bytes by the kernel.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Bytes of kernel memory that it is charged for (`memlock` in its fdinfo).
    ///
    /// # Errors
    /// /proc is not readable.
    pub fn memory(&self) -> Result<u64, KernelError> {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        let failed = |e| KernelError::new("read", path.as_str(), e);
        let mut text = [0; 1024]; // the kernel writes all of it at once, some 150 bytes
        let read = File::open(&path).and_then(|mut file| file.read(&mut text)).map_err(failed)?;
        let text = String::from_utf8_lossy(text.get(..read).unwrap_or_default());
        let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        bytes
            .and_then(|bytes| bytes.trim().parse().ok())
            .ok_or_else(|| failed(std::io::Error::other("it has no memlock")))
    }
}

impl AsFd for MapHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn info(fd: BorrowedFd<'_>) -> Result<MapInfo, KernelError> {
    let mut raw = libbpf_sys::bpf_map_info::default();
    let mut len = size_of::<libbpf_sys::bpf_map_info>() as u32;
    // SAFETY: `raw` is `len` bytes, and without pointers.
    sys::check(unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(fd.as_raw_fd(), (&raw mut raw).cast(), &raw mut len)
    })
    .map_err(|e| KernelError::new("read the information of", "a map", e))?;
    Ok(MapInfo {
        id: raw.id,
        name: sys::name_of(&raw.name),
        kind: raw.type_,
        key_size: raw.key_size,
        value_size: raw.value_size,
        max_entries: raw.max_entries,
        flags: raw.map_flags,
        btf_id: raw.btf_id,
        btf_key_type: raw.btf_key_type_id,
        btf_value_type: raw.btf_value_type_id,
    })
}

/// How many values a per-CPU map holds for each key: the CPUs that could ever come online.
///
/// # Errors
/// /sys/devices/system/cpu/possible is not readable.
pub fn possible_cpus() -> Result<usize, KernelError> {
    // SAFETY: takes nothing; libbpf reads and caches the file.
    let count = sys::check(unsafe { libbpf_sys::libbpf_num_possible_cpus() });
    count.map(|n| n as usize).map_err(|e| KernelError::new("count", "the possible CPUs", e))
}
