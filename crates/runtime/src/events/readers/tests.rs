use std::time::Duration;

use super::*;
use crate::events::source::{raw, timed};
use crate::events::stream::{EventStream, Next, QUEUE, QUEUE_BYTES};
use crate::events::{backlog, past};

fn batch(records: impl IntoIterator<Item = Vec<u8>>) -> Batch {
    let (mut batch, decodings) = (Batch::default(), [Arc::new(raw("events"))]);
    records.into_iter().for_each(|record| batch.add(&record, &decodings));
    batch
}

/// Publishes events of one byte each, from `buffer`, which has no headers.
fn publish(readers: &Readers, buffer: BufferId, bytes: &[u8], emptied: bool) {
    let polled = Polled { emptied, bytes: bytes.len() as u64, ..Polled::default() };
    readers.publish(buffer, batch(bytes.iter().map(|byte| vec![*byte])), polled);
}

fn follow(readers: &Arc<Readers>) -> EventStream {
    EventStream::new(readers.follow(None), readers.clone())
}

fn look(readers: &Arc<Readers>, buffers: &[(BufferId, u64)]) -> EventStream {
    EventStream::new(readers.look(buffers.iter().copied().collect(), None), readers.clone())
}

fn take(stream: &EventStream, most: usize) -> Vec<u8> {
    let next = |_| match stream.next(Duration::ZERO) {
        Next::Event(event) => Some(event.bytes()[0]),
        Next::Timeout | Next::Closed => None,
    };
    (0..most).map_while(next).collect()
}

