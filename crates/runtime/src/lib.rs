//! The life of services on one kernel: plan, load, attach, switch, migrate, events, journal, recovery.
//!
//! [`Runtime`] is the way in. [`journal`] keeps what [`state`] is folded from; [`pins`] lays out what the kernel
//! keeps for us. One generation comes up in [`bring_up`], [`switch`] makes it the one that runs, and then [`finish`]
//! moves the old one's state; [`recover`] ends at each start what was left; [`converge`] makes the kernel what the state
//! says, which is how everything is undone and cleaned up.

mod adopt;
mod allowance;
mod aside;
mod at_map;
mod attached;
mod bring_up;
mod choose;
mod commit;
#[cfg(test)]
mod compiled;
pub mod contents;
mod converge;
pub mod ephemeral;
mod error;
pub mod events;
mod export;
mod failure;
pub mod faults;
mod finish;
mod held;
mod hold;
mod hooks;
mod in_kernel;
mod install;
pub mod journal;
mod load;
pub mod maps;
mod mend;
mod migrate;
mod new_names;
mod params;
pub mod pins;
pub mod plan;
pub mod programs;
mod recover;
mod remove;
mod replaceable;
mod rollback;
mod runtime;
mod settings;
mod stacks;
mod start;
pub mod state;
pub mod status;
mod stop;
mod switch;
mod together;
mod trampoline;
mod upgrade;
mod usdt;

pub use choose::{ChooseError, Objects};
pub use contents::{Contents, OpenContents};
pub use ephemeral::Session;
pub use error::{Cause, RuntimeError};
pub use events::{Event, EventCounts, EventStream, Format, Next};
pub use faults::{Faults, UnknownFault};
pub use held::Holder;
pub use install::Request;
pub use migrate::MigrateError;
pub use params::ParamsError;
pub use plan::Plan;
pub use recover::{Interrupted, Recovery, Unended};
pub use runtime::{Dirs, Packages, Runtime, facts_of};
pub use settings::{Change, Setting};
pub use state::Settings;
pub use status::{Detail, Stands, Status};
pub use together::{GivenBack, Member, Provider, Sharing, Together};
pub use upgrade::Upgraded;
