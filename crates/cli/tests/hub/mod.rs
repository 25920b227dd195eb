//! A hub of ours, as a process, with a publisher who is logged in.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part of it

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use skep_spec::Arch;

use crate::support::{Fixture, run, tool};

/// A hub that is killed with this value.
pub struct Hub {
    process: Child,
    /// `127.0.0.1:PORT`
    pub host: String,
    data: tempfile::TempDir,
}

impl Hub {
    /// Starts one and waits until it says that it is ready.
    pub fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(program())
            .args(["serve", "--log", "warn", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let host = line.trim().rsplit('/').next().unwrap().to_owned();
        assert!(!host.is_empty(), "the hub ended before it was ready");
        Self { process, host, data }
    }

    /// Makes a token for `publisher` and logs in where docker's configuration of the home `home` says.
    pub fn login(&self, publisher: &str, home: &Path) {
        let file = home.join("token");
        std::fs::write(&file, self.token(publisher)).unwrap();
        let mut login = Command::new(env!("CARGO_BIN_EXE_skep"));
        login.env_clear().env("HOME", home).stdin(std::fs::File::open(file).unwrap());
        let out = login.args(["login", &self.host, "--password-stdin"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// A token that pushes below `publisher`.
    pub fn token(&self, publisher: &str) -> String {
        let mut token = Command::new(program());
        token.args(["token", "new", "--publisher", publisher, "--data"]).arg(self.data.path());
        run(&mut token).trim().to_owned()
    }

    /// Its `acme/exec` at a version.
    pub fn reference(&self, version: &str) -> String {
        format!("{}/acme/exec:{version}", self.host)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The skep-hub of this build, beside our own binary.
fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_skep")).with_file_name("skep-hub");
    assert!(path.exists(), "skep-hub is not built: cargo build -p skep-hub");
    path
}

/// A package whose object a hub can read, as it reads each that is pushed to it.
pub fn readable(version: &str) -> Fixture {
    let source = "__attribute__((section(\"tracepoint/sched/sched_process_exec\"), used))\n\
        int handle(void *ctx) { return 0; }\n\
        char _license[] __attribute__((section(\"license\"), used)) = \"GPL\";\n";
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("exec.bpf.o");
    let mut clang = Command::new(tool("clang"));
    clang.args(["-g", "-O2", "-target", "bpf", "-x", "c", "-c", "-", "-o"]);
    let mut clang = clang.arg(&object).stdin(Stdio::piped()).spawn().unwrap();
    clang.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert!(clang.wait().unwrap().success());
    let elf = std::fs::read(object).unwrap();
    let arches = [Arch::X86_64, Arch::Aarch64].map(|arch| (arch, elf.clone()));
    Fixture::of(version, &BTreeMap::from([("exec".to_owned(), BTreeMap::from(arches))]))
}
