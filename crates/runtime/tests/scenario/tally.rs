//! What the kernel counted, held against what was made.

use skep_kernel::MapHandle;
use skep_kernel::maps::MappedU64s;

/// The `seen` map of each version, mapped: how often each number was seen. It lives on when the pins go.
pub struct Seen(Vec<MappedU64s>);

/// Numbers that were seen once.
pub struct Tally {
    pub numbers: Vec<u64>,
    /// How many of them each version saw.
    pub by_version: Vec<u64>,
}

impl Seen {
    pub fn new(maps: &[&MapHandle]) -> Result<Self, String> {
        let map = |map: &&MapHandle| map.mmap().map_err(|e| e.to_string());
        Ok(Self(maps.iter().map(map).collect::<Result<_, _>>()?))
    }

    /// That each number from 1 to before `end` was seen exactly once, but for at most as many as the kernel itself `missed`.
    pub fn once(&self, end: u64, missed: u64) -> Result<Tally, String> {
        let with = |wanted: fn(u64) -> bool| -> Vec<u64> {
            (1..end).filter(|number| wanted(self.times(*number))).collect()
        };
        let (lost, doubled) = (with(|times| times == 0), with(|times| times > 1));
        if lost.len() as u64 <= missed && doubled.is_empty() {
            let sum = |map| (1..end).map(|number| times(map, number)).sum();
            let by_version = self.0.iter().map(sum).collect();
            return Ok(Tally { numbers: with(|times| times == 1), by_version });
        }
        let some = |numbers: &[u64]| numbers.iter().take(5).map(u64::to_string).collect::<Vec<_>>();
        Err(format!(
            "of {} events {} lost ({}), {} doubled ({}); the kernel missed {missed}",
            end - 1,
            lost.len(),
            some(&lost).join(" "),
            doubled.len(),
            some(&doubled).join(" "),
        ))
    }

    /// How often all versions saw a number.
    pub fn times(&self, number: u64) -> u64 {
        self.0.iter().map(|map| times(map, number)).sum()
    }
}

fn times(map: &MappedU64s, number: u64) -> u64 {
    let index = number as usize;
    if index < map.len() { map.load(index) } else { 0 }
}

/// The sum of the first eight bytes of every value.
pub fn sum(map: &MapHandle) -> Result<u64, String> {
    let entries = map.entries().map_err(|e| e.to_string())?;
    let first = |value: &Vec<u8>| value.first_chunk().map_or(0, |b| u64::from_ne_bytes(*b));
    Ok(entries.iter().map(|(_, value)| first(value)).sum())
}
