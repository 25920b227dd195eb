//! The tests by name.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_runtime::Faults;
use skep_runtime::ephemeral::{Options, Record, run};

use crate::attach;
use crate::crash::{self, Befalls, Crash, Trouble};
use crate::equal::{equal, text};
use crate::generator::{Generator, Kind};
use crate::hurt;
use crate::late;
use crate::lives;
use crate::mixed;
use crate::moved;
use crate::objects::{Objects, verified};
use crate::objects_change;
use crate::own_cgroup::OwnCgroup;
use crate::place::{Ended, Place};
use crate::previous;
use crate::refusals;
use crate::room;
use crate::sections;
use crate::stopped;
use crate::together;
use crate::unions;
use crate::unplugged;
use crate::waits;
use crate::warm;

/// What was seen, or what was wrong.
pub type Outcome = Result<String, String>;

/// One test.
pub struct Test {
    pub name: String,
    /// Whether every kernel of ours can.
    pub everywhere: bool,
    pub run: Box<dyn Fn(&Objects) -> Outcome + Sync>,
}

/// All tests.
pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for set in ["raw_tp", "tp_btf", "tracepoint", "uprobe", "xdp", "tc", "cgroup_skb", "two", "net"]
    {
        tests.push(warm_test(set, true));
    }
    for set in ["kprobe", "fentry", "fexit"] {
        tests.push(warm_test(set, false));
    }
    for op in
        ["install", "upgrade", "rollback", "remove", "activate", "recover", "commit", "switch"]
    {
        tests.push(crash_test(op));
    }
    for (name, set, run) in LIVES {
        tests.push(life(name, set, *run));
    }
    let at_trampoline = life("stop_and_start_fentry", "fentry", stopped::stops_and_starts);
    tests.push(Test { everywhere: false, ..at_trampoline });
    tests.push(Test { everywhere: false, ..test("sections", sections::sections) });
    tests.push(test("attach_types", attach::types));
    tests.push(Test { everywhere: false, ..test("attach_types_quick", attach::quick) });
    tests.push(test("one_process", attach::one_process::alone));
    tests.push(test("which_map", attach::which_map::which));
    tests.push(test("entries", attach::entries::of_a_map));
    tests.push(test("crash_stop", |objects| stopped::killed(objects, "stop")));
    tests.push(test("crash_start", |objects| stopped::killed(objects, "start")));
    tests.push(test("crash_restart", |objects| stopped::killed(objects, "restart")));
    tests.push(test("nothing_to_start_at", stopped::nothing_to_start_at));
    tests.push(test("crash_together", together::test_killed));
    tests.push(test("crash_together_owed", together::test_owed_killed));
    tests.push(test("crash_together_stopped", together::stopped::killed));
    tests.push(test("two_daemons", two_daemons));
    tests.push(test("already", already));
    tests.push(test("gone_interface", unplugged::gone_interface));
    tests.push(test("renamed_interface", unplugged::renamed_interface));
    tests.push(test("gone_link", unplugged::gone_link));
    tests.push(test("gone_perf_event", unplugged::gone_perf_event));
    tests.push(test("gone_cgroup", unplugged::gone_cgroup));
    tests.push(test("replaced_binary", unplugged::replaced_binary));
    tests.push(test("state_would_be_lost", state_would_be_lost));
    tests.push(test("ephemeral", ephemeral));
    tests
}

fn test(name: &str, run: fn(&Objects) -> Outcome) -> Test {
    Test { name: name.to_owned(), everywhere: true, run: Box::new(run) }
}

fn warm_test(set: &'static str, everywhere: bool) -> Test {
    let run = move |objects: &Objects| {
        let stage = Stage::new(set)?;
        let place = stage.place(objects)?;
        warm::there_and_back(&place, stage.kind)
    };
    Test { name: format!("warm_{set}"), everywhere, run: Box::new(run) }
}

type Life = fn(&Place) -> Outcome;

