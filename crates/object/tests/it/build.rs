//! Test objects from C.

use std::path::Path;
use std::process::Command;

use skep_object::Facts;

/// Compiles a file of `tests/c`, with the header of the standard's own objects.
pub fn object(file: &str, flags: &[&str]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("out.o");
    let output = Command::new("clang")
        .args(["-target", "bpf", "-O2", "-mcpu=v3", "-c", "-Wall", "-Wno-unused-function"])
        .args(["-I../../../../spec/vectors/files/objects", "-Wno-missing-declarations", "-o"])
        .arg(&path)
        .args(if flags.contains(&"no-debug") {
            vec![]
        } else {
            vec!["-g", "-fdebug-compilation-dir=."]
        })
        .args(flags.iter().filter(|flag| **flag != "no-debug"))
        .arg(file)
        .current_dir(folder)
        .output()
        .expect("clang runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path).unwrap()
}

/// Compiles a file of `tests/c` and reads it.
pub fn facts(file: &str, flags: &[&str]) -> Facts {
    Facts::parse(&object(file, flags)).unwrap()
}

/// An object of the standard, whose names are as long as names may be.
pub fn long() -> Facts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../../spec/vectors/files/objects/long.o");
    Facts::parse(&std::fs::read(path).unwrap()).unwrap()
}
