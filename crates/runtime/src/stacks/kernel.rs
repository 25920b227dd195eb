//! Addresses of the kernel.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_object::event::{Frame, Symbols};

use super::ran;

/// The kernel's symbols: its own stay, those of modules and BPF programs come and go.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    read: Option<(Instant, Symbols)>,
}

/// So old may symbols be for an address outside of the kernel's own functions.
const FRESH: Duration = Duration::from_secs(5);

impl Kernel {
    pub(super) fn frames(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let is_fresh = self.read.as_ref().is_some_and(|(at, symbols)| {
            at.elapsed() < FRESH || addresses.iter().all(|address| symbols.is_own(*address))
        });
        if !is_fresh {
            let text = fs::read("/proc/kallsyms").unwrap_or_default();
            let symbols = Symbols::parse(&String::from_utf8_lossy(&text));
            self.read = Some((Instant::now(), symbols));
        }
        let Some((_, symbols)) = &self.read else { return Vec::new() };
        let why: Arc<str> = match symbols.is_empty() {
            true => hidden().into(),
            false => "no symbol is there for sure".into(),
        };
        let addresses = addresses.iter().enumerate();
        addresses.map(|(at, address)| frame(symbols, *address, ran(at, *address), &why)).collect()
    }
}

fn frame(symbols: &Symbols, address: u64, ran: u64, why: &Arc<str>) -> Frame {
    let Some(found) = symbols.function(ran) else {
        return Frame::unknown(Some(address), why.clone());
    };
    Frame {
        address: Some(address),
        symbol: Some(found.name.to_owned()),
        offset: Some(found.behind + (address - ran)),
        module: found.module.map(Into::into),
        ..Frame::default()
    }
}

/// Why `/proc/kallsyms` says nothing.
fn hidden() -> String {
    let restrict = fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default();
    format!("the kernel hides its symbols: kernel.kptr_restrict is {}", restrict.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_address_is_of_the_function_that_called() {
        let symbols = Symbols::parse("100 T _stext\n100 T caller\n180 T next\n200 T _etext\n");
        let why: Arc<str> = "why".into();
        // The call was the last instruction of the first function.
        let found = frame(&symbols, 0x180, ran(1, 0x180), &why);
        assert_eq!(found.to_string(), "_stext+0x80");
        assert_eq!(frame(&symbols, 0x180, ran(0, 0x180), &why).to_string(), "next");
        assert_eq!(frame(&symbols, 0x300, 0x300, &why).to_string(), "0x300 (why)");
    }

    #[test]
    fn this_kernel_is_named_or_says_that_it_hides_its_symbols() {
        let text = fs::read_to_string("/proc/kallsyms").unwrap();
        let line = text.lines().find(|line| line.ends_with(" T schedule"));
        let address = line.and_then(|line| u64::from_str_radix(&line[..16], 16).ok()).unwrap_or(0);
        let found = Kernel::default().frames(&[address + 1, address + 5]);
        match address {
            0 => assert!(found[0].to_string().contains("kptr_restrict"), "{found:?}"),
            _ => assert_eq!(found[1].to_string(), "schedule+0x5"),
        }
    }
}
