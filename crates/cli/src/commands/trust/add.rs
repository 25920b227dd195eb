//! `skep trust add`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_trust::Policy;
use skep_trust::policy::Rule;

use super::edit::{Editor, NewIdentity, NewKey, NewRule, same_rule, with_rule};
use super::file::Which;
use crate::commands::key::pattern_help;
use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::keys;
use crate::output::{Output, lossy};
use crate::rules::Shown;

/// Trust public keys or identities for packages: adds a rule, or to the rule of just these packages
#[derive(Debug, Args)]
pub(super) struct Add {
    #[arg(required = true, value_name = "PATTERN", help = pattern_help())]
    packages: Vec<String>,
    /// The public key (.pub); may be given several times
    #[arg(long, value_name = "PUB", required_unless_present = "identity")]
    key: Vec<PathBuf>,
    /// An identity that signs by certificate (cosign without a key), such as the URI of a workflow; `*` at its end for all that
    /// begin so
    #[arg(long, value_name = "IDENTITY", requires = "issuer", requires = "trusted_root")]
    identity: Option<String>,
    /// Who vouches for the identity, such as https://token.actions.githubusercontent.com
    #[arg(long, value_name = "URL", requires = "identity")]
    issuer: Option<String>,
    /// The authorities and logs that are believed: Sigstore's trusted_root.json
    #[arg(long, value_name = "FILE", requires = "identity")]
    trusted_root: Option<PathBuf>,
    /// Only for packages from this registry, host[:port]; may be given several times
    #[arg(long = "registry", value_name = "HOST")]
    registries: Vec<String>,
    /// How many different keys of the rule must have signed
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    /// The last moment at which signatures of the keys and the identity count, such as 2027-12-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Answer {
    #[serde(serialize_with = "lossy")]
    file: PathBuf,
    added: Added,
    rule: Shown,
}

/// What was not there before.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Added {
    Rule,
    Keys,
    Identity,
    Threshold,
    Nothing,
}

impl Add {
    /// Runs it.
    ///
    /// # Errors
    /// No key, no such pattern, a rule that cannot be meant, or the file cannot be written.
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let not_after = self.not_after.as_deref().map(moment).transpose()?;
        let mut keys = Vec::new();
        for file in &self.key {
            let key = keys::public(file)?;
            keys.push(NewKey { key, not_after: not_after.clone() });
        }
        let file = self.which.file(config);
        let (policy, added) = file.change(|text, policy| self.edit(text, policy, keys))?;
        let rule = same_rule(policy.rules(), &self.packages, &self.registries);
        let rule = rule.and_then(|at| policy.rules().get(at));
        let rule = Shown::of(rule.ok_or_else(|| Error::usage("there is no such rule"))?, &policy);
        let answer = Answer { file: file.path, added, rule };
        output.done(&answer, || answer.text());
        Ok(())
    }

    fn identity(&self) -> Result<Option<NewIdentity>> {
        let all = (&self.identity, &self.issuer, &self.trusted_root);
        let (Some(identity), Some(issuer), Some(root)) = all else { return Ok(None) };
        for (option, text) in [("identity", identity), ("issuer", issuer)] {
            if text.contains(char::is_control) {
                let shown = text.escape_debug();
                return Err(Error::usage(format!(
                    "--{option} '{shown}' holds a control character, which no certificate's does"
                )));
            }
        }
        // Wherever the rules are: a path in them is taken from there.
        let root = std::path::absolute(root).context(|| "can't tell where this is")?;
        let trusted_root = root.to_str().map(str::to_owned);
        let trusted_root = trusted_root.ok_or_else(|| {
            Error::usage(format!("--trusted-root {}: TOML has UTF-8 only", root.display()))
        })?;
        let (issuer, identity) = (issuer.clone(), identity.clone());
        let not_after = self.not_after.clone();
        Ok(Some(NewIdentity { issuer, identity, trusted_root, not_after }))
    }

    fn edit(
        &self,
        text: &str,
        policy: &Policy,
        mut keys: Vec<NewKey>,
    ) -> Result<(Option<String>, Added)> {
        let identity = self.identity()?;
        let Some(at) = same_rule(policy.rules(), &self.packages, &self.registries) else {
            let (packages, registries) = (&self.packages[..], &self.registries[..]);
            let (threshold, identity) = (self.threshold, identity.as_ref());
            let rule = NewRule { packages, registries, threshold, keys: &keys, identity };
            return Ok((Some(with_rule(text, &rule)), Added::Rule));
        };
        let rule = policy.rules().get(at);
        let is_there =
            identity.as_ref().is_some_and(|new| rule.is_some_and(|rule| new.is_in(rule)));
        let has = |key: &NewKey| {
            rule.is_some_and(|rule| rule.keys().iter().any(|other| other.key == key.key))
        };
        let known = match (keys.iter().any(has), is_there) {
            (true, _) => Some(("key", "--key PUB")),
            (false, true) => Some(("identity", "--identity IDENTITY")),
            (false, false) => None,
        };
        if let Some((what, option)) = known.filter(|_| self.not_after.is_some()) {
            return Err(Error::usage(format!(
                "the rule has that {what} already, and --not-after is for new ones"
            ))
            .hint(format!(
                "skep trust remove PATTERN {option} first, or edit its not_after by hand"
            )));
        }
        let identity = identity.filter(|_| !is_there);
        keys.retain(|key| !has(key));
        let threshold = self.threshold.filter(|n| rule.is_some_and(|rule| rule.threshold() != *n));
        let added = match (keys.is_empty(), &identity, threshold) {
            (false, ..) => Added::Keys,
            (true, Some(_), _) => Added::Identity,
            (true, None, Some(_)) => Added::Threshold,
            (true, None, None) => return Ok((None, Added::Nothing)),
        };
        let mut editor = Editor::new(text)?;
        editor.add_keys(at, &keys, threshold)?;
        if let Some(identity) = &identity {
            editor.add_identity(at, identity)?;
        }
        Ok((Some(editor.text()), added))
    }
}

impl NewIdentity {
    fn is_in(&self, rule: &Rule) -> bool {
        let root = Some(self.trusted_root.as_str());
        rule.identities().iter().any(|one| one.is(&self.issuer, &self.identity, root))
    }
}

/// A moment, before it stands in the file.
fn moment(text: &str) -> Result<String> {
    let right = skep_trust::time::parse(text).is_some();
    right.then(|| text.to_owned()).ok_or_else(|| {
        Error::usage(format!("--not-after {text}: write it as 2027-12-31T00:00:00Z"))
    })
}

impl Answer {
    fn text(&self) -> String {
        let did = match self.added {
            Added::Rule => "Added a rule to",
            Added::Keys | Added::Identity => "Added to the rule in",
            Added::Threshold => "Changed the rule in",
            Added::Nothing => "Nothing to add to",
        };
        format!("{did} {}\n{}", self.file.display(), self.rule.text())
    }
}
