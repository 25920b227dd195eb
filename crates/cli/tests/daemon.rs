//! What is said of a skepd that answers otherwise than it should.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use node::Node;
use serde_json::json;

/// A socket on which every request is answered as `answer` says for its first line: a status and a body.
fn skepd_that(
    node: &Node,
    answer: impl Fn(&str) -> (&'static str, String) + Send + 'static,
) -> PathBuf {
    let socket = node.path("other.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let got = stream.read(&mut head).unwrap_or(0);
            let (status, body) = answer(&String::from_utf8_lossy(&head[..got]));
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    socket
}

/// One that took an operation up; when it is asked for its end, another one answers.
#[test]
fn a_skepd_that_does_not_know_the_operation_is_not_to_be_started() {
    let node = Node::new();
    let socket = skepd_that(&node, |request| match request.starts_with("POST ") {
        true => ("202 Accepted", r#"{"id": 7, "state": "running"}"#.to_owned()),
        false => (
            "404 Not Found",
            r#"{"code": "no-operation", "message": "there is no operation 7", "causes": []}"#
                .to_owned(),
        ),
    });
    let mut command = node.skep(&["rollback", "exec"]);
    let (status, text) = node.said(&wait::output(command.env("SKEP_SOCKET", socket)));
    insta::assert_snapshot!(format!("{text}exit status {status}"), @r"
    error: skepd does not know what became of the rollback of exec
      because there is no operation 7
    hint: it was started again, which finished what had switched and undid what had not, or more than 256 operations came after; skep list and skep show SERVICE say what came of it
    exit status 1
    ");
}

#[test]
fn a_skepd_of_another_version_is_told_as_that() {
    let node = Node::new();
    let body = r#"[{"service": "exec", "package": "acme/exec", "version": "1.0.0", "generation": 1, "state": "resting",
        "index": "sha256:0000000000000000000000000000000000000000000000000000000000000000"}]"#;
    let socket = skepd_that(&node, move |_| ("200 OK", body.to_owned()));
    let mut command = node.skep(&["list"]);
    let (status, text) = node.said(&wait::output(command.env("SKEP_SOCKET", socket)));
    insta::assert_snapshot!(format!("{text}exit status {status}"), @r"
    error: skepd's answer to /v1/services is not as this version of skep expects it
      because unknown variant `resting`, expected one of `running`, `partial`, `failed`, `stopped` at line 1 column 100
    hint: skep and skepd seem to be of different versions: compare skep --version with skepd --version, and restart skepd if it was replaced since it started
    exit status 1
    ");
}

#[test]
fn what_a_package_is_to_blame_for_does_not_speak_to_the_terminal() {
    let node = Node::new();
    let socket = skepd_that(&node, |_| {
        let status = json!({
            "service": "exec", "package": "acme/exec", "version": "1.0.0", "generation": 1,
            "index": format!("sha256:{:064}", 1), "state": "failed",
            "failed": "no program '\u{1b}]0;owned\u{7}'",
        });
        ("200 OK", json!([status]).to_string())
    });
    let list = |args: &[&str]| {
        let mut command = node.skep(&[&["list"], args].concat());
        let output = wait::output(command.env("SKEP_SOCKET", &socket));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = list(&[]);
    assert!(shown.contains(r"exec does not run: no program '\u{1b}]0;owned\u{7}'"), "{shown:?}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let json: serde_json::Value = serde_json::from_str(&list(&["--output", "json"])).unwrap();
    assert_eq!(json[0]["failed"], "no program '\u{1b}]0;owned\u{7}'");
}
