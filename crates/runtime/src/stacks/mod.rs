//! Stacks by names: what is at the addresses that programs took, of the kernel and of processes, as it is when an event or a map
//! is read. What is not known for sure is said to be unknown, with the reason.

mod files;
mod kernel;
mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use skep_kernel::MapHandle;
use skep_kernel::maps::kind;
use skep_object::event::{Frame, Of, Stacks};

use files::Files;
use kernel::Kernel;
use process::Processes;

/// Whether a map is one of stacks.
pub(crate) fn is_of_stacks(map: &MapHandle) -> bool {
    map.info().kind == kind::STACK_TRACE
}

/// The maps of stacks of one version, by their symbols.
#[derive(Debug, Default)]
pub(crate) struct MapsOfStacks(BTreeMap<String, MapHandle>);

impl MapsOfStacks {
    /// Of these maps those that are such.
    pub(crate) fn of(maps: impl IntoIterator<Item = (String, MapHandle)>) -> Arc<dyn Stacks> {
        Arc::new(Self(maps.into_iter().filter(|(_, map)| is_of_stacks(map)).collect()))
    }
}

/// `BPF_F_STACK_BUILD_ID` (include/uapi/linux/bpf.h): build ids and offsets instead of addresses.
const BUILD_IDS: u32 = 1 << 5;

impl Stacks for MapsOfStacks {
    fn addresses(&self, map: Option<&str>, id: i64) -> Result<Vec<u64>, String> {
        let map = match (map, self.0.len()) {
            (Some(name), _) => {
                self.0.get(name).ok_or_else(|| format!("no map of stacks '{name}'"))?
            }
            (None, 1) => self.0.values().next().ok_or("no map of stacks")?,
            (None, 0) => return Err("its object has no map of stacks".to_owned()),
            (None, _) => return Err("its object has several maps of stacks".to_owned()),
        };
        let Ok(id) = u32::try_from(id & 0xffff_ffff) else { return Err("no id".to_owned()) };
        if id.cast_signed() < 0 {
            return Err(format!("no stack was taken: {}", refusal(id.cast_signed())));
        }
        if map.info().flags & BUILD_IDS != 0 {
            return Err(format!("'{}' has build ids in place of addresses", map.name()));
        }
        match map.lookup(&id.to_ne_bytes()) {
            Ok(Some(bytes)) => Ok(words(&bytes)),
            Ok(None) => Err(format!("stack {id} is gone from the map")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn frames(&self, of: Of, addresses: &[u64]) -> Vec<Frame> {
        Symbolizer::of_this_machine().frames(of, addresses)
    }
}

/// Why `bpf_get_stackid` gave no id (kernel/bpf/stackmap.c).
fn refusal(error: i32) -> String {
    match -error {
        14 => "there is none (EFAULT)".to_owned(),
        17 => "another stack has its place in the map (EEXIST)".to_owned(),
        number => format!("error {number}"),
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    words.take_while(|word| *word != 0).collect()
}

/// What is known of the addresses of this machine.
#[derive(Debug, Default)]
struct Symbolizer {
    kernel: Mutex<Kernel>,
    /// With the files that they run.
    processes: Mutex<(Processes, Files)>,
}

impl Symbolizer {
    fn of_this_machine() -> &'static Self {
        static KNOWN: OnceLock<Symbolizer> = OnceLock::new();
        KNOWN.get_or_init(Self::default)
    }

    fn frames(&self, of: Of, addresses: &[u64]) -> Vec<Frame> {
        match of {
            Of::Kernel => self.of_kernel(addresses),
            Of::Process(Some(pid)) => {
                let mut known = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
                let (processes, files) = &mut *known;
                processes.frames(pid, addresses, files)
            }
            Of::Process(None) => no_process(addresses),
            Of::Either if addresses.first().is_some_and(|first| is_kernel(*first)) => {
                self.of_kernel(addresses)
            }
            Of::Either => no_process(addresses),
        }
    }

    fn of_kernel(&self, addresses: &[u64]) -> Vec<Frame> {
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.frames(addresses)
    }
}

/// Where something ran: an address that a call returns to may be the first byte behind its function.
fn ran(at: usize, address: u64) -> u64 {
    if at == 0 { address } else { address.saturating_sub(1) }
}

fn no_process(addresses: &[u64]) -> Vec<Frame> {
    let why: Arc<str> = "whose process it is, nobody says".into();
    addresses.iter().map(|address| Frame::unknown(Some(*address), why.clone())).collect()
}

/// Whether an address is in the upper half, which is the kernel's on x86_64, aarch64 and riscv64.
const fn is_kernel(address: u64) -> bool {
    cfg!(not(target_arch = "s390x")) && address >> 63 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_stack_it_is_said_why() {
        let none = MapsOfStacks::default();
        assert_eq!(none.addresses(None, 1).unwrap_err(), "its object has no map of stacks");
        assert_eq!(none.addresses(Some("x"), 1).unwrap_err(), "no map of stacks 'x'");
        let frames = none.frames(Of::Process(None), &[0x1000]);
        assert_eq!(frames[0].to_string(), "0x1000 (whose process it is, nobody says)");
        let frames = none.frames(Of::Either, &[0x1000]);
        assert!(frames[0].unknown.is_some());
    }
}
