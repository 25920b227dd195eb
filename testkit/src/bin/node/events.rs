//! Numbered events: seeks to offsets that nobody else uses, or packets, each with the next number.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// What the programs take a seek's number from.
const BASE: u64 = 0x5eed_0000_0000;
/// What a packet begins with.
const MAGIC: u64 = 0x6e75_6d62_6572_6564;
/// The programs' maps hold no more.
const MOST: u64 = (1 << 18) - 1;
/// Between two events.
const PAUSE: Duration = Duration::from_micros(100);

/// A thread that makes events, from number 1 on, until it is told to stop.
pub struct Generator {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Generator {
    /// Starts one that inherits the calling thread's network namespace.
    pub fn start(packets: bool) -> Result<Self> {
        let (stop, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&made));
        let run = move || {
            let mut make = maker(packets)?;
            let mut number = 0;
            while !stopped.load(Ordering::Acquire) && number < MOST {
                number += 1;
                make(number)?;
                counter.store(number, Ordering::Release);
                std::thread::sleep(PAUSE);
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().spawn(run).context("start a thread")?;
        Ok(Self { stop, made, thread: Some(thread) })
    }

    /// Events so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Waits until `more` were made.
    pub fn wait(&self, more: u64) -> Result<()> {
        let (goal, deadline) = (self.made() + more, Instant::now() + Duration::from_secs(60));
        while self.made() < goal {
            let over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            ensure!(!over, "the generator ended after {} events", self.made());
            ensure!(Instant::now() < deadline, "the generator hangs at {}", self.made());
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Stops it and says how many events it made.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("the generator ran already")?;
        thread.join().map_err(|_| anyhow!("the generator panicked"))??;
        Ok(self.made())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

type Maker = Box<dyn FnMut(u64) -> Result<()>>;

fn maker(packets: bool) -> Result<Maker> {
    if !packets {
        let mut file = File::open("/dev/null").context("open /dev/null")?;
        return Ok(Box::new(move |number| {
            file.seek(SeekFrom::Start(BASE + number)).map(drop).context("seek")
        }));
    }
    let to = UdpSocket::bind("127.0.0.1:0").context("bind a socket")?;
    let from = UdpSocket::bind("127.0.0.1:0").context("bind a socket")?;
    from.connect(to.local_addr()?).context("connect a socket")?;
    Ok(Box::new(move |number| {
        let _open = &to; // a closed port would answer
        let body = [MAGIC.to_ne_bytes(), number.to_ne_bytes()].concat();
        from.send(&body).map(drop).context("send a packet")
    }))
}
