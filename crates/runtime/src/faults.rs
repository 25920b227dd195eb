//! Fault points: named places where a test makes the process die, as `kill -9` or a power cut would.
//!
//! There is one before and one after every journal record and every kind of kernel call of an operation.
//! A name is `operation.step.before` or `.after`: capital steps are journal records, lower-case ones kernel
//! calls. `:N` behind a name means the Nth time that the point is passed.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};

/// The fault points of one process: none armed, or one.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    name: String,
    passes_left: AtomicU32,
}

/// A fault point that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a fault point: skepd --list-faults prints them, and :N behind one means the Nth pass"
)]
pub struct UnknownFault(pub String);

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

macro_rules! points {
    ($($op:literal: $($step:literal)*;)*) => {
        &[$($(
            concat!($op, ".", $step, ".before"),
            concat!($op, ".", $step, ".after"),
        )*)*]
    };
}

impl Faults {
    /// Every point.
    pub const ALL: &[&str] = points! {
        "install": "Begin" "load" "pin" "Loaded" "Attach" "stub" "attach" "Attached" "fill" "SlotsFilled"
            "Switching" "switch" "Switched" "End" "Checkpoint";
        "upgrade": "Begin" "load" "pin" "Loaded" "Attach" "stub" "attach" "Attached" "fill" "SlotsFilled"
            "copy" "Precopied" "Switching" "switch" "update" "Switched" "wait" "Quiesced" "merge" "Merged"
            "Committed" "detach" "Detached" "unpin" "Freed" "End" "Checkpoint";
        "rollback": "Begin" "copy" "Precopied" "Switching" "switch" "update" "Switched"
            "wait" "Quiesced" "merge" "Merged" "Committed" "fill" "detach" "Detached" "unpin" "Freed" "End" "Checkpoint";
        "remove": "Begin" "detach" "Detached" "unpin" "End" "Checkpoint";
        "activate": "Begin" "load" "pin" "Loaded" "Attach" "stub" "attach" "Attached" "fill" "SlotsFilled"
            "Switching" "switch" "Switched" "End" "Checkpoint";
        "stop": "Begin" "fill" "Switching" "switch" "Switched" "wait" "Quiesced" "detach" "Detached" "End" "Checkpoint";
        "start": "Begin" "Attach" "attach" "pin" "Attached" "Switching" "switch" "Switched" "wait" "Quiesced" "fill"
            "End" "Checkpoint";
        "restart": "Begin" "fill" "Switching" "switch" "Switched" "wait" "Quiesced" "detach" "Detached" "Attach" "attach" "pin" "Attached"
            "End" "Checkpoint";
        "commit": "Begin" "wait" "Quiesced" "Committed" "detach" "Detached" "fill" "unpin" "Freed" "End" "Checkpoint";
        "recover": "Boot" "RolledBack" "detach" "Detached" "unpin" "stub" "attach" "pin" "Attached" "fill" "update"
            "Switching" "switch" "Switched" "wait" "Quiesced" "merge" "Merged" "Committed" "Freed" "End" "Lost" "LostGeneration" "SetAside" "TakeUp" "Checkpoint";
        "set": "SetBegan" "SetOwes" "SetEnded";
        "hold": "Held";
        "setting": "Setting" "write";
    };

    /// No fault.
    #[must_use]
    pub const fn none() -> Self {
        Self { armed: None }
    }

    /// Arms one of [`Self::ALL`]; `:N` behind the name waits for the Nth pass.
    ///
    /// # Errors
    /// There is no such point.
    pub fn arm(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let (name, passes) = match text.split_once(':') {
            Some((name, passes)) => (name, passes.parse().map_err(|_| unknown())?),
            None => (text, 1),
        };
        if passes == 0 || !Self::ALL.contains(&name) {
            return Err(unknown());
        }
        Ok(Self { armed: Some(Armed { name: name.to_owned(), passes_left: passes.into() }) })
    }

    /// Ends the process here if this point is armed.
    pub(crate) fn point(&self, op: impl Display + Copy, step: &str, side: Side) {
        if cfg!(debug_assertions) {
            let name = name(op, step, side);
            debug_assert!(Self::ALL.contains(&name.as_str()), "{name} is not in Faults::ALL");
        }
        let Some(armed) = &self.armed else { return };
        if armed.name == name(op, step, side)
            && armed.passes_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            skep_kernel::process::kill_self();
        }
    }
}

fn name(op: impl Display, step: &str, side: Side) -> String {
    let side = match side {
        Side::Before => "before",
        Side::After => "after",
    };
    format!("{op}.{step}.{side}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Op;

    #[test]
    fn points_are_named_once() {
        let mut names = Faults::ALL.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Faults::ALL.len());
        assert!(names.contains(&"upgrade.Switching.after"));
    }

    #[test]
    fn only_points_that_exist_are_armed() {
        assert!(Faults::arm("upgrade.Switching.after").is_ok());
        assert!(Faults::arm("install.pin.before:3").is_ok());
        for text in ["upgrade.Switching", "upgrade.nothing.after", "install.pin.before:0", ":1", ""]
        {
            assert_eq!(Faults::arm(text).unwrap_err(), UnknownFault(text.to_owned()));
        }
    }

    #[test]
    fn what_is_not_armed_goes_on() {
        Faults::none().point(Op::Install, "Begin", Side::Before);
        let second = Faults::arm("install.Begin.before:2").unwrap();
        second.point(Op::Install, "Begin", Side::Before);
        second.point(Op::Install, "Begin", Side::After);
    }
}
