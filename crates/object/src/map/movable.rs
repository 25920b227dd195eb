//! Whether the entries of a map can be moved into another one's.

use super::{MapFacts, MapKind};

/// `BPF_F_WRONLY`: the system call may not read it.
const WRONLY: u32 = 1 << 4;
/// `BPF_F_RDONLY_PROG`: programs may not write it, and the move is one.
const RDONLY_PROG: u32 = 1 << 7;
/// `BPF_F_WRONLY_PROG`: programs may not read it.
const WRONLY_PROG: u32 = 1 << 8;

/// How a map finds its entries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Hash,
    Array,
}

impl MapKind {
    /// None for those whose entries a program of another version cannot look up and write by key: queues and filters have no
    /// keys, and what belongs to a task, socket, inode or cgroup is found through that alone.
    const fn shape(self) -> Option<Shape> {
        match self {
            Self::Hash | Self::PercpuHash | Self::LruHash | Self::LruPercpuHash | Self::LpmTrie => {
                Some(Shape::Hash)
            }
            Self::Array | Self::PercpuArray => Some(Shape::Array),
            _ => None,
        }
    }
}

impl MapFacts {
    /// Whether the entries of this map can be moved into `new`, as far as kind and flags say.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn movable_to(&self, new: &Self) -> Result<(), String> {
        for map in [self, new] {
            if map.kind.shape().is_none() {
                return Err(format!("the entries of a {} cannot be moved", map.kind));
            }
            if map.flags & (RDONLY_PROG | WRONLY_PROG | WRONLY) != 0 {
                let flag = match map.flags {
                    flags if flags & RDONLY_PROG != 0 => "BPF_F_RDONLY_PROG",
                    flags if flags & WRONLY_PROG != 0 => "BPF_F_WRONLY_PROG",
                    _ => "BPF_F_WRONLY",
                };
                return Err(format!("entries cannot be moved where its flags have {flag}"));
            }
        }
        if self.kind.shape() != new.kind.shape() || self.kind.is_per_cpu() != new.kind.is_per_cpu()
        {
            return Err(format!("it was a {}, and is a {} now", self.kind, new.kind));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MapOrigin;

    fn map(kind: MapKind, flags: u32) -> MapFacts {
        MapFacts { kind, flags, ..MapFacts::empty("m".to_owned(), MapOrigin::Btf) }
    }

    #[test]
    fn only_what_has_keys_and_may_be_written_is_moved() {
        use MapKind as K;
        for kind in [K::Hash, K::LruHash, K::PercpuHash, K::LpmTrie, K::Array, K::PercpuArray] {
            map(kind, 1 << 10).movable_to(&map(kind, 1)).unwrap();
        }
        map(K::Hash, 0).movable_to(&map(K::LruHash, 0)).unwrap();
        for kind in [
            K::Queue,
            K::Stack,
            K::BloomFilter,
            K::TaskStorage,
            K::InodeStorage,
            K::SkStorage,
            K::CgrpStorage,
            K::CgroupStorage,
            K::PercpuCgroupStorage,
            K::Arena,
        ] {
            let why = map(kind, 0).movable_to(&map(kind, 0)).unwrap_err();
            assert_eq!(why, format!("the entries of a {kind} cannot be moved"));
        }
        for (old, new) in [(K::Hash, K::Array), (K::Hash, K::PercpuHash)] {
            map(old, 0).movable_to(&map(new, 0)).unwrap_err();
        }
        for flag in [RDONLY_PROG, WRONLY_PROG, WRONLY] {
            map(K::Array, flag).movable_to(&map(K::Array, 0)).unwrap_err();
            map(K::Array, 0).movable_to(&map(K::Array, flag)).unwrap_err();
        }
    }
}
