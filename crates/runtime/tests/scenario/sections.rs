//! Programs that attach where their section says, and nowhere else: at system calls, sleepable, changing results, deciding about
//! permissions.

use std::fs;
use std::os::unix::fs::symlink;

use crate::equal::{equal, text};
use crate::events::made;
use crate::generator::Kind;
use crate::objects::Objects;
use crate::place::{Ended, Place};
use crate::tests::Outcome;

/// So many events of each.
const EVENTS: u64 = 100;

/// Makes events; gives the number after the last one's.
type Make = fn(&Place) -> Result<u64, String>;

/// Each set, what the kernel must have for it, and what makes its events.
const SETS: [(&str, &str, Make); 5] = [
    ("ksyscall", "register_kprobe", seeks),
    ("fmod_ret", "security_inode_symlink", links),
    // Of functions whose errors can be injected, system calls among them.
    ("fentry_s", "within_error_injection_list", seeks),
    ("fexit_s", "within_error_injection_list", seeks),
    ("lsm", "bpf_lsm_inode_symlink", links_if_asked),
];

/// Each is installed, counts its events, is taken over by the next process, and goes.
pub fn sections(objects: &Objects) -> Outcome {
    let known = fs::read_to_string("/proc/kallsyms").map_err(text)?;
    let has = |symbol: &str| known.lines().any(|line| line.split(' ').nth(2) == Some(symbol));
    let mut said = Vec::new();
    for (set, symbol, make) in SETS {
        let seen = one(objects, set, has(symbol), make).map_err(|why| format!("{set}: {why}"))?;
        said.push(format!("{set}: {seen}"));
    }
    Ok(said.join("; "))
}

fn one(objects: &Objects, set: &str, is_there: bool, make: Make) -> Outcome {
    let place = Place::new(objects, set, None)?;
    match place.child("install", None)? {
        Ended::Done(_) => {}
        Ended::Failed(why) if !is_there => {
            equal("pins", place.pins(), Vec::new())?;
            return Ok(format!("this kernel does not have it ({why})"));
        }
        Ended::Failed(why) => return Err(why),
        Ended::Killed => return Err("killed".to_owned()),
    }
    let end = make(&place)?;
    let tally = place.seen_once(&[&place.map("seen", 1)?], end)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} events", tally.numbers.len()))
}

fn seeks(_: &Place) -> Result<u64, String> {
    Ok(made(Kind::Seek, 1, EVENTS))
}

/// Each asks whether it may.
fn links(_: &Place) -> Result<u64, String> {
    let folder = tempfile::tempdir().map_err(text)?;
    for at in 0..EVENTS {
        symlink("nowhere", folder.path().join(at.to_string())).map_err(text)?;
    }
    Ok(EVENTS + 1)
}

/// None are counted where the kernel does not ask BPF.
fn links_if_asked(place: &Place) -> Result<u64, String> {
    let end = links(place)?;
    let line = fs::read_to_string("/proc/cmdline").map_err(text)?;
    let asked = line.split_whitespace().filter_map(|word| word.strip_prefix("lsm="));
    let is_asked = asked.flat_map(|list| list.split(',')).any(|name| name == "bpf");
    Ok(if is_asked { end } else { 1 })
}
