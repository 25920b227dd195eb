//! The tests by name.

use std::collections::BTreeSet;

use crate::crash;
use crate::generator::Kind;
use crate::holder::Keeper;
use crate::objects::Objects;
use crate::place::{Ended, Place};
use crate::tally::equal;
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
    for op in ["install", "upgrade", "rollback", "commit", "remove"] {
        for set in ["two", "tc"] {
            tests.push(crash_test(set, op));
        }
    }
    tests.push(test("two_daemons", two_daemons));
    tests.push(test("already", already));
    tests
}

fn test(name: &str, run: fn(&Objects) -> Outcome) -> Test {
    Test { name: name.to_owned(), everywhere: true, run: Box::new(run) }
}

fn warm_test(set: &'static str, everywhere: bool) -> Test {
    let run = move |objects: &Objects| {
        let stage = Stage::new(set)?;
        let place = stage.place(objects)?;
        let _keeper = Keeper::start(&place.dirs().state).map_err(|e| e.to_string())?;
        warm::there_and_back(&place, stage.kind)
    };
    Test { name: format!("warm_{set}"), everywhere, run: Box::new(run) }
}

fn crash_test(set: &'static str, op: &'static str) -> Test {
    let run = move |objects: &Objects| {
        let stage = Stage::new(set)?;
        let passed: BTreeSet<&str> = crash::sweep(|| stage.place(objects), stage.kind, op)?;
        Ok(format!("killed at {} points", passed.len()))
    };
    Test { name: format!("crash_{op}_{set}"), everywhere: true, run: Box::new(run) }
}

/// Where a set's events happen: this process, or a network namespace, or a cgroup.
struct Stage {
    set: &'static str,
    kind: Kind,
    target: Option<String>,
    cgroup: Option<std::path::PathBuf>,
}

impl Stage {
    fn new(set: &'static str) -> Result<Self, String> {
        let mut stage = Self { set, kind: Kind::Seek, target: None, cgroup: None };
        match set {
            "uprobe" => {
                let me = std::env::current_exe().map_err(|e| e.to_string())?;
                stage.target = Some(format!("uprobe/{}:lseek", me.display()));
            }
            "xdp" | "tc" | "net" | "cgroup_skb" => {
                stage.kind = Kind::Packet;
                skep_kernel::netns::enter_new().map_err(|e| e.to_string())?;
                skep_kernel::netns::up("lo").map_err(|e| e.to_string())?;
                stage.target = Some(match set {
                    "xdp" => "xdp/lo".to_owned(),
                    "cgroup_skb" => {
                        let folder = own_cgroup()?;
                        let target = format!("cgroup_skb/egress:{}", folder.display());
                        stage.cgroup = Some(folder);
                        target
                    }
                    _ => "tcx/ingress/lo".to_owned(),
                });
            }
            _ => {}
        }
        Ok(stage)
    }

    fn place(&self, objects: &Objects) -> Result<Place, String> {
        Place::new(objects, self.set, self.target.clone())
    }
}

/// A cgroup that this process goes into.
fn own_cgroup() -> Result<std::path::PathBuf, String> {
    let root = skep_kernel::cgroup::root().map_err(|e| e.to_string())?;
    let folder = root.join(format!("skep-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let pid = std::process::id().to_string();
    std::fs::write(folder.join("cgroup.procs"), pid).map_err(|e| e.to_string())?;
    Ok(folder)
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some(folder) = &self.cgroup else { return };
        if let Some(root) = folder.parent() {
            let _ = std::fs::write(root.join("cgroup.procs"), std::process::id().to_string());
        }
        let _ = std::fs::remove_dir(folder);
    }
}

/// A second daemon on the same folder is refused and told by whom.
fn two_daemons(objects: &Objects) -> Outcome {
    let stage = Stage::new("raw_tp")?;
    let place = stage.place(objects)?;
    place.does("install")?;
    let lock = std::fs::File::open(place.dirs().state.join("lock")).map_err(|e| e.to_string())?;
    skep_kernel::file::lock(&lock).map_err(|e| e.to_string())?;
    let refused = match place.child("open", None)? {
        Ended::Failed(why) => why,
        other => return Err(format!("not refused: {other:?}")),
    };
    drop(lock);
    equal("what is said", refused.contains("another skepd"), true)?;
    place.does("remove")?;
    Ok(refused.lines().next().unwrap_or_default().to_owned())
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
