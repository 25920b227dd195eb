//! Pages of docs/ as they are typed: the commands of their `console` blocks, held against what the page shows below each.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Printed after each command, before its exit status.
const MARK: &str = "\u{1e}";
/// A command, and the lines that the page shows below it.
pub struct Typed {
    pub command: String,
    pub shown: Vec<String>,
}

/// The commands of the page's `console` blocks; a `diff` block is one that applies it.
pub fn commands(page: &str) -> Vec<Typed> {
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
fn script(before: &str, typed: &[Typed]) -> String {
    let mut script = format!("exec 2>&1\n{before}printf '{MARK}'\n");
    for Typed { command, .. } in typed {
        writeln!(script, "{command}\nprintf '{MARK}%d\\n' $?").unwrap();
    }
    script
}

/// Types the commands in `folder`, after `before`, with these programs in reach: each ends well and prints what the page shows.
pub fn follow(typed: &[Typed], before: &str, folder: &Path, path: &str) {
    // What never comes to listen is not waited for without end.
    let output = Command::new("timeout")
        .args(["300", "bash", "-c", &script(before, typed)])
        .current_dir(folder)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut answers = text.split(MARK);
    let said = answers.next().unwrap();
    let mut printed = answers.next().unwrap_or_else(|| panic!("it never began:\n{said}"));
    for Typed { command, shown } in typed {
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
}

/// Whether the lines are those shown, where `…` stands for anything and a line of it for any lines.
pub fn matches(shown: &[String], printed: &[&str]) -> bool {
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

/// Where the binaries of this build are.
pub fn binaries() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    me.parent().unwrap().parent().unwrap().to_owned()
}

/// Where `make test` keeps what no package manager has.
pub fn cache() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    set.map_or_else(home, PathBuf::from).join("skep")
}

/// A port of the loopback that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