/// Name, set of hooks, test.
const LIVES: &[(&str, &str, Life)] = &[
    ("together", "raw_tp", together::shared),
    ("together_refusals", "raw_tp", together::refusals),
    ("together_three", "raw_tp", together::chain_of_three),
    ("together_changed", "raw_tp", together::changed),
    ("together_lost", "raw_tp", together::lost),
    ("together_undone_in_part", "raw_tp", together::undone_in_part),
    ("together_back_in_part", "raw_tp", together::back_in_part),
    ("together_exports", "raw_tp", together::exports),
    ("together_stopped_without_pins", "raw_tp", together::stopped::without_pins),
    ("together_stopped_other_type", "raw_tp", together::stopped::of_another_type),
    ("together_stopped_rebooted", "raw_tp", together::stopped::rebooted),
    ("together_stopped_not_loaded", "raw_tp", together::stopped::not_loaded),
    ("refusals", "raw_tp", refusals::refused),
    ("no_such_hook", "raw_tp", refusals::no_such_hook),
    ("alternatives", "choice", refusals::alternatives),
    ("names_of_an_enum", "raw_tp", refusals::names_of_an_enum),
    ("reboot", "raw_tp", lives::rebooted),
    ("reboot_half_way", "two", lives::rebooted_half_way),
    ("back_from_a_fixed_hook", "fixed", lives::back_from_a_fixed_hook),
    ("iterator", "iter", lives::iterator),
    ("iterator_that_goes", "iter_gone", lives::iterator),
    ("lost_hook", "raw_tp", lives::lost_hook),
    ("strangers", "raw_tp", lives::strangers),
    ("damaged_journal", "raw_tp", lives::damaged),
    ("own_rings", "rings", lives::own_rings),
    ("rings_without_reader", "rings", lives::rings_without_reader),
    ("quiet_ring", "quiet", lives::quiet_ring),
    ("perf_buffer", "perf", lives::perf_buffer),
    ("busy_hook", "perf", lives::busy_hook),
    ("own_perf_buffers", "perfs", lives::perf_buffer),
    ("full_ring", "small", lives::full_ring),
    ("full_ring_of_the_gone", "small", lives::full_ring_of_the_gone),
    ("perf_without_reader", "perf", late::perf_without_reader),
    ("perfs_without_reader", "perfs", late::perf_without_reader),
    ("perf_undone", "perfs", late::perf_undone),
    ("no_reader_no_thread", "raw_tp", late::no_reader_no_thread),
    ("renamed_output", "raw_tp", late::renamed_output),
    ("renamed_output_of_perf", "perf", late::renamed_output),
    ("silent_version", "raw_tp", late::silent_version),
    ("late_reader", "rings", late::late_reader),
    ("nothing_taken_at_the_end", "raw_tp", late::nothing_taken_at_the_end),
    ("lost_service", "raw_tp", hurt::lost_service),
    ("passing_trouble", "raw_tp", hurt::passing_trouble),
    ("lost_for_good", "raw_tp", hurt::lost_for_good),
    ("lost_half_way", "two", hurt::lost_half_way),
    ("each_pin", "two", hurt::each_pin),
    ("lost_hooks", "two", hurt::lost_hooks),
    ("lost_hooks_update", "tc", hurt::lost_hooks_of_updates),
    ("half_done", "raw_tp", hurt::half_done),
    ("half_done_install", "raw_tp", hurt::half_done_install),
    ("lost_previous", "two", previous::lost_previous),
    ("lost_previous_half_way", "two", previous::lost_previous_half_way),
    ("emptied_slots", "two", previous::emptied_slots),
    ("partly", "grown", previous::partly),
    ("retries", "raw_tp", waits::retries),
    ("waiting_start", "raw_tp", waits::waiting_start),
    ("waits_for_pins", "raw_tp", waits::waits_for_pins),
    ("dead_link", "grown", mixed::dead_link),
    ("half_switched", "grown", mixed::half_switched),
    ("too_small", "raw_tp", room::too_small),
    ("shorter_array", "raw_tp", room::shorter_array),
    ("too_wide", "wide", room::too_wide),
    ("unnamed_unions", "unions", unions::there_and_back),
    ("no_room", "raw_tp", room::no_room),
    ("back_to_a_smaller_map", "raw_tp", room::back_to_a_smaller_map),
    ("back_after_a_reboot", "raw_tp", room::back_after_a_reboot),
    ("moved", "moved", moved::moved),
    ("moved_tc", "moved_tc", moved::moved),
    ("objects_change", "raw_tp", objects_change::there_and_back),
    ("stop_and_start", "two", stopped::stops_and_starts),
    ("stop_and_start_update", "tc", stopped::stops_and_starts),
    ("stop_and_start_mixed", "grown", stopped::stops_and_starts),
    ("restart_over_a_reboot", "two", stopped::restart_over_a_reboot),
    ("stopped_over_a_reboot", "two", stopped::stopped_over_a_reboot),
    ("stopped_without_pins", "two", stopped::stopped_without_pins),
    ("stop_and_start_needed", "raw_tp", stopped::needed),
    ("half_switched_cut", "grown", mixed::half_switched_and_cut),
];

