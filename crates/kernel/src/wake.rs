//! Waiting for several fds with a time limit, and ending the wait from another thread.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::sys;

/// Ends a reader's wait from any thread; also what it missed: a wake before the wait ends the next one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    fn new() -> io::Result<Self> {
        // SAFETY: takes integers.
        let fd = sys::errno(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: eventfd made this fd for us.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Ends the wait.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: 8 bytes of ours. It fails only when the counter is full: then a wake is under way.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Whether somebody woke since the last call.
    fn take(&self) -> bool {
        let mut count = 0u64;
        // SAFETY: 8 bytes of ours.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
        read == 8 && count > 0
    }
}

/// An epoll with a [`Waker`] in it.
#[derive(Debug)]
pub(crate) struct Waiter {
    epoll: OwnedFd,
    waker: Waker,
}

impl Waiter {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes an integer.
        let fd = sys::errno(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: epoll_create1 made this fd for us.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let waiter = Self { epoll, waker: Waker::new()? };
        // SAFETY: the waker's fd is open as long as `waiter`.
        waiter.add(unsafe { BorrowedFd::borrow_raw(waiter.waker.0.as_raw_fd()) })?;
        Ok(waiter)
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: two open fds and an event of ours.
        sys::errno(unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })
        .map(drop)
    }

    /// Waits until one of the fds is readable, somebody wakes, or `timeout` is over (`None`: without end).
    /// Says whether somebody woke.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let ms =
            timeout.map_or(-1, |t| t.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32);
        // SAFETY: zeroes are valid events, and the kernel writes at most as many as there are.
        let mut events: [libc::epoll_event; 4] = unsafe { std::mem::zeroed() };
        // SAFETY: an open epoll and room for 4 events.
        let got = sys::errno(unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 4, ms)
        });
        match got {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
            _ => Ok(self.waker.take()),
        }
    }
}
