//! How much memory a map takes, and what a node fills in where an object leaves its size open.

use serde::{Deserialize, Serialize};

use super::{MapFacts, MapKind};

/// Bytes of what the kernel keeps of an event.
const POINTER: u64 = 8;
/// Bytes of a stack of the kernel's own depth (`PERF_MAX_STACK_DEPTH`), which a node gives one without a size.
const STACK: u64 = 127 * 8;
/// Bytes of a page of an arena, on most machines.
const PAGE: u64 = 4096;

impl MapFacts {
    /// What a node fills in; none where the object says a size or the kernel takes none.
    #[must_use]
    pub const fn open_size(&self) -> Option<OpenSize> {
        if self.max_entries != 0 {
            return None;
        }
        match self.kind {
            MapKind::RingBuf | MapKind::UserRingBuf => Some(OpenSize::Entries(256 << 10)),
            // A cpumap of more entries than CPUs that the kernel is built for is refused.
            MapKind::PerfEventArray | MapKind::Cpumap => Some(OpenSize::EachCpu),
            MapKind::SkStorage
            | MapKind::InodeStorage
            | MapKind::TaskStorage
            | MapKind::CgrpStorage
            | MapKind::CgroupStorage
            | MapKind::PercpuCgroupStorage
            | MapKind::StructOps
            | MapKind::Arena => None,
            _ => Some(OpenSize::Entries(10_240)),
        }
    }

    /// Bytes of all keys and values when the map is full: once, and again for each CPU.
    ///
    /// An arena's entries are pages, which count 4 KiB each. The storages of tasks, inodes, sockets and cgroups count nothing: they
    /// grow with what there is ([`MapKind::grows_with`]). Values count rounded up to eight bytes, as the kernel lays them out; its own bookkeeping does not count. A size that
    /// is left open counts as the node fills it in.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let round = |bytes: u32| u64::from(bytes).next_multiple_of(8);
        let entries = match self.open_size() {
            Some(OpenSize::EachCpu) => return Memory { once: 0, per_cpu: POINTER },
            Some(OpenSize::Entries(entries)) => entries.into(),
            None => u64::from(self.max_entries),
        };
        let value = match self.kind {
            MapKind::PerfEventArray => POINTER,
            MapKind::StackTrace if self.value_size == 0 => STACK,
            _ => round(self.value_size),
        };
        let key = round(self.key_size);
        let key = if self.kind.is_array() { 0 } else { key.saturating_mul(entries) };
        match self.kind {
            MapKind::RingBuf | MapKind::UserRingBuf => Memory { once: ring(entries), per_cpu: 0 },
            MapKind::Arena => Memory { once: entries.saturating_mul(PAGE), per_cpu: 0 },
            kind if kind.is_per_cpu() => {
                Memory { once: key, per_cpu: value.saturating_mul(entries) }
            }
            _ => Memory { once: value.saturating_mul(entries).saturating_add(key), per_cpu: 0 },
        }
    }
}

/// Bytes of a ring that is made for so many: libbpf takes the next power of two, from a page on.
const fn ring(bytes: u64) -> u64 {
    match bytes {
        0 => 0,
        1..PAGE => PAGE,
        _ => bytes.next_power_of_two(),
    }
}

/// The size that a node gives a map whose own loader would have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenSize {
    /// So many entries, or bytes of a ring buffer.
    Entries(u32),
    /// An entry for each possible CPU.
    EachCpu,
}

/// Memory of maps in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// However many CPUs there are.
    pub once: u64,
    /// For each possible CPU.
    pub per_cpu: u64,
}

impl Memory {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            once: self.once.saturating_add(other.once),
            per_cpu: self.per_cpu.saturating_add(other.per_cpu),
        }
    }

    /// All of it on a machine with this many possible CPUs.
    #[must_use]
    pub const fn on(self, cpus: u64) -> u64 {
        self.once.saturating_add(self.per_cpu.saturating_mul(cpus))
    }
}