fn life(name: &str, set: &'static str, run: Life) -> Test {
    let run = move |objects: &Objects| {
        let stage = Stage::new(set)?;
        run(&stage.place(objects)?)
    };
    Test { name: name.to_owned(), everywhere: true, run: Box::new(run) }
}

const ONE: &[&str] = &["install"];
const TWO: &[&str] = &["install", "upgrade"];
/// Before an operation that is to write a checkpoint.
const FILL: &str = "fill-journal";

/// What is killed for one operation: on which hooks, and after what.
fn crashes(op: &str) -> Vec<(&'static str, Crash)> {
    let crash = |before, op, points| Crash { before, op, points, trouble: None };
    match op {
        // The few moments that matter most, where there is no time for all.
        "switch" => vec![
            ("two", crash(ONE, "upgrade", "upgrade.switch")),
            ("tc", crash(ONE, "upgrade", "upgrade.update")),
            ("grown", crash(ONE, "upgrade", "upgrade.update")),
            ("grown", crash(ONE, "upgrade", "upgrade.switch")),
            ("grown", crash(TWO, "rollback", "rollback.update")),
            ("grown", crash(TWO, "rollback", "rollback.switch")),
        ],
        "install" => vec![
            ("two", crash(&[], "install", "install")),
            ("raw_tp", crash(&[FILL], "install", "install.Checkpoint")),
        ],
        "upgrade" => vec![
            ("raw_tp", crash(&["install", FILL], "upgrade", "upgrade.Checkpoint")),
            ("two", crash(ONE, "upgrade", "upgrade")),
            ("tc", crash(ONE, "upgrade", "upgrade")),
            ("two", crash(TWO, "upgrade-again", "upgrade")), // frees the first generation and its hook
        ],
        "rollback" => vec![
            ("raw_tp", crash(&["install", "upgrade", FILL], "rollback", "rollback.Checkpoint")),
            ("two", crash(TWO, "rollback", "rollback")),
            ("tc", crash(TWO, "rollback", "rollback")),
        ],
        "remove" => vec![
            ("two", crash(ONE, "remove", "remove")),
            ("raw_tp", crash(&["install", FILL], "remove", "remove.Checkpoint")),
        ],
        "commit" => vec![
            ("two", crash(TWO, "commit", "commit")),
            ("raw_tp", crash(&["install", "upgrade", FILL], "commit", "commit.Checkpoint")),
        ],
        "activate" => vec![
            ("two", start("activate", lives::reboot)),
            ("tc", start("activate", lives::reboot)),
            ("raw_tp", start("activate.Checkpoint", lives::reboot_with_a_full_journal)),
        ],
        _ => recoveries(),
    }
}

/// A start, after an upgrade and what befell it.
fn start(points: &'static str, befalls: Befalls) -> Crash {
    let trouble = Some(Trouble::Behind(befalls));
    Crash { before: ONE, op: "upgrade", points, trouble }
}

