//! What a service is attached to goes while skepd runs: that is said, nothing is changed on top of it, and it is attached again at
//! the next start where its target is there again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skep_kernel::{bpffs, cgroup, netns};
use skep_runtime::status::ServiceState;
use skep_runtime::{Recovery, Runtime};

use crate::attach::{self, KINDS};
use crate::equal::{equal, text};
use crate::events::made;
use crate::generator::Kind;
use crate::hurt::{changes_nothing, pins_of, status};
use crate::objects::Objects;
use crate::place::{Job, Place};
use crate::tests::Outcome;

/// A device goes with its network namespace, and another one of its name comes.
pub fn gone_interface(objects: &Objects) -> Outcome {
    let mut said = Vec::new();
    for (set, target) in [("tc", "tcx/ingress/lo"), ("xdp", "xdp/lo")] {
        let place = Place::without_holder(objects, set, Some(target.to_owned()))?;
        new_interface()?;
        said.push(detached(&place, Kind::Packet, new_interface, new_interface)?);
    }
    Ok(said.join("; "))
}

/// An interface gets another name: the service runs on there, an upgrade goes on, and who asks is told the name.
pub fn renamed_interface(objects: &Objects) -> Outcome {
    for (set, target) in [("tc", "tcx/ingress/lo"), ("xdp", "xdp/lo")] {
        new_interface()?;
        let place = Place::without_holder(objects, set, Some(target.to_owned()))?;
        let (job, mut runtime) = place.installed()?;
        netns::rename("lo", "lo9").map_err(text)?;
        let detail = runtime.service(&Job::service()).map_err(text)?;
        let hook = detail.hooks.first().ok_or("no hook")?;
        equal("told", hook.held_by.ends_with("at the interface that is called 'lo9' now"), true)?;
        equal("detached", hook.detached.clone(), None)?;
        runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
        drop(runtime);
        let end = made(Kind::Packet, 1, 20);
        place.seen_once(&[&place.map("seen", 2)?], end)?;
        goes(job.open().map_err(text)?.0, &job, &place)?;
    }
    Ok("it stays where it is, and its new name is told".to_owned())
}

/// A network namespace with a device; the one before goes with this thread, which was the last in it.
fn new_interface() -> Result<(), String> {
    netns::enter_new().and_then(|()| netns::up("lo")).map_err(text)
}

/// A link loses its pin, and with it all that held it.
pub fn gone_link(objects: &Objects) -> Outcome {
    let place = Place::new(objects, "raw_tp", None)?;
    let link = pins_of(&place, &Job::service()).link("on_raw_tp");
    detached(&place, Kind::Rename, || bpffs::unpin(&link).map_err(text), || Ok(()))
}

/// What holds a perf event goes: its pin or, where the kernel pins none, what the holder keeps open.
pub fn gone_perf_event(objects: &Objects) -> Outcome {
    let place = Place::new(objects, "tracepoint", None)?;
    let link = pins_of(&place, &Job::service()).link("on_tracepoint");
    let unplug = || match link.exists() {
        true => bpffs::unpin(&link).map_err(text),
        false => {
            let holder = crate::holder::connect(&place.dirs().state).map_err(text)?;
            let mut holder = holder.ok_or("no holder")?;
            holder.release("numbered/on_tracepoint").map_err(text)
        }
    };
    detached(&place, Kind::Seek, unplug, || Ok(()))
}

/// Another file comes in the place of a binary, as at its update.
pub fn replaced_binary(objects: &Objects) -> Outcome {
    let mut said = Vec::new();
    let me = Path::new("/proc/self/exe");
    for (set, hook, kind, place, of) in [
        ("uprobe", "on_uprobe", "uprobe", "main", me),
        ("attach_uprobe_multi", "on_event", "uprobe.multi", "mai?", me),
        ("attach_usdt", "on_event", "usdt", "skep:seven", &objects.probed()),
    ] {
        let replaced = replaced(objects, (set, hook), (kind, place), of);
        said.push(replaced.map_err(|why| format!("{kind}: {why}"))?);
    }
    Ok(said.join("; "))
}

fn replaced(
    objects: &Objects,
    (set, hook): (&str, &str),
    (kind, place): (&str, &str),
    of: &Path,
) -> Outcome {
    let folder = tempfile::tempdir().map_err(text)?;
    let [binary, fresh] = ["binary", "fresh"].map(|name| folder.path().join(name));
    let copy = |to: &Path| fs::copy(of, to).map(drop);
    copy(&binary).map_err(text)?;
    let target = format!("{kind}/{}:{place}", binary.display());
    let place = Place::new(objects, set, Some(target))?;
    let link = pins_of(&place, &Job::service()).link(hook);
    let (job, mut runtime) = place.opened()?;
    let symbol = KINDS.iter().find(|known| known.name == kind).map_or("", |known| known.symbol);
    // Links of perf events are as old as what says at which of them a program runs.
    let symbol = if symbol.is_empty() { "bpf_get_attach_cookie_pe" } else { symbol };
    let installed = runtime.install(&job.package(1)?, &job.install());
    if let Err(error) = &installed {
        attach::is_no_fault(error, symbol)?;
    }
    if installed.is_err() || !link.exists() {
        equal(symbol, attach::kernel_has(symbol)?, false)?;
        return Ok(format!("this kernel has no links of {kind} that can be pinned"));
    }
    runtime.remove(&Job::service()).map_err(text)?;
    drop(runtime);
    let replace = || copy(&fresh).and_then(|()| fs::rename(&fresh, &binary)).map_err(text);
    let said = while_detached(&place, replace)?;
    let job = place.here();
    goes(attached_again(&job)?, &job, &place)?;
    Ok(said)
}

