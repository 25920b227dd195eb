//! What part 8 of the standard decides without a kernel: what a generation is, what becomes of a map, what a crash and a
//! reboot leave; and what a node says of a service and of what becomes of it.

mod crash;
mod generation;
mod maps;
mod plan;
mod service;

pub use crash::{Interrupted, Op, Step, Way, after_crash, after_reboot};
pub use generation::Generation;
pub use maps::{Class, Entries, Fate, FieldSpan, Lost, Moved, Writers, class};
pub use plan::{Exactness, FieldMove, HookChange, HookPlan, MapChange, MapPlan, Mechanism};
pub use service::{GenerationDetail, HookDetail, MapDetail, Previous, ServiceState};
