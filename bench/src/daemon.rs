//! A skepd of our own, with folders that go with the run.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::place::Place;

/// It runs until it is dropped; what it pinned goes with it.
pub struct Daemon<'a> {
    place: &'a Place,
    name: String,
    child: Child,
}

impl<'a> Daemon<'a> {
    /// Starts one that listens by then.
    pub fn start(place: &'a Place, name: &str) -> Result<Self> {
        let child = spawn(place, name)?;
        let mut daemon = Self { place, name: name.to_owned(), child };
        daemon.until(|daemon| daemon.connect().is_ok().then_some(()))?;
        Ok(daemon)
    }

    /// Ends it as systemd would and starts it again; it may not listen yet.
    pub fn again(&mut self) -> Result<()> {
        self.end()?;
        self.child = spawn(self.place, &self.name)?;
        Ok(())
    }

    /// Asks again and again until there is an answer.
    pub fn until<T>(&mut self, mut ask: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(answer) = ask(self) {
                return Ok(answer);
            }
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("skepd did not come up");
            }
            // Nothing tells from outside when it listens; a millisecond is far below what is measured by this.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A connection to its socket.
    pub fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(socket(self.place, &self.name))
    }

    /// `skep` that speaks with it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.place.ours("skep"));
        command.args(words).env("HOME", self.place.work("home"));
        command.env("SKEP_SOCKET", socket(self.place, &self.name));
        command
    }

    /// Runs it.
    pub fn skep(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().context("run skep")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "skep {words:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// MB behind a word of `/proc/PID/status`.
    pub fn megabytes(&self, word: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(word));
        let line = line.with_context(|| format!("no {word}"))?;
        let kib = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
        Ok(kib.with_context(|| format!("{word}{line}"))? * 1024.0 / 1e6)
    }

    /// Seconds of a processor that it had so far, threads that ended too, to a hundredth.
    pub fn seconds(&self) -> Result<f64> {
        const TICKS: f64 = 100.0; // USER_HZ, which is 100 on every architecture here
        const USER: usize = 11; // utime, behind the name in brackets (proc_pid_stat(5)); stime is next
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = text.rsplit_once(") ").context("read the statistics of skepd")?;
        let ticks = fields.split(' ').skip(USER).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
    }

    fn end(&mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().context("run kill")?;
        self.child.wait().map(drop).context("wait for skepd")
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        drop(self.end());
        drop(std::fs::remove_dir_all(pins(&self.name)));
    }
}

fn spawn(place: &Place, name: &str) -> Result<Child> {
    let folder = |what: &str| place.work(&format!("{name}-{what}"));
    Command::new(place.ours("skepd"))
        .arg("--config-dir")
        .arg(folder("config"))
        .arg("--state-dir")
        .arg(folder("state"))
        .arg("--bpffs-dir")
        .arg(pins(name))
        .arg("--socket")
        .arg(socket(place, name))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start skepd")
}

fn pins(name: &str) -> PathBuf {
    Path::new("/sys/fs/bpf").join(format!("skep-bench-{name}-{}", std::process::id()))
}

fn socket(place: &Place, name: &str) -> PathBuf {
    place.work(&format!("{name}.sock"))
}
