//! What the kernel counted, read from the maps themselves.

use std::path::Path;

use anyhow::{Context, Result, bail};
use skep_kernel::MapHandle;
use skep_kernel::maps::MappedBytes;

/// How often each number was seen by one version; live, and there as long as this is, whatever becomes of the pin.
pub struct Seen(MappedBytes);

impl Seen {
    /// Opens the pinned array.
    pub fn open(pin: &Path) -> Result<Self> {
        let map = open(pin)?;
        Ok(Self(map.mmap_bytes(false).with_context(|| format!("map {}", pin.display()))?))
    }

    /// How often it saw this number; none past the map's end.
    fn at(&self, number: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let inside = self.0.read(number as usize * 8, &mut bytes);
        inside.then(|| u64::from_ne_bytes(bytes))
    }

    /// Events that it saw.
    pub fn count(&self) -> u64 {
        (0..).map_while(|number| self.at(number)).sum()
    }
}

/// Fails unless each number from 1 to `made` was seen exactly once by one of the versions, but for at most as many as the kernel itself
/// `missed`; gives how many were seen.
pub fn once(versions: &[&Seen], made: u64, missed: u64) -> Result<u64> {
    let times = |number| versions.iter().filter_map(|seen| seen.at(number)).sum::<u64>();
    let lost: Vec<u64> = (1..=made).filter(|number| times(*number) == 0).collect();
    let doubled: Vec<u64> = (1..=made).filter(|number| times(*number) > 1).collect();
    if lost.len() as u64 > missed || !doubled.is_empty() {
        let some =
            |numbers: &[u64]| format!("{} {:?}", numbers.len(), &numbers[..numbers.len().min(5)]);
        bail!(
            "of {made} events: lost {}, doubled {}; the kernel missed {missed}",
            some(&lost),
            some(&doubled)
        );
    }
    Ok(made - lost.len() as u64)
}

/// The sum of the first field of every value of a pinned map.
pub fn sum(pin: &Path) -> Result<u64> {
    let entries = open(pin)?.entries().with_context(|| format!("read {}", pin.display()))?;
    let first = |value: &Vec<u8>| value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    Ok(entries.iter().map(|(_, value)| first(value)).sum())
}

fn open(pin: &Path) -> Result<MapHandle> {
    MapHandle::open_pinned(pin).with_context(|| format!("open {}", pin.display()))
}
