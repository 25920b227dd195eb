//! Objects of a few lines of C, for unit tests.

use std::process::Command;

use skep_object::Facts;

use crate::choose::Objects;

/// The object that clang makes of this source.
pub(crate) fn compiled(source: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (c, object) = (folder.path().join("x.c"), folder.path().join("x.o"));
    std::fs::write(&c, source).unwrap();
    let mut clang = Command::new("clang");
    clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
    assert!(clang.status().unwrap().success());
    std::fs::read(object).unwrap()
}

/// The objects of a package with this one alone.
pub(crate) fn alone(object: &[u8]) -> Objects {
    Objects::from([("x".to_owned(), Facts::parse(object).unwrap())])
}
