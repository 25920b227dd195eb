//! What a node does at its start.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operation on a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A new service.
    Install,
    /// Another generation.
    Upgrade,
    /// Back to the generation before.
    Rollback,
    /// The generation before is not needed any more.
    Commit,
    /// The service goes.
    Remove,
    /// A generation is loaded again after a reboot.
    Activate,
    /// The service is detached and keeps its state.
    Stop,
    /// A stopped service is attached again.
    Start,
    /// Finishing what another process began.
    Recover,
}

/// What a node writes down of an operation, as far as it decides what a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It begins.
    Begin(Op),
    /// The new generation runs.
    Switched,
    /// It failed before that.
    RolledBack,
    /// It ended.
    End,
    /// The machine started again: what the kernel had is gone.
    Boot,
}

/// An operation that began and did not end, as its node wrote it down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// Whether it can only go on: a removal, a commit, a stop.
    #[serde(default)]
    pub only_forward: bool,
    /// Whether the node wrote down that it had switched.
    #[serde(default)]
    pub switched: bool,
    /// Whether the node wrote down that it failed.
    #[serde(default)]
    pub undoing: bool,
}

/// What a node does with an interrupted operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The new state holds.
    Finish,
    /// The old state holds.
    Undo,
}

impl Interrupted {
    /// What is under way after one more step.
    #[must_use]
    pub fn after(now: Option<Self>, step: Step) -> Option<Self> {
        match step {
            Step::Begin(op) => {
                let only_forward = matches!(op, Op::Remove | Op::Commit | Op::Stop);
                Some(Self { only_forward, ..Self::default() })
            }
            Step::Switched => now.map(|now| Self { switched: true, ..now }),
            Step::RolledBack => now.map(|now| Self { undoing: true, ..now }),
            Step::End | Step::Boot => None,
        }
    }
}

/// What becomes of an interrupted operation; `runs_new` is whether the kernel runs the new generation.
#[must_use]
pub const fn after_crash(interrupted: Interrupted, runs_new: bool) -> Way {
    let forward = interrupted.only_forward || interrupted.switched || runs_new;
    if forward && !interrupted.undoing { Way::Finish } else { Way::Undo }
}

/// The generation that runs after a reboot: the active one, or the one before it if this kernel refuses that; none of a service that
/// is stopped.
///
/// # Errors
/// Both are refused; why, in that order.
pub fn after_reboot<E>(
    stopped: bool,
    active: u64,
    previous: Option<u64>,
    mut start: impl FnMut(u64) -> Result<(), E>,
) -> Result<Option<u64>, Vec<E>> {
    if stopped {
        return Ok(None);
    }
    let mut reasons = Vec::new();
    for generation in std::iter::once(active).chain(previous) {
        match start(generation) {
            Ok(()) => return Ok(Some(generation)),
            Err(why) => reasons.push(why),
        }
    }
    Err(reasons)
}

impl Op {
    /// Its name, as journals have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Commit => "commit",
            Self::Remove => "remove",
            Self::Activate => "activate",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Recover => "recover",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
