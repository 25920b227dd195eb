//! Every attach type: a real event reaches a program of ours, what happens when two services share the hook, and what an upgrade
//! is worth under events that never stop. Each prints a row of `docs/reference/attach-types.md`.

pub mod entries;
mod kinds;
mod make;
pub mod one_process;
mod stage;
pub mod which_map;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use skep_runtime::{Runtime, RuntimeError};
use skep_spec::chain;

use kinds::Kind;
pub use kinds::{KINDS, NAMED};
use stage::{Event, Stage, Watch, Where};

use crate::equal::{equal, text};
use crate::events::PAUSE;
use crate::objects::Objects;
use crate::place::{Job, Place};
use crate::tests::Outcome;

/// Events of each kind before anything else happens.
const EVENTS: u64 = 50;
/// How many more between the steps of an upgrade and its way back.
const BETWEEN: u64 = 20;
/// There and back.
const SWITCHES: usize = 2;
/// Numbers that the maps hold.
const MOST: u64 = 60_000;

/// What no other test has and needs a guest; the rest takes as long there as anything.
const QUICK: [&str; 10] = [
    "kprobe.multi",
    "kprobe.session",
    "fmod_ret",
    "lsm",
    "struct_ops (sched_ext)",
    "sk_skb/stream_parser",
    "flow_dissector",
    "lsm_cgroup",
    "freplace",
    "netkit/primary",
];

/// What a machine that is no guest may refuse, although its kernel knows it: trampolines (as under lockdown), and probes by
/// fprobe without kprobes.
const MAY_REFUSE: [&str; 8] =
    ["fentry", "fexit", "fmod_ret", "freplace", "kprobe.session", "lsm", "lsm.s", "lsm_cgroup"];

/// All of them.
pub fn types(objects: &Objects) -> Outcome {
    each(objects, |_| true)
}

/// Those that other kernels than this machine's must show.
pub fn quick(objects: &Objects) -> Outcome {
    each(objects, |name| QUICK.contains(&name))
}

fn each(objects: &Objects, wanted: impl Fn(&str) -> bool) -> Outcome {
    let (mut failed, mut tried, mut attached) = (Vec::new(), 0, 0);
    for kind in KINDS.iter().filter(|kind| wanted(kind.name) && is_asked(kind.name)) {
        tried += 1;
        let must = kernel_has(kind.symbol)?;
        // Each has a thread of its own, which may change its network namespace.
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| one(objects, kind, must));
            thread.join().unwrap_or_else(|_| Err("it panicked".to_owned()))
        });
        match done {
            Ok(row) => {
                attached += u64::from(row.attaches);
                println!("row attach-types {} | {} | {}", kind.name, kernel()?, row.text);
            }
            Err(why) => {
                println!("row attach-types {} | {} | failed", kind.name, kernel()?);
                failed.push(format!("{}: {why}", kind.name));
            }
        }
    }
    match failed.is_empty() {
        true => Ok(format!("{attached} types of {tried} attach here")),
        false => Err(failed.join("\n    ")),
    }
}

/// Whether the kernel has a symbol; an empty one every kernel has.
pub fn kernel_has(symbol: &str) -> Result<bool, String> {
    let known = fs::read_to_string("/proc/kallsyms").map_err(text)?;
    let is_it = |line: &str| line.split_ascii_whitespace().nth(2) == Some(symbol);
    Ok(symbol.is_empty() || known.lines().any(is_it))
}

/// That an error is the kernel's refusal to attach, and the kernel one without the symbol that attaching takes.
pub fn is_no_fault(error: &RuntimeError, symbol: &str) -> Result<(), String> {
    equal("the error's code", error.code(), "attach").map_err(|_| chain(error))?;
    equal(symbol, kernel_has(symbol)?, false).map_err(|_| chain(error))
}

/// The types that are asked for; empty for all.
static ASKED: OnceLock<Vec<String>> = OnceLock::new();

/// `--types xdp,tcx/ingress` asks for some, for who works on them.
pub fn ask(list: &str) {
    ASKED.get_or_init(|| list.split(',').map(str::to_owned).collect());
}

fn is_asked(name: &str) -> bool {
    ASKED.get().is_none_or(|asked| asked.iter().any(|one| one == name))
}

/// The kernel's series.
fn kernel() -> Result<String, String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(text)?;
    let mut parts = release.trim().split(['.', '-']);
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let guest = if is_guest() { "" } else { ", this machine" };
    Ok(format!("{major}.{minor}{guest}"))
}

