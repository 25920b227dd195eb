//! The life of services on one kernel: plan, load, attach, switch, migrate, events, journal, recovery.
//!
//! [`journal`] keeps what [`state`] is folded from; [`pins`] lays out what the kernel keeps for us.

pub mod faults;
pub mod journal;
pub mod pins;
pub mod plan;
pub mod state;

pub use faults::Faults;
