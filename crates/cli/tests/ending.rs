//! Signals: skepd ends with 0 and leaves nothing half done, whatever it is at; a command that pulls leaves no folder.
#![allow(clippy::unwrap_used)]

mod node;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod wait;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use node::Node;
use skep_oci::Store;
use skep_spec::Digest;
use skep_spec::oci::{Annotations, Index};
use skep_trust::archive::Writer;
use support::{Fixture, run};

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
        send(&child, signal);
        let ended = wait::ended("skep to end", child);
        drop(question);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(130), "{command}: {said}");
        assert!(said.contains("stopped by SIG"), "{said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{command}");
    }
}

/// They are in a process group of their own, which Ctrl-C in a terminal does not reach.
#[test]
fn an_implementation_and_what_it_started_end_with_the_run() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors");
    let mut skep = Command::new(env!("CARGO_BIN_EXE_skep"));
    skep.arg("conformance").arg("--vectors").arg(vectors);
    skep.args(["--impl", "sh -c 'echo started >&2; sleep 60; echo slept >&2'"]);
    let mut skep = skep.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(skep.stderr.take().unwrap());
    let said = wait::within("the implementation to start", move || {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        said
    });
    send(&skep, "-INT");
    // Standard error ends with the last that holds it.
    let said = wait::within("all of them to end", || std::io::read_to_string(said).unwrap());
    assert!(said.contains("stopped by SIGINT") && !said.contains("slept"), "{said}");
    assert_eq!(skep.wait().unwrap().code(), Some(130));
}

/// Hands on each question and its connection; whoever takes it answers, or leaves it open.
fn registry() -> (String, mpsc::Receiver<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (sender, questions) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let read = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
            if read.is_err() || sender.send((line, stream)).is_err() {
                break;
            }
        }
    });
    (host, questions)
}

fn answer(mut question: TcpStream, body: &[u8]) {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    question.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// From a registry that gives the index and nothing of what it lists.
#[test]
fn a_pull_into_a_layout_that_is_interrupted_leaves_no_new_one() {
    let node = Node::new();
    node.pack("exec");
    let layout = node.path("exec.oci");
    let (_, digest) = Store::open(&layout).unwrap().packages().unwrap().remove(0);
    let index = fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
    let (by_tag, by_digest) = ("/manifests/1.0.0 ".to_owned(), format!("/manifests/{digest} "));
    for (sent, to) in [("-INT", "out.oci"), ("-TERM", "new/out.oci"), ("-HUP", "out.oci")] {
        let (host, questions) = registry();
        let mut pull = node.skep(&["pull", &format!("{host}/skep/exec:1.0.0"), "-o", to]);
        let pull = pull.stderr(Stdio::piped()).spawn().unwrap();
        let held = wait::within("skep to ask for what the index lists", {
            let (index, by_tag, by_digest) = (index.clone(), by_tag.clone(), by_digest.clone());
            move || loop {
                let (line, question) = questions.recv().unwrap();
                match line.contains(&by_tag) || line.contains(&by_digest) {
                    true => answer(question, &index),
                    false => break (question, questions), // an answer that does not come
                }
            }
        });
        assert!(node.path(to).join("oci-layout").is_file(), "where it pulls to");
        send(&pull, sent);
        let ended = wait::ended("skep pull to end", pull);
        drop(held);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(130), "{sent}: {said}");
        assert!(said.contains("stopped by SIG"), "{said}");
        assert!(!node.path("out.oci").exists() && !node.path("new").exists(), "{sent}");
    }
}

/// It waits for nobody but the reader of its output.
#[test]
fn a_signal_ends_what_has_its_answer() {
    let node = Node::new();
    let (host, questions) = registry();
    let mut tags = node.skep(&["tags", &format!("{host}/skep/exec"), "--output", "json"]);
    let mut tags = tags.stdout(Stdio::piped()).spawn().unwrap();
    let (_, question) = wait::within("skep to ask", move || questions.recv().unwrap());
    let versions: Vec<String> = (0..9_000).map(|n| format!("\"1.0.{n}-release\"")).collect();
    answer(question, format!("{{\"tags\":[{}]}}", versions.join(",")).as_bytes());
    let mut unread = tags.stdout.take().unwrap(); // more than a pipe takes
    let mut unread = wait::within("skep to print", move || {
        unread.read_exact(&mut [0]).unwrap();
        unread
    });
    send(&tags, "-INT");
    assert_eq!(wait::ended("skep tags to end", tags).status.code(), Some(130));
    assert!(unread.read(&mut [0]).unwrap() > 0);
}

