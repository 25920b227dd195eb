//! A bad record: the torn end of the file, which goes, or damage, which is refused.

use super::{Head, Raw};

/// Bytes that are summed up in the search for whole records: as many as the largest journal has. Honest files need a few
/// thousand, since no JSON holds the bytes that a record begins with.
const MOST_SUMMED: usize = 256 << 20;

/// Whether the bad record that `bytes` begin with is damage. `next` is the number that it should have; a file may begin with
/// any.
pub(super) fn is_damage(bytes: &[u8], next: Option<u64>) -> bool {
    // Only a checkpoint begins a file with another number than 0, and it was whole before the file took its name.
    let number = bytes.get(4..).unwrap_or_default();
    let is_checkpoint = next.is_none() && number.iter().take(8).any(|byte| *byte != 0);
    is_checkpoint || has_record(&bytes[1..], next.unwrap_or(0), MOST_SUMMED)
}

/// Whether a whole record with the number `least` or a later one lies somewhere in `bytes`, or it would take too long to
/// find out: what may be damage is never cut away.
fn has_record(bytes: &[u8], least: u64, mut summed: usize) -> bool {
    (0..bytes.len()).any(|at| {
        let rest = &bytes[at..];
        let later = |head: &Head| head.sequence >= least && head.size() <= rest.len();
        let Some(head) = Head::at(rest).ok().filter(later) else { return false };
        match summed.checked_sub(head.size()) {
            Some(left) => summed = left,
            None => return true,
        }
        Raw::at(rest).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Journal, frame, header};
    use super::*;

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        [header(), records.concat()].concat()
    }

    /// What reading says once a byte in the middle of the record at `which` is another.
    fn damaged(records: &[Vec<u8>], which: usize) -> Result<usize, Fault> {
        let mut records = records.to_vec();
        let middle = records[which].len() / 2;
        records[which][middle] ^= 0x20;
        Journal::read(&file(&records)).map(|journal| journal.good)
    }

    fn is_refused(read: Result<usize, Fault>) -> bool {
        matches!(read, Err(Fault::Damaged { at: 12, .. }))
    }

    const CHECKPOINT: u16 = 18;
    const QUIESCED: u16 = 10;

    #[test]
    fn records_behind_a_bad_first_one_make_it_damage_whatever_their_numbers() {
        for first in [0, 3, 1 << 20, 5 << 20, 1 << 40] {
            let mut records = vec![frame(first, CHECKPOINT, b"{\"state\":{}}")];
            records.extend((1..4).map(|n| frame(first + n, QUIESCED, b"{}")));
            assert!(is_refused(damaged(&records, 0)), "{first}");
        }
    }

    #[test]
    fn a_checkpoint_alone_is_never_torn() {
        assert!(is_refused(damaged(&[frame(9, CHECKPOINT, b"{\"state\":{}}")], 0)));
        // The first record of a new file may be: nothing was before it.
        assert_eq!(damaged(&[frame(0, 1, b"{\"boot_id\":\"5c2d\"}")], 0), Ok(12));
    }

    #[test]
    fn large_records_between_hide_nothing() {
        let long = format!("{{\"why\":\"{}\"}}", "x".repeat(3 << 20));
        let many = [frame(0, 20, long.as_bytes()), frame(1, 20, long.as_bytes())];
        assert!(is_refused(damaged(&many, 0)));
    }

    #[test]
    fn the_record_that_was_to_come_makes_what_lies_before_it_damage() {
        let (first, next) = (frame(0, QUIESCED, b"{}"), frame(1, QUIESCED, b"{}"));
        let read = Journal::read(&file(&[first.clone(), vec![0xee; 40], next])).map(drop);
        assert!(matches!(read, Err(Fault::Damaged { .. })), "{read:?}");
        let older = file(&[first.clone(), vec![0xee; 40], first.clone()]); // as blocks of a file before
        assert_eq!(Journal::read(&older).unwrap().good, 12 + first.len());
    }

    #[test]
    fn what_takes_too_long_to_search_counts_as_damage() {
        let heads = [vec![0, 0, 1, 0], vec![0; 10], vec![7; (1 << 16) + 4]].concat();
        assert!(has_record(&heads, 0, 1 << 16));
        assert!(!has_record(&heads, 0, 1 << 20));
    }
}
