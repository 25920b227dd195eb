//! What daemon and holder say to each other.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skep_kernel::process;

/// Either end waits so long for the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest request in bytes.
const MAX_REQUEST: usize = 4096;
/// Longest answer in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// What the daemon asks for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Keep the fd that came along, in place of one under the same key.
    Keep(String),
    /// Close the fd.
    Release(String),
    /// Give a copy of the fd.
    Take(String),
    /// Say what is there.
    Keys,
}

/// What the holder answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It was done; for [`Request::Take`] the fd came along, if there was one.
    Done,
    /// What is there.
    Keys(Vec<String>),
    /// It was not done, and why.
    Refused(String),
}

/// Limits what either end can cost the other.
pub(super) fn patient(socket: &UnixStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}

pub(super) fn ask(socket: &UnixStream, request: &Request, fd: Option<&OwnedFd>) -> io::Result<()> {
    let bytes = serde_json::to_vec(request)?;
    if bytes.len() > MAX_REQUEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the key is too long"));
    }
    send(socket, &bytes, fd)
}

pub(super) fn asked(socket: &UnixStream) -> io::Result<(Request, Option<OwnedFd>)> {
    let mut buffer = [0; MAX_REQUEST];
    let (length, mut fds) = process::recv_fds(socket, &mut buffer)?;
    Ok((serde_json::from_slice(&buffer[..length])?, fds.pop()))
}

pub(super) fn answer(socket: &UnixStream, answer: &Answer, fd: Option<&OwnedFd>) -> io::Result<()> {
    let bytes = serde_json::to_vec(answer)?;
    match fd {
        Some(_) => send(socket, &bytes, fd),
        None => (&*socket).write_all(&bytes),
    }
}

/// The answer, which ends with the connection.
pub(super) fn answered(socket: &UnixStream) -> io::Result<(Answer, Option<OwnedFd>)> {
    let (mut bytes, mut fds, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    loop {
        let (length, more) = process::recv_fds(socket, &mut buffer)?;
        fds.extend(more);
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..length]);
        if bytes.len() > MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer has no end"));
        }
    }
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&bytes)?, fds.pop()))
}

fn send(socket: &UnixStream, bytes: &[u8], fd: Option<&OwnedFd>) -> io::Result<()> {
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
    process::send_fds(socket, bytes, &fds)
}
