//! The scheduling of the calling thread: stretches in which no ordinary task preempts it.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;

use crate::sys;

/// A stretch in which the calling thread runs with the lowest real-time priority, so that no ordinary task preempts it.
///
/// While a bpf(2) call works on a map, the kernel runs no kprobe or perf-event program on that processor
/// (`bpf_disable_instrumentation`, include/linux/bpf.h). Where the kernel is preemptible, a task that preempts the call has its
/// events skipped: they are lost to whatever is attached. Stretches nest; the last one to end restores what was before. Without
/// CAP_SYS_NICE, or where the thread has a real-time policy already, nothing changes.
#[must_use = "the stretch ends where this is dropped"]
#[derive(Debug)]
pub struct Unpreempted(PhantomData<*const ()>);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The policy and priority to go back to, if the outermost stretch changed them.
    static BEFORE: Cell<Option<(i32, i32)>> = const { Cell::new(None) };
}

impl Unpreempted {
    /// Begins a stretch. Keep it short: ordinary tasks wait for this processor.
    pub fn begin() -> Self {
        let depth = DEPTH.get();
        if depth == 0 {
            BEFORE.set(raise().ok().flatten());
        }
        DEPTH.set(depth + 1);
        Self(PhantomData)
    }
}

impl Drop for Unpreempted {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0
            && let Some((policy, priority)) = BEFORE.take()
        {
            let _ = set(policy, priority); // lowering is always allowed
        }
    }
}

/// What to go back to; `None` if the thread is not an ordinary one.
fn raise() -> io::Result<Option<(i32, i32)>> {
    // By number: musl's own calls refuse, since POSIX means processes by them.
    // SAFETY: takes an integer; 0 is the calling thread.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    let policy = sys::errno(policy as i32)?;
    if !matches!(policy & !libc::SCHED_RESET_ON_FORK, libc::SCHED_OTHER | libc::SCHED_BATCH) {
        return Ok(None);
    }
    set(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1)?;
    Ok(Some((policy, 0)))
}

fn set(policy: i32, priority: i32) -> io::Result<()> {
    // SAFETY: the kernel reads one int, struct sched_param; 0 is the calling thread.
    let ret =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    sys::errno(ret as i32).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> i32 {
        // SAFETY: takes an integer; 0 is the calling thread.
        unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) as i32 }
    }

    #[test]
    fn stretches_nest_and_restore() {
        let before = policy();
        let outer = Unpreempted::begin();
        assert_eq!(policy() & !libc::SCHED_RESET_ON_FORK, libc::SCHED_FIFO, "needs root");
        drop(Unpreempted::begin());
        assert_eq!(policy() & !libc::SCHED_RESET_ON_FORK, libc::SCHED_FIFO);
        drop(outer);
        assert_eq!(policy(), before);
    }

    #[test]
    fn a_child_of_a_stretch_is_ordinary() {
        let stretch = Unpreempted::begin();
        let child = std::thread::spawn(policy).join();
        drop(stretch);
        assert_eq!(child.ok(), Some(libc::SCHED_OTHER));
    }
}