fn is_closed(stream: &EventStream) -> bool {
    matches!(stream.next(Duration::ZERO), Next::Closed)
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_told() {
    let readers = Arc::default();
    let stream = follow(&readers);
    publish(&readers, RINGS, &vec![1; QUEUE], true);
    publish(&readers, RINGS, &[2, 3], true);
    assert_eq!((stream.dropped(), readers.counts().dropped), (2, 2));
    let got = take(&stream, usize::MAX);
    assert_eq!((got.len(), got.last()), (QUEUE, Some(&3)));
    assert!(!is_closed(&stream));
}

#[test]
fn a_slow_reader_is_behind_by_no_more_bytes_than_have_room() {
    let readers = Arc::default();
    let stream = follow(&readers);
    let large = |byte: u8| batch([vec![byte; QUEUE_BYTES / 4]]);
    let publish = |batch| readers.publish(RINGS, batch, Polled::default());
    (0..5).map(large).for_each(publish);
    assert_eq!((stream.dropped(), readers.counts().dropped), (1, 1));
    assert_eq!(take(&stream, 2), [1, 2]);
    (5..7).map(large).for_each(publish);
    assert_eq!(stream.dropped(), 1, "what was taken makes room");
    publish(batch([vec![7; QUEUE_BYTES + 1]]));
    assert_eq!(stream.dropped(), 5, "the newest is kept, however long");
    assert_eq!(take(&stream, 9), [7]);
}

#[test]
fn large_records_are_handed_on_before_their_batch_is_full() {
    let readers = Arc::default();
    let stream = follow(&readers);
    let mut whole = Batch::default();
    for byte in 0..3 {
        whole.add(&vec![byte; BATCH_BYTES / 2], &[Arc::new(raw("events"))]);
        whole.hand_on(RINGS, &readers);
    }
    assert_eq!(take(&stream, 9), [0, 1]);
    readers.publish(RINGS, whole, Polled::default());
    assert_eq!(take(&stream, 9), [2]);
}

#[test]
fn the_end_comes_after_the_last_event() {
    let readers = Arc::default();
    let stream = follow(&readers);
    publish(&readers, RINGS, &[1], true);
    readers.end();
    assert_eq!(take(&stream, 9), [1]);
    assert!(is_closed(&stream));
}

#[test]
fn what_a_reader_did_not_take_waits_for_the_next() {
    let readers = Arc::default();
    let first = follow(&readers);
    publish(&readers, RINGS, &[1, 2, 3], true);
    assert_eq!(take(&first, 1), [1]);
    drop(first);
    assert!(!readers.are_there());
    publish(&readers, 7, &[4], true); // a perf buffer goes on
    assert_eq!(take(&follow(&readers), 9), [2, 3, 4]);
    assert!(take(&follow(&readers), 9).is_empty(), "they were taken");
}

#[test]
fn of_several_readers_the_last_leaves_what_none_took() {
    for swapped in [false, true] {
        let readers = Arc::default();
        let (mut a, mut b) = (follow(&readers), follow(&readers));
        publish(&readers, RINGS, &[1, 2, 3, 4], true);
        assert_eq!((take(&a, 1), take(&b, 3)), (vec![1], vec![1, 2, 3]));
        if swapped {
            std::mem::swap(&mut a, &mut b);
        }
        drop((a, b));
        assert_eq!(take(&follow(&readers), 9), [4], "swapped: {swapped}");
    }
}

#[test]
fn what_one_of_two_ended_looks_took_is_not_given_again() {
    let readers = Arc::default();
    let (a, b) = (look(&readers, &[(RINGS, 100)]), look(&readers, &[(RINGS, 100)]));
    publish(&readers, RINGS, &[1, 2, 3], true);
    drop(a); // nothing of it was taken
    assert_eq!(take(&b, 9), [1, 2, 3]);
    drop(b);
    assert!(take(&follow(&readers), 9).is_empty());
}

#[test]
fn what_only_a_leaving_reader_had_waits_although_another_one_reads_on() {
    let readers = Arc::default();
    let a = follow(&readers);
    publish(&readers, RINGS, &[1, 2, 3], true);
    let b = follow(&readers);
    publish(&readers, RINGS, &[4], true);
    assert_eq!(take(&a, 1), [1]);
    drop(a);
    let c = follow(&readers);
    publish(&readers, RINGS, &[5], true);
    assert_eq!((take(&b, 9), take(&c, 9)), (vec![4, 5], vec![2, 3, 5]));
    assert_eq!(readers.counts().dropped, 0);
}

#[test]
fn what_came_before_a_reader_that_left_waits_too() {
    let readers = Arc::default();
    let a = follow(&readers);
    publish(&readers, RINGS, &[1, 2], true);
    let b = follow(&readers);
    publish(&readers, RINGS, &[3, 4], true);
    assert_eq!(take(&b, 1), [3]);
    drop((b, a));
    assert_eq!(take(&follow(&readers), 9), [1, 2, 4]);
}

#[test]
fn without_a_reader_the_newest_are_kept_and_the_others_counted() {
    let readers = Arc::default();
    let sent: Vec<u8> = (0..=255).cycle().take(backlog::MOST + 3).collect();
    publish(&readers, 7, &sent, true);
    assert_eq!(readers.counts().dropped, 3);
    assert_eq!(take(&follow(&readers), usize::MAX), sent[3..]);
    let long = (0..5).map(|number| vec![number; 1 << 20]);
    readers.publish(7, batch(long), Polled::default());
    assert_eq!(readers.counts().dropped, 4);
    assert_eq!(take(&follow(&readers), 9), [1, 2, 3, 4]);
}

#[test]
fn a_look_ends_when_each_buffer_was_empty_once() {
    let readers = Arc::default();
    let stream = look(&readers, &[(RINGS, 100), (7, 100)]);
    publish(&readers, RINGS, &[1], true);
    publish(&readers, RINGS, &[2], true);
    assert_eq!(take(&stream, 9), [1, 2]);
    assert!(!is_closed(&stream));
    publish(&readers, 7, &[3], true);
    publish(&readers, 7, &[4], true);
    assert_eq!(take(&stream, 9), [3]);
    assert!(is_closed(&stream));
}

#[test]
fn a_look_ends_although_more_keeps_coming() {
    let readers = Arc::default();
    let stream = look(&readers, &[(RINGS, 3)]);
    publish(&readers, RINGS, &[1, 2], false);
    publish(&readers, RINGS, &[3, 4], false);
    publish(&readers, RINGS, &[5], false);
    assert_eq!(take(&stream, 9), [1, 2, 3, 4]);
    assert!(is_closed(&stream));
}

#[test]
fn a_look_counts_headers_and_what_no_output_takes() {
    let readers = Arc::default();
    let stream = look(&readers, &[(RINGS, 64)]);
    let gave = |records: &[u8], bytes| {
        let polled = Polled { bytes, ..Polled::default() };
        readers.publish(RINGS, batch(records.iter().map(|byte| vec![*byte])), polled);
    };
    gave(&[1, 2], 32);
    gave(&[], 16);
    assert_eq!(take(&stream, 9), [1, 2]);
    assert!(!is_closed(&stream));
    gave(&[3], 16);
    gave(&[4], 16);
    assert_eq!(take(&stream, 9), [3]);
    assert!(is_closed(&stream));
}

#[test]
fn a_look_ends_with_its_buffers() {
    let readers = Arc::default();
    let (gone, none) = (look(&readers, &[(7, 100)]), look(&readers, &[]));
    assert!(is_closed(&none));
    readers.ended(7);
    assert!(is_closed(&gone));
}

fn since(readers: &Arc<Readers>, moment: u64) -> EventStream {
    EventStream::new(readers.follow(Some(moment)), readers.clone())
}

#[test]
fn what_others_took_is_given_again_to_who_asks_for_it() {
    let readers = Arc::default();
    let first = follow(&readers);
    publish(&readers, RINGS, &[1, 2, 3], true);
    assert_eq!(take(&first, 2), [1, 2]);
    drop(first);
    publish(&readers, 7, &[4], true);
    assert_eq!(take(&since(&readers, 0), 9), [1, 2, 3, 4]);
    assert_eq!(take(&since(&readers, 0), 9), [1, 2, 3, 4], "what waited, too");
    assert!(take(&follow(&readers), 9).is_empty(), "they were taken");
    let later = Moment::now().unix_ns + 1_000_000_000;
    publish(&readers, 7, &[5], true);
    assert_eq!(take(&since(&readers, later), 9), [5], "what nobody took is given all the same");
}

#[test]
fn of_what_was_taken_the_newest_are_kept_and_since_when_is_said() {
    let readers: Arc<Readers> = Arc::default();
    let stream = follow(&readers);
    let began = stream.kept_since();
    assert!(began <= Moment::now().unix_ns);
    let sent: Vec<u8> = (0..=255).cycle().take(past::MOST + 3).collect();
    publish(&readers, RINGS, &sent, true);
    let again = since(&readers, 0);
    assert!(again.kept_since() > began);
    assert_eq!(take(&again, usize::MAX), sent[3..]);
}

#[test]
fn records_of_a_batch_are_in_the_order_of_their_times() {
    let readers: Arc<Readers> = Arc::default();
    let stream = follow(&readers);
    let (mut batch, told, untold) = (Batch::default(), timed(), [Arc::new(raw("events"))]);
    let boot = |ns: u64, byte: u8| [&ns.to_le_bytes()[..], &[byte; 16]].concat();
    // Of two CPUs, one behind the other; what has no time, or one to come, stays behind what came before it.
    batch.add(&boot(1_000, 1), &told);
    batch.add(&[9], &untold);
    batch.add(&boot(3_000, 3), &told);
    batch.add(&boot(2_000, 2), &told);
    batch.add(&boot(u64::MAX, 4), &told);
    readers.publish(RINGS, batch, Polled::default());
    let mut got = Vec::new();
    while let Next::Event(event) = stream.next(Duration::ZERO) {
        got.push((*event.bytes().last().unwrap(), event.time()));
    }
    let order: Vec<u8> = got.iter().map(|(byte, _)| *byte).collect();
    assert_eq!(order, [1, 9, 2, 4, 3]);
    let (now, times) = (Moment::now().unix_ns, got.iter().map(|(_, time)| *time));
    assert!(times.clone().all(|time| time <= now), "{got:?}");
    assert_eq!(got[2].1 - got[0].1, 1_000);
    assert!(now - got[3].1 < 60_000_000_000, "a time to come is none: that of reading counts");
}