fn is_guest() -> bool {
    Path::new("/guest").exists()
}

struct Row {
    attaches: bool,
    /// Its cells.
    text: String,
}

impl Row {
    fn lacks(why: &str) -> Self {
        Self { attaches: false, text: format!("no: {} | - | -", cell(why)) }
    }
}

/// Text that a table takes.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
    line.chars().take(240).collect()
}

fn one(objects: &Objects, kind: &Kind, must: bool) -> Result<Row, String> {
    if matches!(kind.place, Where::Rps | Where::Guest) && !is_guest() {
        return Ok(Row::lacks("tested in guests only, which are nobody's"));
    }
    let mut stage = Stage::new(kind, objects)?;
    let place = stage.place(objects, kind)?;
    stage.pins = Stage::pins_of(&place);
    let (job, mut runtime) = place.opened()?;
    if let Err(error) = runtime.install(&job.package(1)?, &job.install()) {
        equal("pins", place.pins(), Vec::new())?;
        let why = chain(&error);
        let may = MAY_REFUSE.contains(&kind.name) && !is_guest();
        return if must && !may { Err(why) } else { Ok(Row::lacks(&why)) };
    }
    let watch = Watch::new(&place)?;
    let mut event = (kind.make)(&stage);
    if !watch.one(1, &mut event) {
        remove(runtime, &place)?;
        return match kind.section.starts_with("lsm") && !asks_bpf() {
            true => Ok(Row {
                attaches: true,
                ..Row::lacks("it attaches, and this kernel does not ask BPF: lsm= lacks bpf")
            }),
            false => Err("its event was not seen".to_owned()),
        };
    }
    let mut next = seen_once(&watch, &mut event, 2)?;
    drop(runtime);
    // The next process, so to speak, takes it over.
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("adopted", recovery.adopted.len(), 1)?;
    next = seen_once(&watch, &mut event, next)?;
    // The last one takes such a place from the first, and leaves nobody there.
    let replaces = kind.place == Where::Sharing;
    let share =
        |event: &mut Event, next: &mut u64| share(objects, kind, &stage, (&watch, event, next));
    let mut shared = String::new();
    if !replaces {
        shared = share(&mut event, &mut next)?;
    }
    let several = kind.defines.contains(&"ONCE");
    let (mut event, upgrade) = upgrade(&mut runtime, &job, &watch, (event, several), next)?;
    if replaces {
        let mut number = MOST - 1;
        shared = share(&mut event, &mut number)?;
    }
    remove(runtime, &place)?;
    if !kind.section.starts_with("iter") {
        falls_silent(&watch, &mut event)?;
    }
    Ok(Row { attaches: true, text: format!("{} seen | {shared} | {upgrade}", EVENTS * 2) })
}

/// That no event is seen any more, some time after the removal: old kernels free a link when they come to it.
fn falls_silent(watch: &Watch, event: &mut Event) -> Result<(), String> {
    const TURN: Duration = Duration::from_millis(2);
    for number in MOST..MOST + 5_000 {
        if !watch.one(number, event) {
            return Ok(());
        }
        std::thread::sleep(TURN);
    }
    Err("events are seen 10 s after it was removed".to_owned())
}

fn remove(mut runtime: Runtime, place: &Place) -> Result<(), String> {
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())
}

/// Whether this kernel asks BPF about permissions.
fn asks_bpf() -> bool {
    let list = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    list.trim().split(',').any(|name| name == "bpf")
}

/// Makes so many events from number `first` on, each of which must be seen once; gives the next number.
fn seen_once(watch: &Watch, event: &mut Event, first: u64) -> Result<u64, String> {
    for number in first..first + EVENTS {
        watch.one(number, event);
        let [old, new] = watch.by_version(number);
        equal(&format!("event {number} is seen"), old + new, 1)?;
    }
    Ok(first + EVENTS)
}

