//! Part 8: the journal of a node that was killed, or of another.

use skep_spec::journal::Journal;
use skep_spec::life::{Generation, Way, after_crash};

/// A journal, and a generation in it.
pub(crate) fn journal(data: &[u8]) {
    _ = Generation::parse(data);
    let Ok(read) = Journal::read(data) else { return };
    assert!(read.good <= data.len());
    let whole = Journal::read(&data[..read.good]);
    assert_eq!(whole.as_ref().ok(), Some(&read), "what is kept reads as the whole did");
    for left in read.interrupted().into_values() {
        let forward = left.switched && !left.undoing;
        assert!(!forward || after_crash(left, false) == Way::Finish);
    }
}
