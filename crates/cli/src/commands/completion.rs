//! `skep completion`.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};

use super::Skep;
use crate::error::Result;
use crate::output::Output;

/// Print what a shell needs to complete skep's commands and options
///
/// For bash: skep completion bash > /etc/bash_completion.d/skep. For zsh: skep completion zsh > "${fpath[1]}/_skep". For fish:
/// skep completion fish > ~/.config/fish/completions/skep.fish.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    shell: Language,
}

/// The shells whose completions are tested.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    /// Runs it.
    ///
    /// # Errors
    /// Never.
    pub fn run(self, output: &Output) -> Result<()> {
        output.raw(self.shell.script().trim_end());
        Ok(())
    }
}

impl Language {
    fn script(self) -> String {
        let shell = match self {
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut Skep::command(), "skep", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}
