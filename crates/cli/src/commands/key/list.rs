//! `skep key list`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_oci::regular;
use skep_trust::{KeyId, PublicKey, SecretKey};

use super::with;
use crate::error::{Context as _, Result};
use crate::named;
use crate::output::{Output, table};

/// List the key pairs of a folder: their ids, and whether the private half is there, too
#[derive(Debug, Args)]
pub struct List {
    /// The folder that holds the PREFIX.pub files
    #[arg(default_value = ".")]
    folder: PathBuf,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    id: KeyId,
    r#type: String,
    private: Private,
}

/// Where the private half of a key is.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Private {
    /// Beside it.
    Here,
    /// Beside it, under a passphrase.
    Passphrase,
    /// Somewhere else.
    Elsewhere,
}

impl List {
    pub(super) fn run(&self, output: &Output) -> Result<()> {
        let folder = &self.folder;
        let cannot = || format!("can't list the folder '{}'", folder.display());
        let mut keys = Vec::new();
        for entry in named::read(folder, |folder| fs::read_dir(folder))? {
            keys.extend(listed(&entry.context(cannot)?.path()));
        }
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        output.answer(&keys, || {
            let rows = keys.iter().map(|key| {
                let private = match key.private {
                    Private::Here => "yes",
                    Private::Passphrase => "under a passphrase",
                    Private::Elsewhere => "no",
                };
                [key.name.clone(), key.r#type.clone(), private.to_owned(), key.id.to_string()]
            });
            table(["NAME", "TYPE", "PRIVATE", "ID"], rows)
        });
        Ok(())
    }
}

/// The key of a `.pub` file; others put files there, too, which are none.
fn listed(path: &Path) -> Option<Listed> {
    path.extension().filter(|extension| *extension == "pub")?;
    let public = PublicKey::from_pem(&regular::text(path).ok()?).ok()?;
    let prefix = path.with_extension("");
    let private = match regular::text(&with(&prefix, "key")) {
        Ok(pem) if SecretKey::is_encrypted(&pem) => Private::Passphrase,
        Ok(_) => Private::Here,
        Err(_) => Private::Elsewhere,
    };
    let name = prefix.file_name()?.to_string_lossy().into_owned();
    Some(Listed { name, id: public.id(), r#type: public.kind().to_string(), private })
}
