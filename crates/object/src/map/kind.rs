//! The kinds of maps, and what a kind alone says.

use crate::kernel_enum::kernel_enum;

kernel_enum! {
    /// The kinds of maps (`enum bpf_map_type`).
    MapKind "map_type_"
    1 Hash "hash",
    2 Array "array",
    3 ProgArray "prog_array",
    4 PerfEventArray "perf_event_array",
    5 PercpuHash "percpu_hash",
    6 PercpuArray "percpu_array",
    7 StackTrace "stack_trace",
    8 CgroupArray "cgroup_array",
    9 LruHash "lru_hash",
    10 LruPercpuHash "lru_percpu_hash",
    11 LpmTrie "lpm_trie",
    12 ArrayOfMaps "array_of_maps",
    13 HashOfMaps "hash_of_maps",
    14 Devmap "devmap",
    15 Sockmap "sockmap",
    16 Cpumap "cpumap",
    17 Xskmap "xskmap",
    18 Sockhash "sockhash",
    19 CgroupStorage "cgroup_storage",
    20 ReuseportSockarray "reuseport_sockarray",
    21 PercpuCgroupStorage "percpu_cgroup_storage",
    22 Queue "queue",
    23 Stack "stack",
    24 SkStorage "sk_storage",
    25 DevmapHash "devmap_hash",
    26 StructOps "struct_ops",
    27 RingBuf "ringbuf",
    28 InodeStorage "inode_storage",
    29 TaskStorage "task_storage",
    30 BloomFilter "bloom_filter",
    31 UserRingBuf "user_ringbuf",
    32 CgrpStorage "cgrp_storage",
    33 Arena "arena",
    34 InsnArray "insn_array",
}

impl MapKind {
    /// Whether each CPU has a value of its own.
    #[must_use]
    pub const fn is_per_cpu(self) -> bool {
        matches!(
            self,
            Self::PercpuHash | Self::PercpuArray | Self::LruPercpuHash | Self::PercpuCgroupStorage
        )
    }

    /// Whether its values are maps.
    #[must_use]
    pub const fn holds_maps(self) -> bool {
        matches!(self, Self::ArrayOfMaps | Self::HashOfMaps)
    }

    /// Whether a full one makes room by itself, by what was used least.
    #[must_use]
    pub const fn forgets(self) -> bool {
        matches!(self, Self::LruHash | Self::LruPercpuHash)
    }

    /// Of what it has a value each, however many there are.
    #[must_use]
    pub const fn grows_with(self) -> Option<&'static str> {
        match self {
            Self::SkStorage => Some("a socket"),
            Self::InodeStorage => Some("an inode"),
            Self::TaskStorage => Some("a task"),
            Self::CgrpStorage | Self::CgroupStorage | Self::PercpuCgroupStorage => Some("a cgroup"),
            _ => None,
        }
    }

    /// Whether keys are indexes, and take no memory.
    #[must_use]
    pub const fn is_array(self) -> bool {
        matches!(
            self,
            Self::Array
                | Self::PercpuArray
                | Self::ProgArray
                | Self::PerfEventArray
                | Self::CgroupArray
                | Self::ArrayOfMaps
                | Self::Devmap
                | Self::Sockmap
                | Self::Cpumap
                | Self::Xskmap
        )
    }

    /// Whether it holds what others than its package put into it: sockets and cgroups.
    #[must_use]
    pub const fn holds_of_others(self) -> bool {
        matches!(
            self,
            Self::CgroupArray
                | Self::Sockmap
                | Self::Sockhash
                | Self::ReuseportSockarray
                | Self::Xskmap
        )
    }

    /// Whether values are programs, maps, sockets or devices, which belong to the version that put them there.
    #[must_use]
    pub const fn holds_objects(self) -> bool {
        matches!(
            self,
            Self::ProgArray
                | Self::ArrayOfMaps
                | Self::HashOfMaps
                | Self::CgroupArray
                | Self::Sockmap
                | Self::Sockhash
                | Self::ReuseportSockarray
                | Self::Xskmap
                | Self::Devmap
                | Self::DevmapHash
                | Self::Cpumap
                | Self::StructOps
                | Self::StackTrace
        )
    }
}
