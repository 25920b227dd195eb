//! Requests as any client makes them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::node::Node;
use crate::wait;

/// The status and the body of what skepd answers to a request's head and body.
pub fn answer(node: &Node, head: &str, body: &str) -> (String, String) {
    let (mut stream, body) = (UnixStream::connect(node.socket()).unwrap(), body.to_owned());
    let head = format!("{head} HTTP/1.1\r\nHost: skepd\r\nConnection: close\r\n");
    let said = wait::within("skepd to answer", move || {
        // It may have answered and closed before it has read all.
        let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        String::from_utf8(said).unwrap()
    });
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

/// What came of an operation.
pub fn put(node: &Node, path: &str, body: &str) -> Value {
    let (status, said) = answer(node, &format!("PUT {path}"), body);
    assert_eq!(status, "202", "{said}");
    let operation: Value = serde_json::from_str(&said).unwrap();
    let (_, said) = answer(node, &format!("GET /v1/operations/{}?wait=true", operation["id"]), "");
    serde_json::from_str(&said).unwrap()
}
