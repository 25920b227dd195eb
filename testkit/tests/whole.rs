//! The whole product on this machine's kernel: the demo, stopped halfway too, and an object that nobody here wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One demo at a time: its counter is of all programs of this machine that a program named `numbered` starts.
static DEMO: Mutex<()> = Mutex::new(());

/// One of our binaries, which `cargo build --workspace` puts beside the tests' folder.
fn binary(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let path = me.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace", path.display());
    path
}

/// What a run of the demo leaves if it forgets something.
fn left_by(demo: u32) -> Vec<PathBuf> {
    let name = format!("skep-demo-{demo}");
    let places = [std::env::temp_dir().join(&name), Path::new("/sys/fs/bpf").join(&name)];
    places.into_iter().filter(|path| path.exists()).collect()
}

/// Waits until no process of the demo is left: those that it killed may take a moment to be gone.
fn wait_until_gone(demo: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !processes_of(demo).is_empty() {
        assert!(Instant::now() < deadline, "left running: {:?}", processes_of(demo));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes that were started with the demo's folder in their arguments.
fn processes_of(demo: u32) -> Vec<String> {
    let mark = format!("skep-demo-{demo}/");
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let text = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&text).replace('\0', " "))
    });
    all.filter(|line| line.contains(&mark)).collect()
}

#[test]
fn the_demo_is_exact_and_leaves_nothing() {
    let _alone = DEMO.lock().unwrap_or_else(PoisonError::into_inner);
    let child =
        Command::new(binary("demo")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("4000 events, 0 lost, 0 doubled"), "{text}");
    assert!(
        text.contains("4000 programs started by 'numbered' after the rollback: exact"),
        "{text}"
    );
    assert_eq!(left_by(pid), Vec::<PathBuf>::new());
    wait_until_gone(pid);
}

#[test]
fn the_demo_stopped_at_any_step_leaves_nothing() {
    let _alone = DEMO.lock().unwrap_or_else(PoisonError::into_inner);
    for step in ["hub", "publisher", "node", "publish", "install", "proof", "rollback"] {
        let mut child = Command::new(binary("demo"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reached = lines.map_while(Result::ok).any(|line| line.trim_start().starts_with(step));
        assert!(reached, "the demo never came to '{step}'");
        assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
        child.wait().unwrap();
        assert_eq!(left_by(pid), Vec::<PathBuf>::new(), "stopped at '{step}'");
        wait_until_gone(pid);
    }
}

#[test]
fn the_demo_stopped_as_it_starts_leaves_nothing() {
    let _alone = DEMO.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..20 {
        let mut command = Command::new(binary("demo"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        // It has its folder, and starts the hub: the earliest that there is something to leave.
        let deadline = Instant::now() + Duration::from_secs(20);
        while left_by(pid).is_empty() {
            assert!(Instant::now() < deadline, "the demo never made its folder");
        }
        assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
        child.wait().unwrap();
        assert_eq!(left_by(pid), Vec::<PathBuf>::new());
        wait_until_gone(pid);
    }
}

/// Debian's libbpf-tools, unpacked by `scripts/setup.sh test`, never installed.
fn libbpf_tools() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = set.map(PathBuf::from).or_else(home).unwrap_or_default();
    let folder = cache.join("skep/corpus/libbpf-tools");
    assert!(folder.exists(), "{} is missing: scripts/setup.sh test", folder.display());
    folder
}

#[test]
fn an_object_that_nobody_here_wrote_shows_sensible_events() {
    let tool = libbpf_tools().join("usr/sbin/execsnoop");
    let mut child = Command::new(binary("skep"))
        .args(["run", "--output", "ndjson", "--duration", "60s"])
        .arg(tool)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.starts_with("attached")), "skep run never attached");
    let mut started = Command::new("/bin/true").arg("seen-by-skep").spawn().unwrap();
    let pid = u64::from(started.id());
    started.wait().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut events =
        lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).expect(&line));
    let ours = events
        .find(|line| line.pointer("/event/pid").and_then(serde_json::Value::as_u64) == Some(pid));
    let event = ours.expect("the program that was started is among the events");
    assert_eq!(
        event.pointer("/event/comm").and_then(serde_json::Value::as_str),
        Some("true"),
        "{event}"
    );
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert!(child.wait().unwrap().success());
}
