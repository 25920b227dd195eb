//! A hook that switches by itself beside one with a stub: both switch, or none.

use std::time::Duration;

use skep_kernel::{Link, bpffs};

use crate::equal::equal;
use crate::generator::{Generator, Kind};
use crate::hurt::pins_of;
use crate::place::{Ended, Job, Place};
use crate::tests::Outcome;
use crate::waits::killed;

const PAUSE: Duration = Duration::from_micros(50);

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A link whose hook is gone refuses another program: the upgrade is undone, and the stub never ran the new one.
pub fn dead_link(place: &Place) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    let link = pins_of(place, &Job::service()).link("on_cgroup_skb");
    Link::open_pinned(&link).and_then(Link::detach).map_err(text)?; // as when the cgroup is removed; its pin stays
    let generator = Generator::start(Kind::Rename, 1, PAUSE);
    generator.wait(20);
    let why = match place.child("upgrade-again", None)? {
        Ended::Failed(why) => why,
        other => return Err(format!("not refused: {other:?}")),
    };
    generator.wait(20);
    let end = generator.stop();
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
    place.does("install")?;
    half_switch(place)?;
    let reply = place.does("open")?;
    equal("the upgrade", reply.interrupted.as_deref(), Some("undone"))?;
    let generator = Generator::start(Kind::Packet, 1, PAUSE);
    generator.wait(50);
    let end = generator.stop();
    place.seen_once(&[&place.map("seen", 1)?], end)?;
    place.does("upgrade")?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} events of the old generation", end - 1))
}
