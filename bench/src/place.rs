//! Where things lie: the release binaries, the peers, the objects.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Paths that the measures share.
pub struct Place {
    binaries: PathBuf,
    peers: PathBuf,
    work: tempfile::TempDir,
}

impl Place {
    /// Builds the peers and finds our binaries beside this one.
    pub fn find() -> Result<Self> {
        let me = std::env::current_exe().context("find this program's own path")?;
        let binaries = me.parent().context("this program lies in no folder")?.to_owned();
        let target = binaries.join("../..");
        let peers = target.join("peers");
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked"])
            .current_dir(source("peers"))
            .env("CARGO_TARGET_DIR", &peers)
            .status()
            .context("run cargo for the peers")?;
        ensure!(status.success(), "the peers do not build");
        let triple = binaries
            .components()
            .rev()
            .nth(1)
            .context("no target folder above the binaries")?
            .as_os_str();
        let peers = peers.join(triple).join("release");
        Ok(Self { binaries, peers, work: tempfile::tempdir()? })
    }

    /// One of our binaries.
    pub fn ours(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// One of the peers.
    pub fn peer(&self, name: &str) -> PathBuf {
        self.peers.join(name)
    }

    /// A path in a folder that goes with this run.
    pub fn work(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Where the results go.
    pub fn results(&self) -> PathBuf {
        self.binaries.join("../../bench.json")
    }

    /// Compiles a C file of `objects/` and gives the object.
    pub fn object(&self, name: &str) -> Result<PathBuf> {
        let headers = self.work("bpf");
        std::fs::create_dir_all(&headers)?;
        for (header, text) in skep_kernel::kit::headers() {
            std::fs::write(
                headers.join(Path::new(header).file_name().context("a header without a name")?),
                text,
            )?;
        }
        let object = self.work(&format!("{name}.o"));
        let status = Command::new("clang")
            .args([
                "-g",
                "-O2",
                "-target",
                "bpf",
                "-mcpu=v3",
                "-I",
                "/usr/include/x86_64-linux-gnu",
                "-c",
                "-I",
            ])
            .arg(self.work.path())
            .arg(source("objects").join(format!("{name}.bpf.c")))
            .arg("-o")
            .arg(&object)
            .status()
            .context("run clang")?;
        ensure!(status.success(), "{name}.bpf.c does not compile");
        Ok(object)
    }

    /// Builds an example package and gives its object for this machine.
    pub fn example(&self, name: &str) -> Result<PathBuf> {
        let project = self.work(name);
        let from = source("../examples").join(name);
        let copied =
            Command::new("cp").arg("-r").arg(&from).arg(&project).status().context("run cp")?;
        ensure!(copied.success(), "{} could not be copied", from.display());
        let status = Command::new(self.ours("skep"))
            .args(["build", "--quiet", "--btf", "host"])
            .arg(&project)
            .status()
            .context("run skep build")?;
        ensure!(status.success(), "skep build failed for {name}");
        Ok(project.join("build/x86_64").join(format!("{name}.bpf.o")))
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
