//! Signals: skepd ends with 0 and leaves nothing half done, whatever it is at; a command that pulls leaves no folder.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use node::Node;

/// Registries whose answers drip.
#[test]
fn pulls_are_given_up() {
    let mut node = Node::new();
    node.start();
    let registries = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let installs = registries.each_ref().map(|registry| {
        let package = format!("{}/acme/exec:1.0.0", registry.local_addr().unwrap());
        let mut install = node.skep(&["install", &package, "--allow-unsigned"]);
        install.stderr(Stdio::null()).spawn().unwrap()
    });
    for registry in registries {
        let (mut question, _) =
            wait::within("skepd to ask the registry", move || registry.accept().unwrap());
        assert!(question.read(&mut [0; 1024]).unwrap() > 0);
        question.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n").unwrap();
        std::thread::spawn(move || {
            while question.write_all(b"{").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    node.stop();
    for install in installs {
        assert!(!wait::ended("the install to end", install).status.success());
    }
    assert!(!node.socket().exists());
    node.start();
    assert_eq!(node.json(&["list"]).as_array().unwrap().len(), 0);
}

/// From a registry that never ends its answer.
#[test]
fn a_pull_that_is_interrupted_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (command, signal) in [("inspect", "-INT"), ("run", "-TERM"), ("inspect", "-HUP")] {
        let registry = TcpListener::bind("127.0.0.1:0").unwrap();
        let package = format!("{}/acme/exec:1.0.0", registry.local_addr().unwrap());
        let mut skep = Command::new(env!("CARGO_BIN_EXE_skep"));
        skep.args([command, &package]).env("TMPDIR", folder.path()).stderr(Stdio::piped());
        skep.env("XDG_CACHE_HOME", "/dev/null"); // where nothing can be kept
        let child = skep.spawn().unwrap();
        let (question, _) =
            wait::within("skep to ask the registry", move || registry.accept().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "where it pulls to");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let ended = wait::ended("skep to end", child);
        drop(question);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(130), "{command}: {said}");
        assert!(said.contains("stopped by SIG"), "{said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{command}");
    }
}

/// A start that asks the holder, which answers once the signal has come.
#[test]
fn a_start_is_ended_first() {
    let node = Node::new();
    fs::create_dir(node.path("run")).unwrap();
    let holder = UnixListener::bind(node.path("run/skepd.sock.holder")).unwrap();
    let skepd = node.skepd().stderr(Stdio::piped()).spawn().unwrap();
    // The socket goes with this: that nobody is there is an answer too.
    let mut question = wait::within("skepd to ask the holder", move || holder.accept().unwrap().0);
    assert!(question.read(&mut [0; 1024]).unwrap() > 0);
    let pid = skepd.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    question.write_all(b"{\"keys\":[]}").unwrap();
    drop(question);
    let ended = wait::ended("skepd to end on SIGTERM", skepd);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert!(said.contains("what is attached stays"), "{said}");
    assert!(!node.socket().exists());
}

/// Starts skepd by a shell in a mount namespace of its own, ends it, and gives what it said.
fn in_own_mounts(prepare: &str) -> String {
    let node = Node::new();
    let skepd = node.skepd();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{prepare} && exec \"$@\""), "sh"]);
    command.arg(skepd.get_program()).args(skepd.get_args()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait::until("skepd to listen", || {
        std::os::unix::net::UnixStream::connect(node.socket()).is_ok()
    });
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = wait::ended("skepd to end on SIGTERM", child);
    assert!(ended.status.success());
    String::from_utf8(ended.stderr).unwrap()
}

#[test]
fn a_bpffs_that_goes_with_skepd_is_said_and_nothing_else_is_promised() {
    let own = in_own_mounts("umount /sys/fs/bpf");
    assert!(own.contains("is of this mount namespace alone"), "{own}");
    assert!(own.contains("nsenter --net="), "{own}");
    assert!(own.contains("what is attached goes with this mount namespace"), "{own}");
    assert!(!own.contains("what is attached stays"), "{own}");
    let shared = in_own_mounts("true");
    assert!(!shared.contains("mount namespace"), "{shared}");
    assert!(shared.contains("what is attached stays"), "{shared}");
}
