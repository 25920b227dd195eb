//! `skep cache`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde::Serialize;
use skep_spec::Digest;
use skep_trust::time;

use crate::cache::{self, Cached};
use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::output::{Output, bytes, table};

/// Show and remove what was downloaded and can be had again
///
/// Packages that verify, inspect, diff and run pulled lie in one store, each blob once; builds keep kernel types there.
#[derive(Debug, Args)]
pub struct Cache {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    List(List),
    Prune(Prune),
}

/// List what was downloaded, and how much it takes
#[derive(Debug, Args)]
struct List {}

/// Remove downloaded packages, with all that only they need
///
/// Waits for commands that are at work with them. No service needs them: skepd has a store of its own.
#[derive(Debug, Args)]
struct Prune {
    /// Only those that no command has used for so many days
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// Remove what builds keep as well: kernel types, kernels. A skep.lock may pin types that Debian has no more
    #[arg(long, conflicts_with = "older_than")]
    all: bool,
}

#[derive(Serialize)]
struct Listed {
    folder: PathBuf,
    packages: Vec<Package>,
    /// Of all packages together: they share blobs.
    bytes: u64,
    downloads: Vec<Download>,
}

#[derive(Serialize)]
struct Package {
    package: String,
    digest: Digest,
    used: Option<String>,
}

#[derive(Serialize)]
struct Download {
    kind: &'static str,
    folder: PathBuf,
    files: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct Pruned {
    blobs: u64,
    bytes: u64,
    downloads: Vec<Download>,
}

impl Cache {
    /// Runs it.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let cache = cache::Cache::of(config);
        match self.command {
            CacheCommand::List(_) => list(&cache, output),
            CacheCommand::Prune(prune) => prune.run(&cache, output),
        }
    }
}

fn list(cache: &cache::Cache, output: &Output) -> Result<()> {
    let package = |cached: Cached| Package {
        package: cached.package.to_string(),
        digest: cached.digest,
        used: time::format(cached.used),
    };
    let folder = cache.packages_folder();
    let listed = Listed {
        packages: cache.packages()?.into_iter().map(package).collect(),
        bytes: cache::size(&folder.join("blobs")).0,
        downloads: downloads(cache),
        folder,
    };
    output.answer(&listed, || listed.text());
    Ok(())
}

fn downloads(cache: &cache::Cache) -> Vec<Download> {
    let download = |(kind, folder): (&'static str, PathBuf)| {
        let (bytes, files) = cache::size(&folder);
        Download { kind, folder, files, bytes }
    };
    cache.downloads().map(download).filter(|download| download.files > 0).collect()
}

impl Prune {
    fn run(&self, cache: &cache::Cache, output: &Output) -> Result<()> {
        let since = self.older_than.map(|days| {
            let before = Duration::from_secs(u64::from(days) * 86_400);
            let since = SystemTime::now().checked_sub(before);
            since.ok_or_else(|| {
                Error::usage(format!("--older-than {days}: that is before time began"))
            })
        });
        let collected = cache.prune(since.transpose()?)?;
        let downloads = if self.all { downloads(cache) } else { Vec::new() };
        for Download { folder, .. } in &downloads {
            fs::remove_dir_all(folder)
                .context(|| format!("can't remove '{}'", folder.display()))?;
        }
        let pruned = Pruned { blobs: collected.blobs, bytes: collected.bytes, downloads };
        output.done(&pruned, || pruned.text());
        Ok(())
    }
}

impl Listed {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.packages.is_empty() {
            let rows = self.packages.iter().map(|package| {
                let used = package.used.clone().unwrap_or_default();
                [package.package.clone(), package.digest.short(), used]
            });
            parts.push(table(["PACKAGE", "DIGEST", "LAST USED"], rows));
            parts.push(format!("{} together, in {}", bytes(self.bytes), self.folder.display()));
        }
        parts.extend(self.downloads.iter().map(Download::text));
        match parts.is_empty() {
            true => "Nothing was downloaded.".to_owned(),
            false => parts.join("\n"),
        }
    }
}

impl Pruned {
    fn text(&self) -> String {
        let first = format!("Removed {} blobs of packages, {}", self.blobs, bytes(self.bytes));
        let lines = std::iter::once(first).chain(self.downloads.iter().map(Download::text));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Download {
    fn text(&self) -> String {
        let (size, folder) = (bytes(self.bytes), self.folder.display());
        format!("{}: {} files, {size}, in {folder}", self.kind, self.files)
    }
}