/// What is killed of the starts that have something to mend.
fn recoveries() -> Vec<(&'static str, Crash)> {
    let recovery = |set, before, op, first| {
        (set, Crash { before, op, points: "recover", trouble: Some(Trouble::Killed(first)) })
    };
    let set_aside = Trouble::Until(hurt::kill_and_block, hurt::unblock);
    let half_stopped = Trouble::Until(stopped::half_stop, stopped::start_again);
    let half_switched = Trouble::Behind(mixed::half_switch);
    let after = |before, op, points, trouble| Crash { before, op, points, trouble: Some(trouble) };
    vec![
        recovery("two", ONE, "upgrade", "upgrade.SlotsFilled.after"),
        recovery("two", TWO, "upgrade-again", "upgrade.switch.after"),
        recovery("two", ONE, "upgrade", "upgrade.switch.after"),
        recovery("tc", ONE, "upgrade", "upgrade.update.after"),
        recovery("grown", ONE, "upgrade", "upgrade.update.after"),
        ("two", start("recover.Boot", lives::reboot)),
        ("two", start("recover.attach", lives::lose_hooks)),
        ("two", start("recover.pin", lives::lose_hooks)),
        ("two", start("recover.Attached", lives::lose_hooks)),
        ("tc", start("recover.Attached", lives::lose_hooks)),
        ("two", start("recover.Checkpoint", lives::long_journal)),
        ("two", start("recover.stub", hurt::lose_hooks)),
        ("two", start("recover.pin", hurt::lose_hooks)),
        ("two", start("recover.Attached", hurt::lose_hooks)),
        ("two", start("recover.Lost", hurt::lose_pins)),
        ("two", start("recover.LostGeneration", previous::lose_first)),
        ("two", start("recover.TakeUp", hurt::leave_half_done)),
        ("grown", after(&[], "install", "recover.update", half_switched)),
        ("two", after(ONE, "upgrade", "recover.Switching", half_stopped)),
        ("two", after(ONE, "upgrade", "recover.SetAside", set_aside)),
    ]
}

fn crash_test(op: &'static str) -> Test {
    let run = move |objects: &Objects| {
        let mut passed = BTreeSet::new();
        for (set, crash) in crashes(op) {
            let stage = Stage::new(set)?;
            let place = || stage.place(objects);
            let points = crash::sweep(place, stage.kind, crash);
            passed.extend(points.map_err(|why| format!("{set}, {}: {why}", crash.op))?);
        }
        let expected = |point: &&&str| point.split('.').next() == Some(op);
        let missed: Vec<_> =
            Faults::ALL.iter().filter(expected).filter(|p| !passed.contains(**p)).collect();
        equal("points that were never passed", missed, Vec::new())?;
        Ok(format!("killed at {} points, and whole after each", passed.len()))
    };
    Test { name: format!("crash_{op}"), everywhere: true, run: Box::new(run) }
}

/// Where a set's events happen: this process, or a network namespace, or a cgroup.
pub struct Stage {
    set: &'static str,
    kind: Kind,
    target: Option<String>,
    /// Only to be there: this process is in it.
    _cgroup: Option<OwnCgroup>,
}

impl Stage {
    pub fn new(set: &'static str) -> Result<Self, String> {
        let mut stage = Self { set, kind: Kind::Seek, target: None, _cgroup: None };
        match set {
            "uprobe" => {
                let me = std::env::current_exe().map_err(text)?;
                stage.target = Some(format!("uprobe/{}:lseek", me.display()));
            }
            "xdp" | "tc" | "net" | "cgroup_skb" | "grown" | "moved" | "moved_tc" => {
                stage.kind = Kind::Packet;
                skep_kernel::netns::enter_new().map_err(text)?;
                skep_kernel::netns::up("lo").map_err(text)?;
                stage.target = Some(match set {
                    "xdp" => "xdp/lo".to_owned(),
                    "cgroup_skb" | "grown" | "moved" => {
                        let cgroup = OwnCgroup::enter().map_err(text)?;
                        let target = format!("cgroup_skb/egress:{}", cgroup.folder().display());
                        stage._cgroup = Some(cgroup);
                        target
                    }
                    _ => "tcx/ingress/lo".to_owned(),
                });
            }
            "raw_tp" | "tp_btf" | "two" => stage.kind = Kind::Rename,
            _ => {}
        }
        Ok(stage)
    }

