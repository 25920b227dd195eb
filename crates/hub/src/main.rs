//! `skep-hub`: serves the hub, and makes the tokens that publishers push with.

mod command;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use skep_hub::store::StoreError;

fn main() -> ExitCode {
    match command::Command::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::stderr().write_all(explained(&error).as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, but for those that it says already, and what to do.
fn explained(error: &anyhow::Error) -> String {
    let mut text = "skep-hub".to_owned();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text += &format!(": {cause}");
        }
    }
    let hint = error.downcast_ref().and_then(StoreError::hint);
    text + &hint.map_or_else(String::new, |hint| format!("\nhint: {hint}")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("error returned from database: {0}")]
    struct Twice(#[source] std::io::Error);

    #[test]
    fn an_error_says_each_cause_once_and_what_to_do() {
        let refused = |number| StoreError::File {
            action: "create",
            path: "/var/lib/skep-hub".into(),
            source: std::io::Error::from_raw_os_error(number),
        };
        assert_eq!(
            explained(&refused(13).into()),
            "skep-hub: cannot create /var/lib/skep-hub: Permission denied (os error 13)\n\
             hint: run it as a user who may write there, or name another folder with --data\n"
        );
        let full = explained(&refused(28).into());
        assert!(
            full.ends_with("hint: make room there, or name another folder with --data\n"),
            "{full}"
        );
        let twice = Twice(std::io::Error::from_raw_os_error(28));
        assert_eq!(
            explained(&twice.into()),
            "skep-hub: error returned from database: No space left on device (os error 28)\n"
        );
    }
}
