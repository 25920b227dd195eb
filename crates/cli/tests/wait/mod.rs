//! Waiting with a deadline: what goes wrong keeps no test for ever, and is named.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `wait` gives, which may block.
pub fn within<T: Send + 'static>(what: &str, wait: impl FnOnce() -> T + Send + 'static) -> T {
    within_or(what, wait, || ())
}

/// Does `step` again until it says that it is done.
pub fn until(what: &str, mut step: impl FnMut() -> bool) {
    let started = Instant::now();
    while !step() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
    }
}

/// What a process said that ends by itself.
pub fn ended(what: &str, child: Child) -> Output {
    let pid = child.id().to_string();
    let kill = || drop(Command::new("kill").args(["-KILL", &pid]).status());
    within_or(what, move || child.wait_with_output().unwrap(), kill)
}

/// Does `step` until a process has ended; gives what it said.
pub fn ended_while(what: &str, mut child: Child, mut step: impl FnMut()) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("waited {PATIENCE:?} for {what} to end");
        }
        step();
    }
    ended(what, child)
}

/// [`Command::output`], for one that reads nothing.
pub fn output(command: &mut Command) -> Output {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let what = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ended(&format!("'{what}' to end"), command.spawn().unwrap())
}

/// The lines of what a child prints, as they come.
pub fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let lines = BufReader::new(from).lines();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

fn within_or<T: Send + 'static>(
    what: &str,
    wait: impl FnOnce() -> T + Send + 'static,
    give_up: impl FnOnce(),
) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(wait()));
    match receiver.recv_timeout(PATIENCE) {
        Ok(given) => given,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            give_up();
            panic!("waited {PATIENCE:?} for {what}");
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("could not wait for {what}"),
    }
}
