//! docs/guide/first-package.md, typed: every command works, and prints what the page shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../docs/guide/first-package.md");
/// Printed after each command, before its exit status.
const MARK: &str = "\u{1e}";
/// Whatever comes of it, nothing stays.
const END: &str = "trap 'skep remove opens; kill $(jobs -p); wait; rmdir BPFFS' EXIT\n";

/// A command, and the lines that the page shows below it.
struct Typed {
    command: String,
    shown: Vec<String>,
}

/// The commands of the page's `console` blocks; a `diff` block is one that applies it.
fn commands(page: &str) -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    let mut block = None;
    for line in page.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(language)) => {
                block = Some(language);
                if language == "diff" {
                    let command = "git apply - <<'END'\n".to_owned();
                    typed.push(Typed { command, shown: Vec::new() });
                }
            }
            (Some(language), Some(_)) => {
                block = None;
                if language == "diff" {
                    typed.last_mut().unwrap().command += "END";
                }
            }
            (Some("diff"), None) => writeln!(typed.last_mut().unwrap().command, "{line}").unwrap(),
            (Some("console"), None) => match line.strip_prefix("$ ") {
                Some(command) => {
                    typed.push(Typed { command: command.to_owned(), shown: Vec::new() });
                }
                None => typed.last_mut().unwrap().shown.push(line.to_owned()),
            },
            _ => {}
        }
    }
    typed
}

/// All of them as one script.
fn script(typed: &[Typed]) -> String {
    let mut script = format!("exec 2>&1\n{END}");
    for Typed { command, .. } in typed {
        writeln!(script, "{command}\nprintf '{MARK}%d\\n' $?").unwrap();
    }
    script
}

/// Whether the lines are those shown, where `…` stands for anything and a line of it for any lines.
fn matches(shown: &[String], printed: &[&str]) -> bool {
    let Some((first, rest)) = shown.split_first() else { return printed.is_empty() };
    if first == "…" {
        return (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]));
    }
    printed.split_first().is_some_and(|(line, more)| like(first, line) && matches(rest, more))
}

fn like(shown: &str, line: &str) -> bool {
    match shown.split_once('…') {
        None => shown == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| like(after, &rest[at..]))
        }),
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_first_package_is_made_as_the_guide_says() {
    let me = std::env::current_exe().unwrap();
    let binaries = me.parent().unwrap().parent().unwrap();
    let bpffs = format!("/sys/fs/bpf/skep-guide-{}", std::process::id());
    let hub = format!("127.0.0.1:{}", free_port());
    let own = |text: &str| {
        text.replace("127.0.0.1:7700", &hub)
            .replace("/sys/fs/bpf/first", &bpffs)
            .replace("BPFFS", &bpffs)
    };
    let typed = commands(&own(PAGE));
    assert!(typed.len() > 20, "the page shows commands");
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    // What never comes to listen is not waited for without end.
    let output = Command::new("timeout")
        .args(["300", "bash", "-c", &own(&script(&typed))])
        .current_dir(folder.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut answers = text.split(MARK);
    let mut printed = answers.next().unwrap();
    for Typed { command, shown } in &typed {
        let answer = answers.next().unwrap_or_else(|| panic!("'{command}' never ended:\n{text}"));
        let (status, next) = answer.split_once('\n').unwrap();
        let lines: Vec<&str> = printed.lines().collect();
        assert!(status == "0", "$ {command}\n{printed}\nexit status {status}");
        assert!(
            matches(shown, &lines),
            "$ {command}\n{printed}\nand the page shows:\n{}",
            shown.join("\n")
        );
        printed = next;
    }
    assert!(!Path::new(&bpffs).exists(), "{bpffs} is left");
}

#[test]
fn dots_stand_for_anything() {
    let shown = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    for (page, printed, same) in [
        ("a\n…\nb", "a\nb", true),
        ("a\n…\nb", "a\nx\ny\nb", true),
        ("a …b", "a and b", true),
        ("a", "a\nb", false),
        ("a\nb", "a", false),
        ("…", "", true),
    ] {
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(matches(&shown(page), &lines), same, "{page} | {printed}");
    }
}
