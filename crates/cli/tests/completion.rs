//! Completions and man pages are of the commands that there are, and shells take them.
#![allow(clippy::unwrap_used)]

mod wait;

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use skep_cli::commands::Skep;

fn skep(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(args);
    command
}

fn printed(args: &[&str]) -> String {
    let output = wait::output(&mut skep(args));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn commands() -> Vec<String> {
    Skep::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// The script of a shell, in a file.
fn script(shell: &str, folder: &Path) -> String {
    let script = printed(&["completion", shell]);
    for command in commands() {
        assert!(script.contains(&command), "{shell} lacks {command}");
    }
    let file = folder.join(shell);
    fs::write(&file, script).unwrap();
    file.to_string_lossy().into_owned()
}

#[test]
fn each_shell_takes_its_script() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = script(shell, folder.path());
        let output = wait::output(Command::new(shell).args([check, &script]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
    }
    let output = wait::output(&mut skep(&["completion", "csh"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = script("bash", folder.path());
    let completed = |words: &str, last: &str| {
        let at = words.split(' ').count() - 1;
        let ask = format!(
            "source {script}; COMP_WORDS=({words}); COMP_CWORD={at}; _skep skep {last:?} ''; echo \"${{COMPREPLY[@]}}\""
        );
        let output = wait::output(Command::new("bash").args(["--norc", "-c", &ask]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("skep sto", "sto"), "stop");
    assert_eq!(completed("skep stop --with", "--with"), "--with-users");
}

#[test]
fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let path = pages.to_string_lossy();
    let said = printed(&["man", &path]);
    let all = fs::read_dir(&pages).unwrap().count();
    assert!(said.starts_with(&format!("{all} pages in ")), "{said}");
    let page = |name: &str| fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
    for command in commands() {
        let page = page(&format!("skep-{command}"));
        assert!(page.contains(&format!(".TH skep-{command} 1")), "{page}");
    }
    assert!(page("skep").contains(".SH SUBCOMMANDS"));
    assert!(page("skep-trust-add").contains("trust"));
    assert!(page("skep-stop").contains("Detach a service and keep its state"));
    assert_eq!(printed(&["man", &path, "--quiet"]), "");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = wait::output(&mut skep(&["man", &file.to_string_lossy()]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: can't make "));
}
