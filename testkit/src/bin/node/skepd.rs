//! One `skepd` with folders of its own, and `skep` that talks to it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long it may take to come up, where instructions are emulated.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that lies beside this one.
pub fn beside(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("find this program's own path")?;
    let path = me.with_file_name(name);
    ensure!(path.exists(), "{} is missing: cargo build", path.display());
    Ok(path)
}

/// The daemon. Dropped, it is gone with its pins and folders.
pub struct Skepd {
    folder: tempfile::TempDir,
    bpffs: PathBuf,
    child: Option<Child>,
}

impl Skepd {
    /// Starts one that trusts what `trust.toml` says.
    pub fn start(trust: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let unique = folder.path().file_name().unwrap_or_default().to_string_lossy();
        let name = skep_kernel::bpffs::escape(&format!("skep-node-{unique}"));
        let bpffs = Path::new(skep_kernel::bpffs::DEFAULT).join(name);
        std::fs::create_dir(folder.path().join("config")).context("make the config folder")?;
        std::fs::copy(trust, folder.path().join("config/trust.toml")).context("copy trust.toml")?;
        let mut daemon = Self { folder, bpffs, child: None };
        daemon.start_again()?;
        Ok(daemon)
    }

    /// Starts it once more on the same folders.
    pub fn start_again(&mut self) -> Result<()> {
        let path = |name: &str| self.folder.path().join(name);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path("log"));
        let mut command = Command::new(beside("skepd")?);
        command.arg("--config-dir").arg(path("config")).arg("--state-dir").arg(path("state"));
        command.arg("--bpffs-dir").arg(&self.bpffs).arg("--socket").arg(self.socket());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.context("open the log")?);
        let child = self.child.insert(command.spawn().context("start skepd")?);
        let deadline = Instant::now() + PATIENCE;
        let socket = self.folder.path().join("skepd.sock");
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("skepd ended at once ({status}):\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "skepd did not come up:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// As `kill -9` would.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("skepd does not run")?;
        child.kill().context("kill skepd")?;
        child.wait().map(drop).context("wait for skepd")
    }

    /// Runs `skep` and gives what it printed.
    pub fn skep(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words)?.output().context("run skep")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("skep {} failed:\n{said}\nskepd said:\n{}", words.join(" "), self.log());
        }
        String::from_utf8(output.stdout).context("skep printed no text")
    }

    /// `skep` with these words, not run yet.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(beside("skep")?);
        command.args(words).env("SKEP_SOCKET", self.socket()).stdin(Stdio::null());
        Ok(command)
    }

    /// The folder of the service's maps in bpffs.
    pub fn map(&self, service: &str, pin: &str) -> PathBuf {
        let escape = skep_kernel::bpffs::escape;
        self.bpffs.join(escape(service)).join("maps").join(escape(pin))
    }

    /// Everything that is pinned.
    pub fn pins(&self) -> Vec<PathBuf> {
        skep_kernel::bpffs::pins(&self.bpffs).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("skepd.sock")
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Skepd {
    fn drop(&mut self) {
        let _ = self.child.is_some().then(|| self.kill());
        let _ = skep_kernel::bpffs::unpin_tree(&self.bpffs);
        let _ = std::fs::remove_dir(&self.bpffs);
    }
}
