//! The standard's vectors, held against any implementation: ours, or a command that speaks the protocol of
//! `spec/conformance.md`.

pub mod command;
pub mod facts;
pub mod ours;
pub mod run;
pub mod schemas;
mod tokens;
pub mod values;
pub mod vectors;

pub use command::{Command, Group};
pub use ours::Ours;
pub use run::{Answer, Implementation, Outcome, Report, run};
pub use vectors::{Case, Part, VectorError, load};
