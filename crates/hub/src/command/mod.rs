//! The command line.

mod serve;
mod token;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

/// The hub for eBPF packages: an OCI registry with pages that show what a package does.
#[derive(Parser)]
#[command(name = "skep-hub", version)]
pub enum Command {
    /// Serve the registry and its pages.
    Serve(Box<serve::Serve>),
    /// Make, list and revoke the tokens that publishers push with.
    #[command(subcommand)]
    Token(token::TokenCommand),
}

/// Where everything is.
#[derive(clap::Args)]
pub struct Data {
    /// The folder of everything that the hub keeps; `serve` makes it if it is not there.
    #[arg(long = "data", value_name = "DIR", default_value = "/var/lib/skep-hub")]
    folder: PathBuf,
}

impl Command {
    /// Does what was asked.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(8)))
            .enable_all()
            .build()
            .context("cannot start threads")?;
        match self {
            Self::Serve(serve) => runtime.block_on(serve.run()),
            Self::Token(token) => runtime.block_on(token.run()),
        }
    }
}
