//! Attachments that no pin can hold (perf events before Linux 5.15), kept by a process that outlives the daemon.
//!
//! [`run`] is that process, `skepd --hold`; [`Client`] is the daemon's end. Each request is a connection of its own:
//! one message, with an fd or without, and one answer, so that neither end has a state that the other could lose.
//! The holder starts with the first fd and ends with the last one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

mod client;
mod home;
mod message;
mod serve;

pub use client::Client;
pub use serve::run;

/// Where the holder of the daemon at `daemon` listens: beside it, `skepd.sock.holder`, so that no two daemons share one.
#[must_use]
pub fn socket_of(daemon: &Path) -> PathBuf {
    let mut socket = OsString::from(daemon);
    socket.push(".holder");
    socket.into()
}
