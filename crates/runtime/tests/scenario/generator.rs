//! Numbered events: seeks to offsets that nobody else uses, new names of a thread, or packets, each with the next number.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the programs take the number from.
const BASE: u64 = 0x5eed_0000_0000;
const MAGIC: u64 = 0x6e75_6d62_6572_6564;
/// The programs' maps hold no more.
const MOST: u64 = (1 << 18) - 1;

/// How events are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Seek,
    Rename,
    Packet,
}

/// A thread that makes events until it is stopped.
pub struct Generator {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Generator {
    /// Starts with number `first`; `pause` between two events.
    pub fn start(kind: Kind, first: u64, pause: Duration) -> Self {
        let (stop, made) = (Arc::<AtomicBool>::default(), Arc::new(AtomicU64::new(first)));
        let (stopped, counter) = (stop.clone(), made.clone());
        let run = move || {
            let mut make = maker(kind);
            let mut next = first;
            while !stopped.load(Ordering::Acquire) && next < MOST {
                make(next);
                next += 1;
                counter.store(next, Ordering::Release);
                if !pause.is_zero() {
                    thread::sleep(pause);
                }
            }
        };
        Self { stop, made, thread: Some(thread::spawn(run)) }
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Waits until `more` events were made.
    pub fn wait(&self, more: u64) {
        let (goal, deadline) = (self.next() + more, Instant::now() + Duration::from_secs(30));
        while self.next() < goal.min(MOST) {
            assert!(Instant::now() < deadline, "no {more} events were made in 30 s");
            thread::yield_now();
        }
    }

    /// Stops; gives the number that was not made.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the generator's thread");
        }
        self.next()
    }
}

fn maker(kind: Kind) -> Box<dyn FnMut(u64)> {
    match kind {
        Kind::Seek => {
            let mut file = File::open("/dev/null").expect("/dev/null");
            Box::new(move |number| {
                file.seek(SeekFrom::Start(BASE + number)).expect("a seek");
            })
        }
        Kind::Rename => {
            let name = OpenOptions::new().write(true).open("/proc/thread-self/comm");
            let mut name = name.expect("the name of this thread");
            Box::new(move |number| name.write_all(&named(number)).expect("a new name"))
        }
        Kind::Packet => {
            let to = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let from = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let address = to.local_addr().expect("an address");
            Box::new(move |number| {
                let _to = &to; // closed ports answer by ICMP
                let body = [MAGIC.to_ne_bytes(), number.to_ne_bytes()].concat();
                from.send_to(&body, address).expect("a packet");
            })
        }
    }
}

/// "skep" and the number, a letter from `a` on for each of its 8 nibbles.
fn named(number: u64) -> [u8; 12] {
    let mut name = *b"skepaaaaaaaa";
    for (i, letter) in name[4..].iter_mut().enumerate() {
        *letter += (number >> (28 - 4 * i) & 15) as u8;
    }
    name
}