/// `skep` in a folder, with its temporary folders in `tmp` there.
fn skep(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.current_dir(folder).env_clear().env("HOME", folder).env("TMPDIR", folder.join("tmp"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A bundle of no package, of which a reader knows that at its end, after thousands of blobs.
fn long_bundle(path: &Path) {
    const BLOBS: u32 = 40_000;
    let blobs: BTreeMap<Digest, [u8; 4]> =
        (0..BLOBS).map(u32::to_ne_bytes).map(|blob| (Digest::of(&blob), blob)).collect();
    let index = Index::new(Vec::new(), Annotations::new()).to_bytes();
    let mut writer = Writer::new(fs::File::create(path).unwrap(), &index).unwrap();
    blobs.into_iter().for_each(|(digest, blob)| writer.add(digest, &blob).unwrap());
    writer.finish().unwrap();
}

fn stopped(what: &str, child: Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    let ended = wait::ended(what, child);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{what}: {said}");
    assert_eq!(said, format!("error: stopped by SIG{}\n", &signal[1..]), "{what}");
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn a_bundle_that_is_taken_apart_is_given_up_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("tmp")).unwrap();
    long_bundle(&path("long.skep"));
    let before = entries(folder.path());
    for (arguments, signal) in [
        (&["inspect", "long.skep"][..], "-TERM"),
        (&["bundle", "long.skep", "-o", "again.skep"], "-INT"),
        (&["copy", "long.skep", "127.0.0.1:1/acme/exec"], "-HUP"),
    ] {
        let child = skep(folder.path(), arguments).spawn().unwrap();
        wait::until("the folder to be there", || entries(&path("tmp")) == 1);
        stopped(arguments[0], child, signal);
        assert_eq!(entries(&path("tmp")), 0, "{arguments:?}");
        assert_eq!(entries(folder.path()), before, "{arguments:?}");
    }
}

/// Neither a new layout, nor blobs in one that was there.
#[test]
fn a_bundle_that_goes_into_a_layout_goes_in_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    long_bundle(&path("long.skep"));
    Store::create(&path("there")).unwrap();
    for (layout, signal) in [("new/layout", "-INT"), ("there", "-TERM")] {
        let blobs = path(layout).join("blobs/sha256");
        let child = skep(folder.path(), &["unbundle", "long.skep", "-o", layout]).spawn().unwrap();
        wait::until("a blob to be there", || entries(&blobs) > 10);
        stopped(layout, child, signal);
        assert_eq!(entries(&blobs), 0, "{layout}");
    }
    assert!(!path("new").exists());
    Store::open(&path("there")).unwrap();
}

/// To a registry that never answers.
#[test]
fn a_bundle_that_is_pushed_leaves_no_folder() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let tmp = folder.join("tmp");
    fs::create_dir(&tmp).unwrap();
    run(&mut skep(folder, &["bundle", "layout", "-o", "site.skep"]));
    for (command, signal) in [("unbundle", "-INT"), ("copy", "-TERM"), ("copy", "-HUP")] {
        let registry = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = registry.local_addr().unwrap().to_string();
        let place = format!("{host}/acme/exec");
        let arguments: &[&str] = match command {
            "unbundle" => &["unbundle", "site.skep", "--to", &host],
            _ => &["copy", "site.skep", &place],
        };
        let child = skep(folder, arguments).spawn().unwrap();
        let question = wait::within("skep to ask the registry", move || registry.accept().unwrap());
        assert_eq!(entries(&tmp), 1, "{arguments:?}");
        stopped(command, child, signal);
        drop(question);
        assert_eq!(entries(&tmp), 0, "{arguments:?}");
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
    send(&skepd, "-TERM");
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
    send(&child, "-TERM");
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
