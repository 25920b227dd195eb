//! `trust.toml`: the rules of this machine.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_object::shown;
use skep_oci::{regular, trust_file};
use skep_trust::attestation;
use skep_trust::policy::{Identity, Rule, TrustedKey};
use skep_trust::{KeyId, Policy, time};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::keys;
use crate::named;

/// By whose signatures a package is checked.
#[derive(Clone, Debug, Args)]
pub struct Signers {
    /// Trust this public key alone
    #[arg(long, value_name = "PUB", conflicts_with = "policy")]
    key: Option<PathBuf>,
    /// Trust as this file says, instead of /etc/skep/trust.toml
    #[arg(long, value_name = "trust.toml")]
    policy: Option<PathBuf>,
}

impl Signers {
    /// Whether the command line names any.
    #[must_use]
    pub const fn are_named(&self) -> bool {
        self.key.is_some() || self.policy.is_some()
    }

    /// The rules that say so.
    ///
    /// # Errors
    /// There are none, or the file that is named is none.
    pub fn rules(&self, config: &Config) -> Result<Policy> {
        if let Some(file) = &self.key {
            return Ok(Policy::of_keys(vec![keys::public(file)?], 1));
        }
        must(&self.policy.clone().unwrap_or_else(|| config.config_dir.join("trust.toml")))
    }
}

/// This machine's rules. Where there are none nobody is trusted; rules that cannot be read are no such case, for they may
/// revoke.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn of_machine(config: &Config) -> Result<Policy> {
    read(&config.config_dir.join("trust.toml")).map(|(_, policy)| policy)
}

/// The text and the rules of a file; of one that is not there, none.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read(file: &Path) -> Result<(String, Policy)> {
    let text = named::read(file, trust_file::text)?;
    let policy = parse(&text, file)?;
    Ok((text, policy))
}

/// The rules of a file that must be there.
///
/// # Errors
/// As [`read`].
pub fn must(file: &Path) -> Result<Policy> {
    let text = named::read(file, regular::text);
    parse(&text.map_err(|e| e.hint("name a key with --key, or rules with --policy"))?, file)
}

fn parse(text: &str, file: &Path) -> Result<Policy> {
    let caused = |error| Error::caused(Kind::Usage, format!("'{}'", file.display()), &error);
    trust_file::rules(text, file).map_err(caused)
}

/// A rule as it is shown.
#[derive(Serialize)]
pub struct Shown {
    packages: Vec<String>,
    registries: Vec<String>,
    threshold: usize,
    keys: Vec<ShownKey>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keyless: Vec<ShownIdentity>,
    follow: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attestations: Vec<attestation::Kind>,
}

#[derive(Serialize)]
struct ShownKey {
    id: KeyId,
    r#type: String,
    not_after: Option<String>,
    revoked: bool,
}

#[derive(Serialize)]
struct ShownIdentity {
    issuer: String,
    identity: String,
    trusted_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
}

impl Shown {
    /// As it counts under a policy.
    #[must_use]
    pub fn of(rule: &Rule, policy: &Policy) -> Self {
        let key = |trusted: &TrustedKey| ShownKey {
            id: trusted.key.id(),
            r#type: trusted.key.kind().to_string(),
            not_after: trusted.not_after.and_then(time::format),
            revoked: policy.is_key_revoked(&trusted.key.id()),
        };
        let identity = |one: &Identity| ShownIdentity {
            issuer: one.issuer.clone(),
            identity: one.identity.clone(),
            trusted_root: one.trusted_root.clone(),
            not_after: one.not_after.and_then(time::format),
        };
        Self {
            packages: rule.patterns().iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            registries: rule.registries().to_vec(),
            threshold: rule.threshold(),
            keys: rule.keys().iter().map(key).collect(),
            keyless: rule.identities().iter().map(identity).collect(),
            follow: rule.follows(),
            attestations: rule.attestations().iter().copied().collect(),
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let from = match self.registries.as_slice() {
            [] => String::new(),
            some => format!(" from {}", some.join(", ")),
        };
        let keys = match (self.keys.len(), self.keyless.len()) {
            (1, 0) => "this key".to_owned(),
            (several, 0) => format!("{} of these {several} keys", self.threshold),
            (0, 1) => "this identity".to_owned(),
            (keys, identities) => format!("{} of these {}", self.threshold, keys + identities),
        };
        let mut lines = vec![format!("{}{from}: signed by {keys}", self.packages.join(", "))];
        for ShownKey { id, r#type, not_after, revoked } in &self.keys {
            let until = not_after.as_ref().map(|when| format!(", until {when}"));
            let revoked = if *revoked { ", REVOKED" } else { "" };
            lines.push(format!("  {id} ({type}{}{revoked})", until.unwrap_or_default()));
        }
        if self.follow {
            lines.push("  and whatever keys these lead to (skepd follows them)".to_owned());
        }
        for ShownIdentity { issuer, identity, trusted_root, not_after } in &self.keyless {
            let root = trusted_root.as_deref().unwrap_or("no trusted_root: it never counts");
            let (identity, issuer) = (shown(identity), shown(issuer));
            let until = not_after.as_ref().map(|when| format!(", until {when}"));
            let (root, until) = (shown(root), until.unwrap_or_default());
            lines.push(format!("  {identity} of {issuer} (certified by {root}{until})"));
        }
        if !self.attestations.is_empty() {
            let kinds: Vec<_> = self.attestations.iter().map(|kind| kind.as_str()).collect();
            lines.push(format!("  and attested by one of them: {}", kinds.join(", ")));
        }
        lines.join("\n")
    }
}
