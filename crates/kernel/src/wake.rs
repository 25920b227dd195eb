//! Waiting for several fds with a time limit, and ending the wait from another thread: what readers of buffers share.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::error::KernelError;
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

/// What one call of a reader's `poll` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Records handed on.
    pub records: usize,
    /// Bytes that producers got back: of all records, handed on or not, with their headers.
    pub bytes: u64,
    /// Whether no finished record was left.
    pub emptied: bool,
    /// Whether a [`Waker`] ended the wait.
    pub woken: bool,
}

impl Polled {
    /// Takes what another ring gave into account.
    pub(crate) fn add(&mut self, more: Self) {
        self.records += more.records;
        self.bytes += more.bytes;
        self.emptied &= more.emptied;
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

    /// What a reader's call gives that took `polled` at its first look: that, if it is something or nobody is to wait; after
    /// the wait nothing, if somebody woke. None if it is to look again.
    pub(crate) fn settled(
        &self,
        polled: Polled,
        timeout: Option<Duration>,
    ) -> Result<Option<Polled>, KernelError> {
        if polled.records > 0 || timeout.is_some_and(|t| t.is_zero()) {
            return Ok(Some(polled));
        }
        let woken = self.wait(timeout).map_err(|e| KernelError::new("wait for", "events", e))?;
        Ok(woken.then(|| Polled { woken, ..Polled::default() }))
    }

    /// Waits until one of the fds is readable, somebody wakes, or `timeout` is over (`None`: without end).
    /// Says whether somebody woke.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
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
