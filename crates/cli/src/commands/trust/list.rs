//! `skep trust list`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_spec::Digest;
use skep_trust::policy::{Policy, Rule};
use skep_trust::{KeyId, time};

use super::file::Which;
use crate::config::Config;
use crate::error::Result;
use crate::output::{Output, lossy};

/// List the rules of this machine, and what is revoked
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Answer {
    #[serde(serialize_with = "lossy")]
    file: PathBuf,
    rules: Vec<Shown>,
    revoked_keys: Vec<KeyId>,
    revoked_digests: Vec<Digest>,
}

/// A rule as it is shown.
#[derive(Serialize)]
pub(super) struct Shown {
    packages: Vec<String>,
    registries: Vec<String>,
    threshold: usize,
    keys: Vec<ShownKey>,
    keyless: bool,
}

#[derive(Serialize)]
struct ShownKey {
    id: KeyId,
    r#type: String,
    not_after: Option<String>,
    revoked: bool,
}

impl List {
    /// Runs it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let file = self.which.file(config);
        let (_, policy) = file.read()?;
        let answer = Answer {
            file: file.path,
            rules: policy.rules().iter().map(|rule| Shown::of(rule, &policy)).collect(),
            revoked_keys: policy.revoked_keys().iter().copied().collect(),
            revoked_digests: policy.revoked_digests().iter().copied().collect(),
        };
        output.answer(&answer, || answer.text());
        Ok(())
    }
}

impl Answer {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self.rules.iter().map(Shown::text).collect();
        if lines.is_empty() {
            let file = self.file.display();
            lines.push(format!(
                "No rules in {file}: nobody is trusted. skep trust add PATTERN --key PUB adds one."
            ));
        }
        lines.extend(self.revoked_keys.iter().map(|key| format!("revoked: key {key}")));
        lines.extend(self.revoked_digests.iter().map(|digest| format!("revoked: {digest}")));
        lines.join("\n")
    }
}

impl Shown {
    pub(super) fn of(rule: &Rule, policy: &Policy) -> Self {
        let key = |trusted: &skep_trust::policy::TrustedKey| ShownKey {
            id: trusted.key.id(),
            r#type: trusted.key.kind().to_string(),
            not_after: trusted.not_after.and_then(time::format),
            revoked: policy.is_key_revoked(&trusted.key.id()),
        };
        Self {
            packages: rule.patterns().iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            registries: rule.registries().to_vec(),
            threshold: rule.threshold(),
            keys: rule.keys().iter().map(key).collect(),
            keyless: rule.is_keyless(),
        }
    }

    pub(super) fn text(&self) -> String {
        let from = match self.registries.as_slice() {
            [] => String::new(),
            some => format!(" from {}", some.join(", ")),
        };
        let keys = match self.keys.len() {
            1 => "this key".to_owned(),
            several => format!("{} of these {several} keys", self.threshold),
        };
        let mut lines = vec![format!("{}{from}: signed by {keys}", self.packages.join(", "))];
        for ShownKey { id, r#type, not_after, revoked } in &self.keys {
            let until = not_after.as_ref().map(|when| format!(", until {when}"));
            let revoked = if *revoked { ", REVOKED" } else { "" };
            lines.push(format!("  {id} ({type}{}{revoked})", until.unwrap_or_default()));
        }
        if self.keyless {
            lines.push("  keyless identities, which are not supported yet".to_owned());
        }
        lines.join("\n")
    }
}
