//! A hook that the new version has nothing for: nothing of the old one runs there either, until a rollback.

use skep_kernel::maps::MappedU64s;

use crate::equal::{equal, text};
use crate::events::made;
use crate::generator::Kind;
use crate::lives::lose_hooks;
use crate::place::{Ended, Place};
use crate::tests::Outcome;

/// The packets that the first version sees.
struct Packets {
    seen: MappedU64s,
    next: u64,
}

impl Packets {
    /// Makes some; the first version must see each, or none.
    fn are_seen(&mut self, when: &str, wanted: bool) -> Result<(), String> {
        let first = self.next;
        self.next = made(Kind::Packet, first, 20);
        let seen = (first..self.next).filter(|number| self.seen.load(*number as usize) > 0);
        let all = self.next - first;
        equal(&format!("packets seen {when}"), seen.count() as u64, if wanted { all } else { 0 })
    }
}

pub fn moved(place: &Place) -> Outcome {
    place.does("install")?;
    let seen = place.map("seen", 1)?.mmap().map_err(text)?;
    let mut packets = Packets { seen, next: 1 };
    packets.are_seen("by what is installed", true)?;
    place.does("upgrade")?;
    packets.are_seen("after the upgrade", false)?;
    place.does("open")?;
    packets.are_seen("after a start", false)?;
    lose_hooks(place)?;
    place.does("open")?;
    packets.are_seen("after the hooks were lost", false)?;
    place.does("rollback")?;
    packets.are_seen("after the rollback", true)?;
    let mut ends = Vec::new();
    for (op, point) in [
        ("upgrade", "upgrade.update.before"),
        ("upgrade", "upgrade.update.after"),
        ("rollback", "rollback.update.before"),
        ("rollback", "rollback.update.after"),
    ] {
        let generation = place.does("open")?.detail.ok_or("the service is gone")?.status.generation;
        if op == "rollback" && generation == 1 {
            place.does("upgrade")?;
        } else if op == "upgrade" && generation != 1 {
            place.does("rollback")?;
        }
        match place.child(op, Some(point))? {
            Ended::Killed => {}
            other => return Err(format!("{point}: {other:?}")),
        }
        let reply = place.does("open")?;
        let generation = reply.detail.ok_or("the service is gone")?.status.generation;
        packets.are_seen(&format!("after a kill at {point}"), generation == 1)?;
        ends.push(reply.interrupted.unwrap_or_default());
    }
    equal("ends", ends.join(" "), "undone finished undone finished".to_owned())?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} packets", packets.next - 1))
}
