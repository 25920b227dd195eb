//! What the demo runs on: a folder, a hub, a daemon; and the promise that they are gone at the end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// How long a daemon may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// Folders and processes of one run.
pub struct Stage {
    /// Holds everything that is written.
    pub folder: PathBuf,
    /// Pins of this run, apart from any real daemon's.
    pub bpffs: PathBuf,
    binaries: PathBuf,
    hub: Option<Child>,
    daemon: Option<Child>,
    hub_address: Option<String>,
}

impl Stage {
    /// Finds the binaries beside this one and makes the folder.
    pub fn set() -> Result<Self> {
        let me = std::env::current_exe().context("find this program's own path")?;
        let binaries = me.parent().context("this program lies in no folder")?.to_owned();
        for name in ["skep", "skepd", "skep-hub"] {
            if !binaries.join(name).exists() {
                bail!("{} is missing: run make build", binaries.join(name).display());
            }
        }
        let run = format!("skep-demo-{}", std::process::id());
        let folder = std::env::temp_dir().join(&run);
        for part in ["config", "docker", "hub", "run", "state"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        let bpffs = Path::new("/sys/fs/bpf").join(&run);
        Ok(Self { folder, bpffs, binaries, hub: None, daemon: None, hub_address: None })
    }

    /// Starts the hub on a free loopback port and gives its `host:port`.
    pub async fn start_hub(&mut self) -> Result<String> {
        let port_file = self.folder.join("hub.port");
        let mut command = self.own("skep-hub");
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.folder.join("hub"));
        command.arg("--port-file").arg(&port_file).stderr(self.log("hub.log")?);
        self.hub = Some(command.spawn().context("start skep-hub")?);
        let port = wait_for("skep-hub", self.hub.as_mut(), || {
            std::fs::read_to_string(&port_file).ok().filter(|text| text.ends_with('\n'))
        });
        let address =
            format!("127.0.0.1:{}", port.await.with_context(|| self.tail("hub.log"))?.trim());
        self.hub_address = Some(address.clone());
        Ok(address)
    }

    /// Starts the daemon with this run's folders.
    pub async fn start_daemon(&mut self) -> Result<()> {
        let socket = self.socket();
        let mut command = self.own("skepd");
        command.arg("--config-dir").arg(self.folder.join("config"));
        command.arg("--state-dir").arg(self.folder.join("state"));
        command.arg("--bpffs-dir").arg(&self.bpffs).arg("--socket").arg(&socket);
        command
            .args(["--hub", self.hub_address.as_deref().unwrap_or_default()])
            .stderr(self.log("skepd.log")?);
        self.daemon = Some(command.spawn().context("start skepd")?);
        let ready = wait_for("skepd", self.daemon.as_mut(), || {
            std::os::unix::net::UnixStream::connect(&socket).ok().map(drop)
        });
        ready.await.with_context(|| self.tail("skepd.log"))
    }

    /// Runs `skep` with `args` and gives what it printed.
    pub async fn skep(&self, args: &[&str]) -> Result<String> {
        let output = self.skep_command(args).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.with_context(|| format!("run skep {}", args.join(" ")))?;
        if !output.status.success() {
            bail!(
                "skep {} failed:\n{}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `skep` with `args` and this run's socket, hub and credentials, not yet started.
    pub fn skep_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("skep"));
        command
            .args(args)
            .env("SKEP_SOCKET", self.socket())
            .env("DOCKER_CONFIG", self.folder.join("docker"));
        if let Some(address) = &self.hub_address {
            command.env("SKEP_HUB", address);
        }
        command
    }

    /// Runs `skep-hub` with `args` and gives what it printed.
    pub async fn hub_command(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.binaries.join("skep-hub"));
        let output = command.args(args).stdin(Stdio::null()).kill_on_drop(true).output().await?;
        if !output.status.success() {
            bail!(
                "skep-hub {} failed:\n{}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The bytes of memory of the daemon that no file backs.
    pub fn daemon_memory(&self) -> Option<u64> {
        let pid = self.daemon.as_ref()?.id()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Takes everything down and says so if something stays.
    pub async fn clear(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            // The service may be half installed, or gone already: what counts is looked at below.
            drop(self.skep_command(&["remove", "exec", "--quiet"]).output().await);
        }
        for child in [self.daemon.take(), self.hub.take()].into_iter().flatten() {
            end(child).await?;
        }
        if self.bpffs.exists() {
            std::fs::remove_dir_all(&self.bpffs)
                .with_context(|| format!("remove {}", self.bpffs.display()))?;
        }
        std::fs::remove_dir_all(&self.folder)
            .with_context(|| format!("remove {}", self.folder.display()))
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("run/skepd.sock")
    }

    /// One of our daemons in a process group of its own: Ctrl-C is for the demo, which then ends them in order.
    fn own(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn log(&self, name: &str) -> Result<std::fs::File> {
        std::fs::File::create(self.folder.join(name)).with_context(|| format!("write {name}"))
    }

    fn tail(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

async fn wait_for<T>(
    name: &str,
    child: Option<&mut Child>,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T> {
    let child = child.context("it was not started")?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended at once: {status}");
        }
        if tokio::time::Instant::now() > deadline {
            bail!("{name} did not come up within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn end(mut child: Child) -> Result<()> {
    if let Some(pid) = child.id() {
        Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()
            .await
            .context("run kill")?;
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        child.kill().await.context("end a daemon that would not stop")?;
    }
    Ok(())
}