/// A cgroup that nobody is in, so that it can be removed.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A cgroup goes, a start finds it gone, and it comes again.
pub fn gone_cgroup(objects: &Objects) -> Outcome {
    let folder = cgroup::root().map_err(text)?.join(format!("skep-gone-{}", std::process::id()));
    let cgroup = Cgroup(folder.clone());
    fs::create_dir(&folder).map_err(text)?;
    let target = format!("cgroup_skb/egress:{}", folder.display());
    let place = Place::new(objects, "cgroup_skb", Some(target))?;
    let remove = |folder: &Path| fs::remove_dir(folder).map_err(text);
    let job = place.here();
    let said = while_detached(&place, || remove(&folder))?;
    for _ in 0..2 {
        let (runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
        equal("partly", (recovery.partly.len(), recovery.reattached.len()), (1, 0))?;
        equal("state", status(&runtime, &Job::service())?.state, ServiceState::Partial)?;
    }
    fs::create_dir(&folder).map_err(text)?;
    let mut runtime = attached_again(&job)?;
    // Another one of that name at once.
    remove(&folder).and_then(|()| fs::create_dir(&folder).map_err(text))?;
    equal("state", status(&runtime, &Job::service())?.state, ServiceState::Partial)?;
    drop(runtime);
    runtime = attached_again(&job)?;
    goes(runtime, &job, &place)?;
    drop(cgroup);
    Ok(said)
}

/// Installed and upgraded, then `unplug`, then `plug` and a start: it serves on with its maps as they were.
fn detached(
    place: &Place,
    kind: Kind,
    unplug: impl Fn() -> Result<(), String>,
    plug: impl Fn() -> Result<(), String>,
) -> Outcome {
    let job = place.here();
    let said = while_detached(place, unplug)?;
    plug()?;
    let runtime = attached_again(&job)?;
    drop(runtime);
    let end = made(kind, 1, 50);
    place.seen_once(&[&place.map("seen", 2)?], end)?;
    goes(job.open().map_err(text)?.0, &job, place)?;
    Ok(said)
}

/// What a skepd that runs says and refuses.
fn while_detached(place: &Place, unplug: impl Fn() -> Result<(), String>) -> Outcome {
    let (job, service) = (place.here(), Job::service());
    place.does("install")?;
    place.does("upgrade")?;
    let (mut runtime, _) = job.recover(&[1, 2]).map_err(text)?;
    equal("state", status(&runtime, &service)?.state, ServiceState::Running)?;
    unplug()?;
    // The kernel lets go some time later.
    let deadline = Instant::now() + Duration::from_secs(30);
    while status(&runtime, &service)?.state != ServiceState::Partial {
        equal("in time", Instant::now() < deadline, true)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    let why = status(&runtime, &service)?.failed.unwrap_or_default();
    equal("why", why.starts_with("hook 'on_") && why.contains(" is not attached ("), true)
        .map_err(|e| format!("{e}: {why}"))?;
    let detail = runtime.service(&service).map_err(text)?;
    let hooks: Vec<_> = detail.hooks.into_iter().map(|hook| hook.detached).collect();
    equal("hooks", hooks.iter().flatten().all(|hook| why.contains(hook)), true)?;
    equal("hooks", hooks.iter().flatten().count(), 1)?;
    changes_nothing(&mut runtime, &job, &why)?;
    runtime.contents(&service, "seen").map_err(text)?;
    Ok(why)
}

fn attached_again(job: &Job) -> Result<Runtime, String> {
    let (runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    let said = format!("{recovery:?}");
    let Recovery { adopted, reattached, partly, lost, .. } = recovery;
    equal("adopted", adopted, vec![Job::service()]).map_err(|e| format!("{e}: {said}"))?;
    equal("mended", (reattached.len(), partly.len(), lost.len()), (1, 0, 0))?;
    let status = status(&runtime, &Job::service())?;
    equal("state", status.state, ServiceState::Running)?;
    equal("rollback to", status.previous.map(|kept| kept.generation), Some(1))?;
    Ok(runtime)
}

fn goes(mut runtime: Runtime, job: &Job, place: &Place) -> Result<(), String> {
    runtime.rollback(&Job::service()).map_err(text)?;
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())
}
