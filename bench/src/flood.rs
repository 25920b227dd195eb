//! A system call again and again, which an object of `objects/` makes records of.

use std::sync::atomic::{AtomicBool, Ordering};

/// Does the work while one thread calls `getpgid` with the mark that the object looks for.
pub fn flooded<T>(mark: i32, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| call(mark, &stop));
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

fn call(mark: i32, stop: &AtomicBool) {
    let mark = rustix::process::Pid::from_raw(mark);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..1000 {
            // No such process: the call is what counts.
            let _ = rustix::process::getpgid(mark);
        }
    }
}
