//! A holder in the test's own process, for kernels whose attachments can't be pinned: children speak to it over a
//! socket in their state folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use skep_kernel::process;
use skep_runtime::Holder;

type Kept = Arc<Mutex<BTreeMap<String, OwnedFd>>>;

/// The test's end. What it keeps goes with it.
pub struct Keeper {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub fn start(state: &Path) -> io::Result<Self> {
        fs::create_dir_all(state)?;
        let path = socket(state);
        let listener = UnixListener::bind(&path)?;
        let known = path.clone();
        let accept = move || {
            let kept = Kept::default();
            for stream in listener.incoming().flatten() {
                if !known.exists() {
                    return; // dropped
                }
                let kept = kept.clone();
                thread::spawn(move || serve(stream, &kept));
            }
        };
        Ok(Self { path, thread: Some(thread::spawn(accept)) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let away = self.path.with_extension("gone");
        let _ = fs::rename(&self.path, &away); // a socket is connected to wherever its file lies
        let woken = UnixStream::connect(&away);
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            let _ = thread.join();
        }
        let _ = fs::remove_file(away);
    }
}

fn socket(state: &Path) -> PathBuf {
    state.join("holder.sock")
}

/// A request is one letter and a key, with an fd behind "K"; the answer is text of its length.
fn serve(mut stream: UnixStream, kept: &Kept) {
    let mut buffer = [0u8; 512];
    while let Ok((length, mut fds)) = process::recv_fds(&stream, &mut buffer) {
        let Some((what, key)) = buffer[..length].split_first() else { return };
        let key = String::from_utf8_lossy(key).into_owned();
        let Ok(mut kept) = kept.lock() else { return };
        let answer = match (what, fds.pop()) {
            (b'K', Some(fd)) => {
                kept.insert(key, fd);
                String::new()
            }
            (b'R', _) => {
                kept.remove(&key);
                String::new()
            }
            _ => kept.keys().cloned().collect::<Vec<_>>().join("\n"),
        };
        let length = u32::try_from(answer.len()).unwrap_or(0).to_ne_bytes();
        if stream.write_all(&[&length, answer.as_bytes()].concat()).is_err() {
            return;
        }
    }
}

struct Connection(UnixStream);

/// The holder of a state folder, if the test has one.
pub fn connect(state: &Path) -> io::Result<Option<Box<dyn Holder>>> {
    if !socket(state).exists() {
        return Ok(None);
    }
    let stream = UnixStream::connect(socket(state))?;
    Ok(Some(Box::new(Connection(stream))))
}

impl Connection {
    fn ask(&self, what: u8, key: &str, fd: Option<&OwnedFd>) -> io::Result<String> {
        let message = [&[what], key.as_bytes()].concat();
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
        process::send_fds(&self.0, &message, &fds)?;
        let mut length = [0; 4];
        (&self.0).read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_ne_bytes(length) as usize];
        (&self.0).read_exact(&mut answer)?;
        String::from_utf8(answer).map_err(io::Error::other)
    }
}

impl Holder for Connection {
    fn keep(&mut self, key: &str, fd: &OwnedFd) -> io::Result<()> {
        self.ask(b'K', key, Some(fd)).map(drop)
    }

    fn release(&mut self, key: &str) -> io::Result<()> {
        self.ask(b'R', key, None).map(drop)
    }

    fn keys(&self) -> io::Result<Vec<String>> {
        Ok(self.ask(b'L', "", None)?.lines().map(str::to_owned).collect())
    }
}
