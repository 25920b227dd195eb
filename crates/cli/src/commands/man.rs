//! `skep man`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man as Page;
use serde::Serialize;

use super::Skep;
use crate::error::{Context as _, Result};
use crate::output::Output;

/// Write a man page for each command, as --help says it
///
/// Into /usr/local/share/man/man1, for instance; man skep-install shows one.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder, which is made
    folder: PathBuf,
}

#[derive(Serialize)]
struct Answer<'a> {
    pages: &'a [String],
}

impl Man {
    /// Runs it.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn run(self, output: &Output) -> Result<()> {
        let shown = self.folder.display();
        let mut skep = Skep::command().disable_help_subcommand(true);
        skep.build();
        fs::create_dir_all(&self.folder).context(|| format!("can't make {shown}"))?;
        let mut pages = Vec::new();
        write(&skep, &self.folder, &mut pages)?;
        output.done(&Answer { pages: &pages }, || {
            format!("{} pages in {shown}: man -l {shown}/skep.1 shows the first", pages.len())
        });
        Ok(())
    }
}

/// Writes the page of a command, and those of the commands below it.
fn write(command: &Command, folder: &Path, pages: &mut Vec<String>) -> Result<()> {
    let page = Page::new(command.clone());
    let name = page.get_filename();
    page.generate_to(folder).context(|| format!("can't write {}", folder.join(&name).display()))?;
    pages.push(name);
    let mut below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.try_for_each(|below| write(below, folder, pages))
}
