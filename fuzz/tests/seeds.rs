//! Every target takes its seeds, as they are and cut short, in bounded time.

use std::time::{Duration, Instant};

use fuzz::{TARGETS, seeds};

#[test]
fn each_target_has_seeds_and_reads_them() {
    let seeds = seeds::of_vectors().unwrap();
    for target in &TARGETS {
        let mut count = 0;
        for seed in seeds.iter().filter(|seed| seed.target == target.name) {
            let started = Instant::now();
            let length = seed.data.len();
            for end in [length, length / 2] {
                (target.run)(&seed.data[..end]);
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{}: {length} bytes", target.name);
            count += 1;
        }
        assert!(count > 0, "{} has no seeds", target.name);
    }
}
