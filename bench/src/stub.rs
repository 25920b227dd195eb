//! What the stub costs an event, by XDP test runs.

use anyhow::{Context, Result};
use skep_kernel::maps::{MapHandle, prog_array};
use skep_kernel::object::{self, OpenOptions};
use skep_kernel::{Program, stub};

use crate::place::Place;
use crate::row::Row;

const PAIRS: usize = 21;
const RUNS: u32 = 2_000_000;
const PACKET: [u8; 64] = [0; 64];

/// The same program behind the stub and plain.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let object = std::fs::read(place.object("pass")?)?;
    let loaded = object::open(&object, "pass", &OpenOptions::default())?.load()?;
    let plain = loaded.program("pass").context("the object lost its program")?;
    let switch = MapHandle::create_u64s("switch", 1)?;
    let slots = prog_array::create("slots", stub::SLOTS)?;
    prog_array::set(&slots, stub::slot_of(0), plain)?;
    let stub = stub::load("stub", plain, false, &switch, &slots)?;

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        ours.push(nanoseconds(&stub)?);
        bare.push(nanoseconds(plain)?);
    }
    let row = Row::pair("an XDP event, ns: behind the stub | plain", &ours, &bare);
    let extra = |row: &Row| row.ours.zip(row.peer).is_some_and(|(ours, peer)| ours - peer <= 2.0);
    Ok(vec![row.goal("≤ peer + 2 ns", extra)])
}

/// The kernel's mean over many runs is whole nanoseconds, so the clock around them is what counts.
fn nanoseconds(program: &Program) -> Result<f64> {
    let clock = std::time::Instant::now();
    program.test_run(&PACKET, RUNS)?;
    Ok(clock.elapsed().as_secs_f64() * 1e9 / f64::from(RUNS))
}
