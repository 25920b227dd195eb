//! What the kernel saw, read from the maps themselves: a bitmap of process ids per version.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use skep_kernel::maps::MapHandle;

/// How the numbered events came through.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seen by the first version.
    pub first: usize,
    /// Seen by the second.
    pub second: usize,
    /// Seen by neither.
    pub lost: usize,
    /// Seen by both.
    pub doubled: usize,
}

impl Tally {
    /// Holds each of `numbers` against the two versions' bitmaps.
    pub fn of(numbers: &BTreeSet<u32>, first: &Bitmap, second: &Bitmap) -> Self {
        let mut tally = Self::default();
        for &number in numbers {
            let (in_first, in_second) = (first.has(number), second.has(number));
            tally.first += usize::from(in_first);
            tally.second += usize::from(in_second);
            tally.lost += usize::from(!in_first && !in_second);
            tally.doubled += usize::from(in_first && in_second);
        }
        tally
    }
}

/// The example's map `seen`, all CPUs put together.
pub struct Bitmap(Vec<u64>);

impl Bitmap {
    /// Reads the pinned per-CPU array at `pin`.
    pub fn read(pin: &Path) -> Result<Self> {
        let map = MapHandle::open_pinned(pin).with_context(|| format!("open {}", pin.display()))?;
        let words = map.info().max_entries;
        let word = |key: u32| -> Result<u64> {
            let cpus = map.lookup_per_cpu(&key.to_ne_bytes())?.unwrap_or_default();
            let bits =
                |cpu: &Vec<u8>| cpu.first_chunk::<8>().map_or(0, |word| u64::from_ne_bytes(*word));
            Ok(cpus.iter().map(bits).fold(0, |all, bits| all | bits))
        };
        let words = (0..words).map(word).collect::<Result<_>>();
        Ok(Self(words.with_context(|| format!("read {}", pin.display()))?))
    }

    fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}
