//! The holder as its clients see it: a real `skepd --hold` beside them.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use skep_agent::hold::{Client, socket_of};
use skep_runtime::Holder;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn daemon(&self) -> PathBuf {
        self.folder.path().join("skepd.sock")
    }

    fn socket(&self) -> PathBuf {
        socket_of(&self.daemon())
    }

    fn client(&self) -> Client {
        client_of(&self.daemon())
    }
}

fn client_of(daemon: &Path) -> Client {
    Client::new(Path::new(env!("CARGO_BIN_EXE_skepd")), daemon)
}

/// An fd that no pin can hold, and what shows whether somebody has it open: the read end of its pipe.
fn unpinnable() -> (OwnedFd, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    (writer.into(), reader)
}

#[test]
fn an_fd_outlives_the_one_who_gave_it() {
    let place = Place::new();
    let (fd, mut reader) = unpinnable();
    let mut first = place.client();
    first.keep("exec/kprobe", &fd).unwrap();
    drop((first, fd));

    let mut second = place.client();
    assert_eq!(second.keys().unwrap(), ["exec/kprobe"]);
    let back = second.take("exec/kprobe").unwrap().unwrap();
    File::from(back).write_all(b"still open").unwrap();
    second.release("exec/kprobe").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap(); // ends when the last copy is closed
    assert_eq!(text, "still open");
}

#[test]
fn a_key_has_one_fd_and_an_unknown_key_has_none() {
    let place = Place::new();
    let ((old, mut old_reader), (new, _new_reader)) = (unpinnable(), unpinnable());
    let mut client = place.client();
    client.keep("a", &old).unwrap();
    client.keep("a", &new).unwrap();
    drop(old);
    assert_eq!(old_reader.read(&mut [0]).unwrap(), 0);
    assert!(client.take("b").unwrap().is_none());
    client.release("b").unwrap();
    assert_eq!(client.keys().unwrap(), ["a"]);
    client.release("a").unwrap();
}

#[test]
fn it_starts_with_the_first_fd_and_ends_with_the_last_over_and_over() {
    let place = Place::new();
    let mut client = place.client();
    assert!(client.keys().unwrap().is_empty());
    assert!(!place.socket().exists(), "nothing to keep, and yet it runs");
    for round in 0..20 {
        let (fd, mut reader) = unpinnable();
        client.keep("x", &fd).unwrap_or_else(|error| panic!("round {round}: {error}"));
        drop(fd);
        client.release("x").unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn it_takes_the_place_of_one_that_was_killed() {
    let place = Place::new();
    let (fd, mut reader) = unpinnable();
    let mut client = place.client();
    client.keep("x", &fd).unwrap();
    drop(fd);
    let pid = holder_of(&place.socket());
    skep_kernel::process::kill(pid).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the fd went with it");
    assert!(place.client().keys().unwrap().is_empty());
    let (fd, _reader) = unpinnable();
    client.keep("y", &fd).unwrap();
    assert_eq!(client.keys().unwrap(), ["y"]);
    client.release("y").unwrap();
}

#[test]
fn a_second_one_leaves_the_place_to_the_first() {
    let place = Place::new();
    let (fd, _reader) = unpinnable();
    let mut client = place.client();
    client.keep("x", &fd).unwrap();
    let second = hold(&place).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    let pid = holder_of(&place.socket());
    assert!(said.contains(&format!("another holder (process {pid}) runs at ")), "{said}");
    assert_eq!(client.keys().unwrap(), ["x"]);
    client.release("x").unwrap();
}

fn hold(place: &Place) -> Command {
    let mut skepd = Command::new(env!("CARGO_BIN_EXE_skepd"));
    skepd.args(["--hold", "--socket"]).arg(place.daemon()).stdin(Stdio::null());
    skepd
}

#[test]
fn a_signal_ends_it_and_detaches_what_it_held() {
    let place = Place::new();
    let mut holder = hold(&place).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(place.socket()).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (fd, mut reader) = unpinnable();
    place.client().keep("x", &fd).unwrap();
    drop(fd);
    let pid = holder.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    let status = holder.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(!place.socket().exists());
    assert!(place.client().keys().unwrap().is_empty());
}

#[test]
fn daemons_beside_each_other_have_a_holder_each() {
    let place = Place::new();
    let daemons = ["skepd.sock", "skepd", "other.sock"].map(|name| place.folder.path().join(name));
    let cgroup = |daemon: &PathBuf| {
        let pid = holder_of(&socket_of(daemon));
        (pid, std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap())
    };
    let kept = daemons.each_ref().map(|daemon| {
        let ((fd, reader), mut client) = (unpinnable(), client_of(daemon));
        assert!(client.keys().unwrap().is_empty());
        client.keep("x", &fd).unwrap();
        (client, reader)
    });
    let holders = daemons.each_ref().map(cgroup);
    for (at, holder) in holders.iter().enumerate() {
        let others = holders[..at].iter();
        assert!(others.into_iter().all(|(pid, cgroup)| *pid != holder.0 && *cgroup != holder.1));
    }
    for (mut client, mut reader) in kept {
        client.release("x").unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "another one holds it");
    }
}

#[test]
fn what_is_no_request_is_refused_and_serves_no_harm() {
    let place = Place::new();
    let (fd, _reader) = unpinnable();
    let mut client = place.client();
    client.keep("x", &fd).unwrap();
    let mut stranger = UnixStream::connect(place.socket()).unwrap();
    stranger.write_all(b"{\"keep\":").unwrap();
    let mut said = String::new();
    stranger.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("{\"refused\":"), "{said}");
    assert!(client.keep(&"k".repeat(5000), &fd).is_err());
    assert_eq!(client.keys().unwrap(), ["x"]);
    client.release("x").unwrap();
}

/// The process that listens at `socket`.
fn holder_of(socket: &Path) -> u32 {
    let stream = UnixStream::connect(socket).unwrap();
    u32::try_from(skep_kernel::process::peer_cred(&stream).unwrap().pid).unwrap()
}
