//! What is in the packages: read when they are pushed, shown on the pages.

mod describe;
mod order;
mod package;
mod signature;
mod touch;

pub use order::{by_version, newest};
pub use package::{Refusal, read};
pub use signature::signed;
pub use touch::{Severity, Touch, touches};
