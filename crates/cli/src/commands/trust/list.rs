//! `skep trust list`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_spec::Digest;
use skep_trust::KeyId;

use super::file::Which;
use crate::config::Config;
use crate::error::Result;
use crate::output::{Output, lossy};
use crate::rules::Shown;

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