/// What comes of the event when a second service is on the same hook.
fn share(
    objects: &Objects,
    kind: &Kind,
    stage: &Stage,
    (watch, event, next): (&Watch, &mut Event, &mut u64),
) -> Result<String, String> {
    // Netfilter runs programs by their priorities, of which two must not be the same.
    let target = stage.target.clone().map(|target| match target.starts_with("netfilter:") {
        true => target + "/1",
        false => target,
    });
    let place = Place::new(objects, &kind.set(), target)?;
    let (job, mut runtime) = place.opened()?;
    if let Err(error) = runtime.install(&job.package(1)?, &job.install()) {
        equal("pins", place.pins(), Vec::new())?;
        return Ok(format!("one at a time ({})", cell(&last(&chain(&error)))));
    }
    let second = Watch::new(&place)?;
    let number = *next;
    *next += 1;
    second.announce(number);
    watch.one(number, event);
    let deadline = Instant::now() + Duration::from_millis(500);
    while second.by_version(number) == [0, 0] && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let saw = [watch, &second].map(|watch| watch.by_version(number)[0] > 0);
    remove(runtime, &place)?;
    Ok(match saw {
        [true, true] => "each runs".to_owned(),
        [true, false] if kind.section.starts_with("iter") => {
            "each has readers of its own".to_owned()
        }
        [true, false] => "only the first runs".to_owned(),
        [false, true] => "only the last runs".to_owned(),
        [false, false] => return Err("neither of two services saw an event".to_owned()),
    })
}

/// The last cause of an error.
fn last(chain: &str) -> String {
    chain.rsplit(": ").next().unwrap_or(chain).to_owned()
}

/// An upgrade and the way back while events are made: what became of each.
fn upgrade(
    runtime: &mut Runtime,
    job: &Job,
    watch: &Watch,
    (mut event, several): (Event, bool),
    first: u64,
) -> Result<(Event, String), String> {
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(first));
    let (event, done) = std::thread::scope(|scope| {
        let generator = scope.spawn(|| {
            let mut number = first;
            while !stop.load(Ordering::Acquire) && number < MOST {
                watch.one(number, &mut event);
                number += 1;
                made.store(number, Ordering::Release);
                std::thread::sleep(PAUSE); // the numbers must last
            }
            event
        });
        let done = there_and_back(runtime, job, &made);
        stop.store(true, Ordering::Release);
        (generator.join(), done)
    });
    let event = event.map_err(|_| "what makes the events ended".to_owned())?;
    let Some(mechanism) = done? else {
        let refused =
            "refused: the kernel can't replace the program; remove and install".to_owned();
        return Ok((event, refused));
    };
    let end = made.load(Ordering::Acquire);
    let counts: Vec<[u64; 2]> = (first..end).map(|number| watch.by_version(number)).collect();
    let lost = counts.iter().filter(|[old, new]| old + new == 0).count();
    let doubled = counts.iter().filter(|[old, new]| old + new > 1).count();
    let by = |version: usize| counts.iter().map(|counts| counts[version]).sum::<u64>();
    equal("a version saw nothing", by(0) == 0 || by(1) == 0, false)?;
    let said = format!("{} events, {lost} lost, {doubled} doubled, by {mechanism}", counts.len());
    match (lost, doubled) {
        (0, 0) => Ok((event, format!("exact: {said}"))),
        // A switch may come between two runs of one event, each of which is exact.
        (0, 1..=SWITCHES) if several => Ok((
            event,
            format!(
                "exact: {} events, 0 lost, {doubled} of several runs met both versions, by {mechanism}",
                counts.len()
            ),
        )),
        _ => Err(said),
    }
}

/// Whether an upgrade was refused because the kernel replaces no program there: known beforehand, or by the kernel's word.
fn is_irreplaceable(why: &str) -> bool {
    why.contains("can't replace the program") || why.contains("update the link to the functions")
}

/// The mechanism; none where the upgrade is refused.
fn there_and_back(
    runtime: &mut Runtime,
    job: &Job,
    made: &AtomicU64,
) -> Result<Option<String>, String> {
    let more = || {
        let (goal, deadline) =
            (made.load(Ordering::Acquire) + BETWEEN, Instant::now() + Duration::from_secs(60));
        while made.load(Ordering::Acquire) < goal {
            if Instant::now() > deadline {
                return Err(format!("no {BETWEEN} events were made in 60 s"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    more()?;
    match runtime.upgrade(&job.package(2)?, &job.install()) {
        Ok(_) => {}
        Err(error) if is_irreplaceable(&chain(&error)) => return Ok(None),
        Err(error) => return Err(chain(&error)),
    }
    more()?;
    let detail = runtime.rollback(&Job::service()).map_err(|error| chain(&error))?;
    more()?;
    drop(detail);
    let hooks = runtime.service(&Job::service()).map_err(text)?.hooks;
    // What is run when it is asked to has none.
    let how = hooks.first().map(|hook| hook.mechanism.to_string());
    Ok(Some(how.unwrap_or_else(|| "the one that is asked for".to_owned())))
}
