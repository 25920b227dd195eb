//! `skep-hub token`

use std::io::Write as _;

use anyhow::bail;
use skep_hub::name::Repository;
use skep_hub::store::Store;

use super::Data;

/// Make, list and revoke the tokens that publishers push with.
#[derive(clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once: the hub keeps only its SHA-256.
    New {
        #[command(flatten)]
        data: Data,
        /// The publisher: the token pushes below NAME/.
        #[arg(long, value_name = "NAME", value_parser = publisher)]
        publisher: String,
        /// What the token is for, to tell it from others.
        #[arg(long = "name", value_name = "LABEL", default_value = "")]
        label: String,
    },
    /// List the tokens.
    List {
        #[command(flatten)]
        data: Data,
    },
    /// Make a token count no more, at once.
    Revoke {
        #[command(flatten)]
        data: Data,
        /// Its number, from `token list`.
        id: i64,
    },
}

impl TokenCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::New { data, publisher, label } => {
                let store = Store::open_existing(&data.folder).await?;
                let secret = store.new_token(&publisher, &label).await?;
                writeln!(std::io::stdout(), "{}", secret.reveal())?;
            }
            Self::List { data } => list(&Store::open_existing(&data.folder).await?).await?,
            Self::Revoke { data, id } => {
                if !Store::open_existing(&data.folder).await?.revoke_token(id).await? {
                    bail!("there is no token {id} to revoke: `skep-hub token list` shows them");
                }
            }
        }
        Ok(())
    }
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{:<4} {:<20} {:<19}  {:<8} FOR", "ID", "PUBLISHER", "MADE (UTC)", "STATE")?;
    for token in store.tokens().await? {
        let state = if token.revoked { "revoked" } else { "valid" };
        let (id, publisher, made) = (token.id, token.publisher, token.created);
        writeln!(out, "{id:<4} {publisher:<20} {made}  {state:<8} {}", token.label)?;
    }
    Ok(())
}

/// A publisher is the first component of a repository.
fn publisher(text: &str) -> Result<String, String> {
    let fits = !text.contains('/') && format!("{text}/x").parse::<Repository>().is_ok();
    if fits && format!("{text}/x").parse::<skep_spec::PackageName>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("a publisher is a-z, 0-9 and single hyphens between them, at most 64 characters".into())
}
