//! Events as most scenarios have them made.

use std::time::Duration;

use crate::generator::{Generator, Kind};

/// Between two events, so that a ring holds all of a test.
pub const PAUSE: Duration = Duration::from_micros(50);

/// Makes at least so many events from number `first` on, and gives the number after the last one's.
pub fn made(kind: Kind, first: u64, least: u64) -> u64 {
    let generator = Generator::start(kind, first, PAUSE);
    generator.wait(least);
    generator.stop()
}
