//! The unit that systemd is given: it starts skepd as skepd can be started, and a stop ends nothing else.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use skep_agent::config::Args;

const UNIT: &str = include_str!("../../../packaging/skepd.service");

fn setting(name: &str) -> Option<&'static str> {
    UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn it_starts_skepd_with_the_defaults_that_the_page_names() {
    let words: Vec<&str> = setting("ExecStart").unwrap().split(' ').collect();
    let (given, defaults) = (Args::parse_from(&words), Args::parse_from(&words[..1]));
    let places = |args: &Args| {
        (
            args.config_dir.clone(),
            args.state_dir.clone(),
            args.bpffs_dir.clone(),
            args.socket.clone(),
        )
    };
    assert_eq!(places(&given), places(&defaults));
    assert_eq!(setting("RequiresMountsFor").map(Path::new), Some(given.state_dir.as_path()));
}

/// Each of these would end the holder, take away its socket, or unmount what pins lie in.
#[test]
fn a_stop_of_it_loses_no_attachment() {
    assert_eq!(setting("KillMode"), Some("process"));
    for wrong in [
        "RuntimeDirectory",
        "PrivateTmp",
        "ProtectSystem",
        "PrivateMounts",
        "PrivateDevices",
        "ProtectHome",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectControlGroups",
        "ProtectProc",
        "ReadWritePaths",
        "ExecStop",
    ] {
        assert_eq!(setting(wrong), None, "{wrong}");
    }
}

#[test]
fn systemd_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("skepd.service");
    let built = UNIT.replace("/usr/local/bin/skepd", env!("CARGO_BIN_EXE_skepd"));
    std::fs::write(&unit, built).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let output = verify.args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("skepd")).collect();
    assert!(ours.is_empty(), "{said}");
}

/// What `systemd-analyze security` says of it, which docs/reference/skepd.md names: a directive that goes makes it worse.
#[test]
fn its_exposure_is_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("skepd.service");
    std::fs::write(&unit, UNIT).unwrap();
    let mut analyze = Command::new("systemd-analyze");
    let output = analyze.args(["security", "--offline=true", "--no-pager"]).arg(&unit).output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    let (_, overall) = said.split_once("Overall exposure level for skepd.service: ").unwrap();
    let score = overall.split_whitespace().next().unwrap();
    let page = include_str!("../../../docs/reference/skepd.md");
    assert!(page.contains(&format!("gives it {score} ")), "{overall}");
}
