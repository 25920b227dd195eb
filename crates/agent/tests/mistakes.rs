//! What a person may get wrong on skepd's command line.

use std::process::Command;

#[test]
fn a_filter_that_is_none_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut skepd = Command::new(env!("CARGO_BIN_EXE_skepd"));
    skepd.args(["--log", "skep_runtime=loud"]).arg("--state-dir").arg(&state);
    let output = skepd.arg("--socket").arg(folder.path().join("skepd.sock")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("skepd: --log 'skep_runtime=loud' is no filter: "), "{said}");
    assert!(said.contains("give a level"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    assert!(!state.exists());
}
