//! What is asked of skepd as it should not be is answered in its own form; what a registry asks of skepd is said with where it looks.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use node::Node;
use serde_json::Value;

/// The status and the body of what skepd answers to a request's head and body.
fn answer(node: &Node, head: &str, body: &str) -> (String, String) {
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    let (head, body, length) = (head.to_owned(), body.to_owned(), body.len());
    let said = wait::within("skepd to answer", move || {
        let head = format!("{head} HTTP/1.1\r\nHost: skepd\r\nConnection: close\r\n");
        // It may have answered and closed before it has read all.
        let _ = write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        String::from_utf8(said).unwrap()
    });
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[test]
fn every_refusal_has_a_code() {
    let node = Node::started();
    let large = " ".repeat((4 << 20) + 1);
    for (head, body, status, code) in [
        ("GET /v1/services/x/events?limit=-1", "", "400", "request"),
        ("GET /v1/services/x/events?follow=maybe", "", "400", "request"),
        ("GET /v1/operations/first", "", "400", "request"),
        ("GET /v1/operations/1?wait=long", "", "400", "request"),
        ("POST /v1/services", "{", "400", "request"),
        ("POST /v1/services", &large, "413", "too-large"),
        ("POST /v1/services/x/upgrade?dry_run=1.5", "{}", "400", "request"),
        ("PUT /v1/services", "", "405", "no-such-method"),
        ("GET /v2/", "", "404", "no-such-path"),
    ] {
        let (answered, said) = answer(&node, head, body);
        assert_eq!(answered, status, "{head}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{head}: {said}"));
        assert_eq!(said["code"], code, "{head}: {said}");
        assert!(!said["message"].as_str().unwrap().is_empty());
    }
}

/// A registry that wants to know who asks and takes nobody.
fn strict() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = "HTTP/1.1 401 no\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    });
    host
}

#[test]
fn credentials_are_asked_for_where_skepd_reads_them() {
    let mut node = Node::new();
    let host = strict();
    let package = format!("{host}/acme/exec:1.0.0");
    let file = node.path("docker.json");
    let named = format!("credentials = \"{}\"\n", file.display());
    let auth = format!(r#"{{"auths": {{"{host}": {{"auth": "bWU6c2VjcmV0"}}}}}}"#);
    let mut said = String::new();
    for (what, config, credentials) in [
        ("none named", "", "{}"),
        ("none for this registry", &named, "{}"),
        ("not taken", &named, &auth),
        ("no JSON", &named, "{"),
        ("a helper that is not there", &named, r#"{"credsStore": "skep-none"}"#),
    ] {
        fs::write(&file, credentials).unwrap();
        fs::write(node.path("config/skepd.toml"), config).unwrap();
        node.start();
        let (status, text) = node.refused(&["install", &package]);
        node.stop();
        said.push_str(&format!(
            "{what}:\n{}exit status {status}\n\n",
            text.replace(&host, "REGISTRY")
        ));
    }
    insta::assert_snapshot!(said);
}
