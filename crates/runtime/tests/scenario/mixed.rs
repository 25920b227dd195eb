//! A hook that switches by itself beside one with a stub: both switch, or none.

use std::path::{Path, PathBuf};

use skep_kernel::{Link, bpffs};
use skep_runtime::{Cause, Packages};
use skep_spec::Digest;
use skep_trust::{Package, Verified};

use crate::equal::{equal, text};
use crate::events::{PAUSE, made};
use crate::generator::{Generator, Kind};
use crate::hurt::pins_of;
use crate::place::{Job, Place, Shelf};
use crate::tests::Outcome;
use crate::waits::killed;

/// Cuts a link off when it is asked for a package, which an upgrade does once it knows that its service is whole.
struct Cuts(Shelf, PathBuf);

impl Packages for Cuts {
    fn package(&self, index: &Digest) -> Result<Verified<Package>, Cause> {
        Link::open_pinned(&self.1).and_then(Link::detach)?; // as when the cgroup is removed; its pin stays
        self.0.package(index)
    }
}

/// A link whose hook has just gone refuses another program: the upgrade is undone, and the stub never ran the new one.
pub fn dead_link(place: &Place) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    let link = pins_of(place, &Job::service()).link("on_cgroup_skb");
    let job = place.here();
    let packages = vec![job.package(1)?.into_inner(), job.package(2)?.into_inner()];
    let (mut runtime, _) = job.recover_from(Cuts(Shelf::of(packages), link)).map_err(text)?;
    let generator = Generator::start(Kind::Rename, 1, PAUSE);
    generator.wait(20);
    let upgraded = runtime.upgrade(&job.package(2)?, &job.install_again());
    let error = upgraded.err().ok_or("not refused")?;
    equal("code", error.code(), "kernel").map_err(|e| format!("{e}: {error}"))?;
    let why = text(error);
    generator.wait(20);
    let end = generator.stop();
    drop(runtime);
    let detail = place.does("open")?.detail.ok_or("the service is gone")?;
    equal("generation, switches", (detail.status.generation, detail.switch), (2, Some(1)))?;
    place.seen_once(&[&place.map("seen", 2)?], end)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(why)
}

/// An upgrade is killed when the link runs the new program and the stub does not, and the switch word is gone.
pub fn half_switch(place: &Place) -> Result<(), String> {
    killed(place, "upgrade", "upgrade.update.after")?;
    bpffs::unpin(&pins_of(place, &Job::service()).switch()).map_err(text)
}

/// Then it cannot be finished: the link is given its program back.
pub fn half_switched(place: &Place) -> Outcome {
    undone(place, |_| Ok(()))
}

/// The same where the link has been cut off: there is nothing to give back, and it is attached again.
pub fn half_switched_and_cut(place: &Place) -> Outcome {
    undone(place, |link| Link::open_pinned(link).and_then(Link::detach).map_err(text))
}

fn undone(place: &Place, befalls: impl Fn(&Path) -> Result<(), String>) -> Outcome {
    place.does("install")?;
    half_switch(place)?;
    befalls(&pins_of(place, &Job::service()).link("on_cgroup_skb"))?;
    let reply = place.does("open")?;
    equal("the upgrade", reply.interrupted.as_deref(), Some("undone"))?;
    let end = made(Kind::Packet, 1, 50);
    place.seen_once(&[&place.map("seen", 1)?], end)?;
    place.does("upgrade")?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} events of the old generation", end - 1))
}
