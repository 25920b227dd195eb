//! A node of a test's own: a real skepd in temporary folders, packages built from the examples, and `skep` beside it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use skep_oci::Store;
use skep_oci::pack::{Input, Labels};
use skep_spec::source;
use skep_spec::{Arch, Digest};

use crate::wait;

/// Folders, a daemon, and all that it left in the kernel; they go with this value.
pub struct Node {
    folder: tempfile::TempDir,
    bpffs: PathBuf,
    daemon: Option<Child>,
    /// What it says once it listens.
    log: Option<JoinHandle<String>>,
}

impl Node {
    /// Folders, and no daemon yet.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let bpffs = format!("/sys/fs/bpf/skep-cli-{}-{number}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("config")).unwrap();
        Self { folder, bpffs: bpffs.into(), daemon: None, log: None }
    }

    /// A node that runs.
    pub fn started() -> Self {
        let mut node = Self::new();
        node.start();
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/skepd.sock")
    }

    /// The folder of a service's pins.
    pub fn pins(&self, service: &str) -> PathBuf {
        self.bpffs.join(service)
    }

    /// Whether anything of ours is pinned.
    pub fn has_pins(&self) -> bool {
        fn files(folder: &Path) -> usize {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
        }
        files(&self.bpffs) > 0
    }

    /// Starts skepd and gives what it said until it listens.
    pub fn start(&mut self) -> String {
        let command = self.skepd();
        self.start_as(command)
    }

    /// Starts skepd in another way.
    pub fn start_as(&mut self, mut command: Command) -> String {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        self.daemon = Some(child);
        let (said, listens, lines) = wait::within("skepd to listen", move || {
            let (mut said, mut listens) = (String::new(), false);
            while !listens {
                let Some(line) = lines.next() else { break };
                listens = line.contains("skepd listens");
                said.push_str(&line);
                said.push('\n');
            }
            (said, listens, lines)
        });
        assert!(listens, "skepd ended: {said}");
        // What comes later must have somewhere to go.
        let log = move || lines.fold(String::new(), |log, line| format!("{log}{line}\n"));
        self.log = Some(std::thread::spawn(log));
        said
    }

    /// skepd with this node's folders.
    pub fn skepd(&self) -> Command {
        let mut command = Command::new(skepd());
        command.arg("--config-dir").arg(self.path("config"));
        command.arg("--state-dir").arg(self.path("state"));
        command.arg("--bpffs-dir").arg(&self.bpffs).arg("--socket").arg(self.socket());
        command
    }

    /// Ends skepd as a crash would.
    pub fn kill(&mut self) {
        let mut child = self.daemon.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for a skepd that ends by itself.
    pub fn died(&mut self) {
        let daemon = wait::ended("skepd to end by itself", self.daemon.take().unwrap());
        assert!(!daemon.status.success());
    }

    /// Ends skepd as systemd would; gives what it said since it listened.
    pub fn stop(&mut self) -> String {
        let child = self.daemon.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(wait::ended("skepd to end on SIGTERM", child).status.success());
        let log = self.log.take().unwrap();
        wait::within("skepd's log to end", move || log.join().unwrap())
    }

    pub fn skep(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.current_dir(self.folder.path()).args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path());
        command.env("SKEP_SOCKET", self.socket());
        command.env("SKEP_CONFIG_DIR", self.path("config"));
        command
    }

    /// What a command that must work prints.
    pub fn run(&self, args: &[&str]) -> String {
        let output = wait::output(&mut self.skep(args));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skep {}: {text}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["--output", "json"]].concat())).unwrap()
    }

    /// Whether a command works, and its words if not.
    pub fn tried(&self, args: &[&str]) -> (bool, String) {
        let output = wait::output(&mut self.skep(args));
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// How many links skepd itself holds, beside their pins.
    pub fn links(&self) -> usize {
        let fds = format!("/proc/{}/fdinfo", self.daemon.as_ref().unwrap().id());
        let fds = fs::read_dir(fds).unwrap().flatten();
        let texts = fds.filter_map(|fd| fs::read_to_string(fd.path()).ok());
        texts.filter(|text| text.contains("link_id:")).count()
    }

    /// Bytes of skepd by a line of its status: `VmRSS:`, `VmHWM:`.
    pub fn memory(&self, line: &str) -> u64 {
        let status = format!("/proc/{}/status", self.daemon.as_ref().unwrap().id());
        let status = fs::read_to_string(status).unwrap();
        let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
        found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// A path as skepd sees it, which may have mounts of its own.
    pub fn inside(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.daemon.as_ref().unwrap().id());
        Path::new(&root).join(self.path(name).strip_prefix("/").unwrap())
    }

    /// The status and the words of a command that must fail.
    pub fn refused(&self, args: &[&str]) -> (i32, String) {
        self.said(&wait::output(&mut self.skep(args)))
    }

    /// The status and the words of what failed, without what differs from run to run.
    pub fn said(&self, output: &Output) -> (i32, String) {
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8_lossy(&output.stderr);
        let text = text.replace(&*self.folder.path().to_string_lossy(), "FOLDER");
        (output.status.code().unwrap(), text.replace(&*self.bpffs.to_string_lossy(), "BPFFS"))
    }

    /// Copies an example and builds it for this machine; gives its object.
    pub fn build(&self, example: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
        let copied = Command::new("cp").arg("-r").arg(from).arg(self.folder.path()).status();
        assert!(copied.unwrap().success());
        self.run(&["build", example, "--btf", "host", "--arch", std::env::consts::ARCH]);
        self.path(example).join("build").join(std::env::consts::ARCH).join("exec.bpf.o")
    }

    /// Packs an example into a layout.
    pub fn pack(&self, example: &str) {
        self.build(example);
        let layout = format!("{example}.oci");
        let arch = std::env::consts::ARCH;
        self.run(&["pack", example, "-o", &layout, "--btf", "host", "--arch", arch]);
    }

    /// Packs an example as `skep pack` would not: without its last checks, with a manifest that `change` made.
    pub fn forge(&self, example: &str, layout: &str, change: impl Fn(&str) -> String) {
        let elf = fs::read(self.build(example)).unwrap();
        let arch = Arch::host().unwrap();
        let text = fs::read_to_string(self.path(example).join("skep.toml")).unwrap();
        let source = source::parse(&change(&text)).unwrap();
        let digests = BTreeMap::from([(arch, Digest::of(&elf))]);
        let manifest = source.resolve(&BTreeMap::from([("exec".to_owned(), digests)]));
        let objects = BTreeMap::from([("exec".to_owned(), BTreeMap::from([(arch, elf)]))]);
        let store = Store::create(&self.path(layout)).unwrap();
        let labels = Labels::default();
        let input = Input { manifest: &manifest, objects: &objects, readme: None, labels: &labels };
        skep_oci::pack(&store, &input).unwrap();
    }

    /// Packs and signs both versions of the example, and trusts the key.
    pub fn sign_both(&self) {
        self.run(&["key", "new", "-o", "key"]);
        for example in ["exec", "exec-2"] {
            self.pack(example);
            self.run(&["sign", &format!("{example}.oci"), "--key", "key.key"]);
        }
        let public = fs::read_to_string(self.path("key.pub")).unwrap();
        let key: String = public.lines().filter(|line| !line.starts_with("-----")).collect();
        let rules = format!("[[rule]]\npackages = [\"skep/*\"]\nkeys = [{{ spki = \"{key}\" }}]\n");
        fs::write(self.path("config/trust.toml"), rules).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.bpffs);
    }
}

/// The skepd of this build, beside our own binary.
pub fn skepd() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_skep")).with_file_name("skepd");
    assert!(path.exists(), "skepd is not built: cargo build -p skep-agent");
    path
}
