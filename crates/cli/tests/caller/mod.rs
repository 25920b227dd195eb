//! A program that makes one system call, two functions deep, each time that it is told to: `c/caller.c`.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::node::Node;

const SOURCE: &str = include_str!("../c/caller.c");

/// An argument that no other test calls with: they see each other's calls.
pub fn mark() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    0x4000_0000 | (std::process::id() << 4) | NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// `skep.toml` for sources that look for the mark.
pub fn marked(manifest: &str, mark: u32) -> String {
    format!("{manifest}\n[build]\ncflags = [\"-DMARK={mark}\"]\n")
}

/// Compiles the program that calls with a mark; `with` are more arguments.
pub fn compiled(node: &Node, name: &str, mark: u32, with: &[&str]) -> PathBuf {
    let (source, path) = (node.path("caller.c"), node.path(name));
    fs::write(&source, SOURCE).unwrap();
    let mut clang = Command::new("clang");
    clang.args(["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-nostdlib"]);
    clang.arg(format!("-DMARK={mark}"));
    clang.args(["-static", "-Wl,--build-id", "-o"]).arg(&path).arg(&source).args(with);
    let made = clang.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

/// One that runs.
pub struct Caller(Child);

impl Caller {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    pub fn call(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        self.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it and waits for that.
    pub fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}
