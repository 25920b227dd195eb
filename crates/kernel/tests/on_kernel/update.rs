//! Hooks whose program the kernel replaces itself (xdp, tcx, cgroup links; a tc filter at the same place): as many
//! replacements as go, no packet lost, none doubled.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use skep_kernel::attach::tc::FilterPlace;
use skep_kernel::{AttachPlan, attach, cgroup, netns};

use crate::flip::verdict;
use crate::hooks::Hook;
use crate::payload::{self, Shared};
use crate::text;

/// Packets that may wait: fewer than `net.core.netdev_max_backlog` (1000), beyond which the kernel drops them before any program
/// sees them. A thread that sends can be this far ahead where ksoftirqd waits for a processor.
const AHEAD: u32 = 256;

pub fn update(hook: &Hook) -> Result<String, String> {
    netns::enter_new().and_then(|()| netns::up("lo")).map_err(|e| e.to_string())?;
    let group = OwnCgroup::enter_if(hook.name.starts_with("cgroup"))?;
    let shared = Shared::new(hook.events).map_err(text)?;
    let one = payload::load(hook, &shared, 1).map_err(text)?;
    let two = payload::load(hook, &shared, 2).map_err(text)?;
    let mut link = attach::attach(&one, &plan(hook, group.as_ref())?).map_err(text)?;

    let (done, updates) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = std::thread::scope(|scope| {
        let replace = || {
            for next in [&two, &one].into_iter().cycle() {
                if done.load(Ordering::Acquire) {
                    break;
                }
                link.update(next)?;
                updates.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let replacing = scope.spawn(replace);
        let mut fire = hook.generator();
        for number in 0..hook.events {
            shared.announce(number);
            fire(number);
            if number % AHEAD == 0 {
                await_seen(&shared, number);
            }
        }
        done.store(true, Ordering::Release);
        replacing.join()
    });
    failed.map_err(|_| "the replacing thread ended".to_owned())?.map_err(text)?;
    drop(link);
    verdict(&shared, hook.events, updates.into_inner())
}

/// Waits till a version has seen an event; not without end, since it may have been lost, which the verdict says.
fn await_seen(shared: &Shared, number: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while shared.seen(number) == (0, 0) && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

fn plan(hook: &Hook, group: Option<&OwnCgroup>) -> Result<AttachPlan, String> {
    let target = match group {
        Some(group) => format!("{}:{}", hook.target, group.folder.display()),
        None => hook.target.to_owned(),
    };
    let clsact = (hook.name == "tc_replace").then_some(FilterPlace { priority: 7, handle: 1 });
    let target = target.parse().map_err(|_| "a target".to_owned())?;
    Ok(AttachPlan { clsact, ..AttachPlan::new(target) })
}

/// A cgroup that this process is in until the value goes.
struct OwnCgroup {
    folder: PathBuf,
    before: PathBuf,
}

impl OwnCgroup {
    fn enter_if(wanted: bool) -> Result<Option<Self>, String> {
        if !wanted {
            return Ok(None);
        }
        let root = cgroup::root().map_err(text)?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let before = root.join(path);
        let folder = root.join(format!("skep_test_{}", std::process::id()));
        fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let group = Self { folder, before };
        group.move_to(&group.folder)?;
        Ok(Some(group))
    }

    fn move_to(&self, folder: &std::path::Path) -> Result<(), String> {
        let pid = std::process::id().to_string();
        fs::write(folder.join("cgroup.procs"), pid)
            .map_err(|e| format!("{}: {e}", folder.display()))
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let left = self.move_to(&self.before);
        let gone = fs::remove_dir(&self.folder);
        if left.is_err() || gone.is_err() {
            println!("left behind: {}", self.folder.display());
        }
    }
}
