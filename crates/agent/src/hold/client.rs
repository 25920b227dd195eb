//! The daemon's end of the holder.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use skep_runtime::Holder;

use super::message::{self, Answer, Request};
use super::socket_of;

/// Asks the holder at a socket, and starts it when there is something to keep.
#[derive(Debug)]
pub struct Client {
    program: PathBuf,
    daemon: PathBuf,
    socket: PathBuf,
    started: Option<Child>,
}

impl Client {
    /// A client of the holder of the daemon that listens at `daemon`; `program` is the skepd that is run as the holder.
    #[must_use]
    pub fn new(program: &Path, daemon: &Path) -> Self {
        let (program, daemon) = (program.to_owned(), daemon.to_owned());
        Self { program, socket: socket_of(&daemon), daemon, started: None }
    }

    /// A copy of the fd that is kept under `key`.
    ///
    /// # Errors
    /// The holder does not answer.
    pub fn take(&mut self, key: &str) -> io::Result<Option<OwnedFd>> {
        Ok(self.ask_if_there(&Request::Take(key.to_owned()))?.and_then(|(_, fd)| fd))
    }

    /// Asks a holder that is there; nobody there means that nothing is kept.
    fn ask_if_there(&self, request: &Request) -> io::Result<Option<(Answer, Option<OwnedFd>)>> {
        match self.ask(request, None) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if nobody_there(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask(
        &self,
        request: &Request,
        fd: Option<&OwnedFd>,
    ) -> io::Result<(Answer, Option<OwnedFd>)> {
        let socket = UnixStream::connect(&self.socket)?;
        message::patient(&socket)?;
        message::ask(&socket, request, fd)?;
        match message::answered(&socket)? {
            (Answer::Refused(why), _) => Err(io::Error::other(format!("it refuses: {why}"))),
            answer => Ok(answer),
        }
    }

    /// Starts the holder and waits until it listens.
    fn start(&mut self) -> io::Result<()> {
        self.reap();
        if let Some(folder) = self.socket.parent() {
            fs::create_dir_all(folder)?;
        }
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.program)
            .arg("--hold")
            .arg("--socket")
            .arg(&self.daemon)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.started = Some(child);
        let mut line = String::new();
        BufReader::new(ours).read_line(&mut line)?;
        if line == "ready\n" {
            return Ok(());
        }
        let socket = self.socket.display();
        Err(io::Error::other(format!("the holder did not start; can {socket} be made?")))
    }

    /// Forgets a holder of ours that has ended.
    fn reap(&mut self) {
        if let Some(child) = &mut self.started
            && !matches!(child.try_wait(), Ok(None))
        {
            self.started = None;
        }
    }
}

/// There was none, or it ended as we came.
fn nobody_there(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
    )
}

impl Holder for Client {
    fn keep(&mut self, key: &str, fd: &OwnedFd) -> io::Result<()> {
        let request = Request::Keep(key.to_owned());
        match self.ask(&request, Some(fd)) {
            Err(error) if nobody_there(&error) => {
                self.start()?;
                self.ask(&request, Some(fd)).map(drop)
            }
            other => other.map(drop),
        }
    }

    fn release(&mut self, key: &str) -> io::Result<()> {
        self.ask_if_there(&Request::Release(key.to_owned()))?;
        self.reap();
        Ok(())
    }

    fn keys(&self) -> io::Result<Vec<String>> {
        match self.ask_if_there(&Request::Keys)? {
            Some((Answer::Keys(keys), _)) => Ok(keys),
            _ => Ok(Vec::new()),
        }
    }
}