    pub fn place(&self, objects: &Objects) -> Result<Place, String> {
        Place::new(objects, self.set, self.target.clone())
    }
}

/// A second daemon on the same folder is refused and told by whom.
fn two_daemons(objects: &Objects) -> Outcome {
    let stage = Stage::new("raw_tp")?;
    let place = stage.place(objects)?;
    place.does("install")?;
    let pins = place.pins();
    let mut said = String::new();
    for locked in [place.dirs().state.join("lock"), place.dirs().bpffs.clone()] {
        let lock = std::fs::File::open(locked).map_err(text)?;
        lock.try_lock().map_err(text)?;
        said = refused(&place)?;
        equal("what is said", said.contains("another skepd"), true)?;
    }
    // A state folder that knows nothing of these pins.
    let state = place.dirs().state.clone();
    let aside = state.with_extension("aside");
    std::fs::rename(&state, &aside).map_err(text)?;
    let strange = refused(&place)?;
    equal("what is said of pins", strange.contains("not of this state folder"), true)?;
    std::fs::remove_dir_all(&state).and_then(|()| std::fs::rename(&aside, &state)).map_err(text)?;
    equal("pins", place.pins(), pins)?;
    place.does("remove")?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

fn refused(place: &Place) -> Result<String, String> {
    match place.child("open", None)? {
        Ended::Failed(why) => Ok(why),
        other => Err(format!("not refused: {other:?}")),
    }
}

/// The same package and parameters once more: nothing to do.
fn already(objects: &Objects) -> Outcome {
    let stage = Stage::new("raw_tp")?;
    let place = stage.place(objects)?;
    place.does("install")?;
    place.does("upgrade")?;
    let again = place.does("upgrade")?.detail.ok_or("no detail")?;
    equal("generation", again.status.generation, 2)?;
    let third = place.does("upgrade-back")?.detail.ok_or("no detail")?;
    equal("generation", third.status.generation, 3)?;
    equal("generations kept", third.generations.len(), 2)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("already at generation 2; the third freed the first".to_owned())
}

/// An upgrade whose manifest does not say what becomes of a changed value is refused, and nothing is touched.
fn state_would_be_lost(objects: &Objects) -> Outcome {
    let stage = Stage::new("raw_tp")?;
    let place = stage.place(objects)?;
    place.does("install")?;
    let pins = place.pins();
    let refused = match place.child("upgrade-unsaid", None)? {
        Ended::Failed(why) => why,
        other => return Err(format!("not refused: {other:?}")),
    };
    for part in [
        "map 'counts'",
        "new fields: bytes",
        "[map.counts]",
        "upgrade = \"migrate\"",
        "events = \"sum\"",
    ] {
        equal(part, refused.contains(part), true).map_err(|e| format!("{e}: {refused}"))?;
    }
    equal("pins", place.pins(), pins)?;
    place.does("remove")?;
    Ok("refused with the lines that would allow it".to_owned())
}

/// A bare object, attached for as long as a value lives.
fn ephemeral(objects: &Objects) -> Outcome {
    let mut package = objects.package("raw_tp", 1, None)?;
    package.manifest.program.clear();
    package.manifest.output.clear();
    let params = [("pid".to_owned(), std::process::id().to_string())].into();
    let options = Options { params, ..Options::default() };
    let mut session = run(&verified(package), &options).map_err(text)?;
    equal("attached", session.attached().len(), 1)?;
    let generator = Generator::start(Kind::Rename, 1, Duration::from_micros(50));
    generator.wait(500);
    let end = generator.stop();
    let mut numbers = Vec::new();
    while numbers.len() as u64 + 1 < end {
        let each = |record: Record<'_>| numbers.push(record.decoder.number("number", record.data));
        if session.poll(Duration::from_secs(5), 1000, each).map_err(text)? == 0 {
            break;
        }
    }
    equal("events", numbers.iter().map(|n| n.unwrap_or(-1)).eq(1..i128::from(end)), true)?;
    equal("lost", session.lost(), 0)?;
    Ok(format!("{} events", numbers.len()))
}
