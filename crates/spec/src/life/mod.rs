//! What part 8 of the standard decides without a kernel: what a generation is, what becomes of a map, what a crash and a
//! reboot leave.

mod crash;
mod generation;
mod maps;

pub use crash::{Interrupted, Op, Step, Way, after_crash, after_reboot};
pub use generation::Generation;
pub use maps::{Class, Entries, Fate, Lost, Moved, Place, Writers, class};
