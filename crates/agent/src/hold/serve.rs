//! The holder's own process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use skep_kernel::process;

use super::home::Home;
use super::message::{self, Answer, Request};
use super::socket_of;
use crate::ending::stopped;

/// How long a holder that ends may take to make room for the next one.
const HANDOVER: Duration = Duration::from_secs(5);

/// Keeps fds for the daemon that listens at `daemon`, until it has none any more.
///
/// It says "ready" on its standard input, which whoever starts it makes a socket, also where another holder serves already. SIGTERM
/// and Ctrl-C end it, and detach what it holds.
///
/// # Errors
/// The socket cannot be made; another holder serves it.
pub fn run(daemon: &Path) -> io::Result<()> {
    let socket = &socket_of(daemon);
    // A leader of a group has its own already, by whoever started it.
    let _ = process::new_session();
    let threads = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = threads.enter();
    let end = stopped()?;
    let _lock = match lock(socket)? {
        Holder::Ours(lock) => lock,
        Holder::Taken(pid) => {
            ready()?;
            let socket = socket.display();
            return Err(io::Error::other(format!(
                "another holder (process {pid}) runs at {socket}"
            )));
        }
    };
    let _home = Home::enter(socket);
    let listener = tokio::net::UnixListener::from_std(listen(socket)?)?;
    drop(entered);
    ready()?;
    threads.block_on(serve(listener, end))?;
    fs::remove_file(socket)
}

/// Who holds for a daemon.
enum Holder {
    /// We do; nobody else does while this is locked.
    Ours(File),
    /// A process does already.
    Taken(i32),
}

/// Takes the lock of this place, unless another holder serves it.
fn lock(socket: &Path) -> io::Result<Holder> {
    let path = socket.with_extension("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let deadline = Instant::now() + HANDOVER;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Holder::Ours(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        match UnixStream::connect(socket) {
            Ok(other) => return Ok(Holder::Taken(process::peer_cred(&other)?.pid)),
            Err(_) if Instant::now() > deadline => {
                return Err(io::Error::other("another holder has the lock and does not answer"));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // of a holder that was killed: we have the lock
    }
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn ready() -> io::Result<()> {
    let starter = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Whoever started it may be gone: that is what it is for.
    let _ = (&starter).write_all(b"ready\n");
    Ok(())
}

async fn serve(
    listener: tokio::net::UnixListener,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut kept = BTreeMap::new();
    let mut end = pin!(end);
    loop {
        let (socket, _) = tokio::select! {
            biased;
            () = &mut end => return Ok(()),
            accepted = listener.accept() => accepted?,
        };
        let socket = socket.into_std()?;
        socket.set_nonblocking(false)?;
        let had = kept.len();
        // A request that fails is the asker's to repeat.
        let _ = one(&socket, &mut kept);
        if kept.is_empty() && had > 0 {
            return Ok(());
        }
    }
}

fn one(socket: &UnixStream, kept: &mut BTreeMap<String, OwnedFd>) -> io::Result<()> {
    message::patient(socket)?;
    let peer = process::peer_cred(socket)?;
    if peer.uid != 0 {
        let why = format!("user {} is not root", peer.uid);
        return message::answer(socket, &Answer::Refused(why), None);
    }
    let (request, fd) = match message::asked(socket) {
        Ok(asked) => asked,
        Err(error) => {
            return message::answer(socket, &Answer::Refused(error.to_string()), None);
        }
    };
    let mut copy = None;
    let answer = match (request, fd) {
        (Request::Keep(key), Some(fd)) => {
            kept.insert(key, fd);
            Answer::Done
        }
        (Request::Keep(_), None) => Answer::Refused("no fd came along".to_owned()),
        (Request::Release(key), _) => {
            kept.remove(&key);
            Answer::Done
        }
        (Request::Take(key), _) => {
            copy = kept.get(&key).map(OwnedFd::try_clone).transpose()?;
            Answer::Done
        }
        (Request::Keys, _) => Answer::Keys(kept.keys().cloned().collect()),
    };
    message::answer(socket, &answer, copy.as_ref())
}
