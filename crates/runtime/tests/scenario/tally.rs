//! What the kernel counted, held against what was made.

use skep_kernel::MapHandle;
use skep_kernel::maps::MappedBytes;

/// The `seen` map of each version, mapped: how often each number was seen.
pub struct Seen(Vec<MappedBytes>);

impl Seen {
    pub fn new(maps: &[&MapHandle]) -> Result<Self, String> {
        let map = |map: &&MapHandle| map.mmap_bytes(false).map_err(|e| e.to_string());
        Ok(Self(maps.iter().map(map).collect::<Result<_, _>>()?))
    }

    fn times(&self, number: u64) -> u64 {
        let read = |map: &MappedBytes| {
            let mut bytes = [0; 8];
            let inside = map.read(number as usize * 8, &mut bytes);
            if inside { u64::from_ne_bytes(bytes) } else { 0 }
        };
        self.0.iter().map(read).sum()
    }
}

/// The sum of the first eight bytes of every value.
pub fn sum(map: &MapHandle) -> Result<u64, String> {
    let entries = map.entries().map_err(|e| e.to_string())?;
    let first = |value: &Vec<u8>| value.first_chunk().map_or(0, |b| u64::from_ne_bytes(*b));
    Ok(entries.iter().map(|(_, value)| first(value)).sum())
}

/// That each number from 1 to `end` was seen exactly once, but for at most as many as the kernel itself `missed`; gives the numbers
/// that were seen.
pub fn once(seen: &Seen, end: u64, missed: u64) -> Result<Vec<u64>, String> {
    let with = |wanted: fn(u64) -> bool| -> Vec<u64> {
        (1..end).filter(|number| wanted(seen.times(*number))).collect()
    };
    let (lost, doubled) = (with(|times| times == 0), with(|times| times > 1));
    if lost.len() as u64 <= missed && doubled.is_empty() {
        return Ok(with(|times| times == 1));
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

/// That two numbers are the same.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, is: T, wanted: T) -> Result<(), String> {
    if is == wanted { Ok(()) } else { Err(format!("{what}: {is:?} instead of {wanted:?}")) }
}
