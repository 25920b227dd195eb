//! `skep trust remove`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use skep_trust::policy::{Identity, Rule};
use skep_trust::{KeyId, Policy};

use super::edit::Editor;
use super::file::Which;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::keys;
use crate::moment;
use crate::output::{Output, lossy};
use crate::rules::Shown;

/// Trust nobody any more for packages, or keys and identities no more
///
/// What runs goes on running. A key that may be in others' hands belongs under [revoked]: there no rule trusts it.
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The pattern as skep trust list shows it
    #[arg(value_name = "PATTERN")]
    packages: String,
    /// Only this key of the rule: its file (.pub) or its id; may be given several times
    #[arg(long, value_name = "PUB|ID")]
    key: Vec<String>,
    /// Only this identity of the rule, as skep trust list shows it; may be given several times
    #[arg(long, value_name = "IDENTITY")]
    identity: Vec<String>,
    /// Only where this one vouches for the identity
    #[arg(long, value_name = "URL", requires = "identity")]
    issuer: Option<String>,
    /// Keep the identity out, also where a wider one of the rule has its name: it stays there as one that has ended
    #[arg(long, requires = "identity")]
    keep_out: bool,
    /// Take the identity out although a wider one of the rule counts for it then
    #[arg(long, requires = "identity", conflicts_with = "keep_out")]
    leave_to_wider: bool,
    /// The rule for packages from this registry, where there are several for the pattern
    #[arg(long, value_name = "HOST")]
    registry: Option<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Answer {
    #[serde(serialize_with = "lossy")]
    file: PathBuf,
    pattern: String,
    removed: Removed,
    /// What is left of the rule.
    left: Option<Shown>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Removed {
    Rule,
    Pattern,
    Keys,
    Identities,
    /// They stay in the rule, and count no more.
    KeptOut,
}

impl Remove {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such rule or key, what is left of it cannot be meant, or the file cannot be written.
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let file = self.which.file(config);
        let (policy, (at, removed)) = file.change(|text, policy| {
            let now = moment::now(config)?;
            let (text, at, removed) = self.edit(text, policy, &file.path, now)?;
            Ok((Some(text), (at, removed)))
        })?;
        let left = match removed {
            Removed::Rule => None,
            _ => policy.rules().get(at).map(|rule| Shown::of(rule, &policy)),
        };
        let answer = Answer { file: file.path, pattern: self.packages, removed, left };
        output.done(&answer, || answer.text());
        Ok(())
    }

    fn edit(
        &self,
        text: &str,
        policy: &Policy,
        file: &Path,
        now: SystemTime,
    ) -> Result<(String, usize, Removed)> {
        let at = self.rule(policy.rules(), file)?;
        let rule = policy.rules().get(at);
        let mut editor = Editor::new(text)?;
        let (keys, identities) = (self.keys(rule)?, self.identities(rule)?);
        let ended = if self.keep_out { 0 } else { identities.len() };
        self.leaves_somebody(rule, keys.len() + ended)?;
        if !self.keep_out && !self.leave_to_wider {
            self.widens_nothing(rule, &identities, now)?;
        }
        let removed = match rule.map_or(0, |rule| rule.patterns().len()) {
            _ if self.keep_out => {
                editor.remove_keys(at, &keys)?;
                editor.end_identities(at, &identities)?;
                Removed::KeptOut
            }
            _ if !keys.is_empty() || !identities.is_empty() => {
                editor.remove_keys(at, &keys)?;
                editor.remove_identities(at, &identities)?;
                if keys.is_empty() { Removed::Identities } else { Removed::Keys }
            }
            0 | 1 => {
                editor.remove_rule(at)?;
                Removed::Rule
            }
            _ => {
                editor.remove_pattern(at, &self.packages)?;
                Removed::Pattern
            }
        };
        Ok((editor.text(), at, removed))
    }

    /// Which rule, counted from 0.
    fn rule(&self, rules: &[Rule], file: &Path) -> Result<usize> {
        let has = |rule: &Rule| rule.patterns().iter().any(|p| p.as_str() == self.packages);
        let from = |rule: &Rule| match &self.registry {
            Some(registry) => rule.registries().contains(registry),
            None => true,
        };
        let fits = |(_, rule): &(usize, &Rule)| has(rule) && from(rule);
        let mut found = rules.iter().enumerate().filter(fits);
        let shown = file.display();
        let pattern = &self.packages;
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(at),
            (None, _) => Err(Error::usage(format!(
                "{shown} has no rule for '{pattern}'{}",
                match &self.registry {
                    Some(registry) => format!(" from {registry}"),
                    None => String::new(),
                }
            ))
            .hint("skep trust list shows the rules and their patterns")),
            _ => Err(Error::usage(format!("{shown} has several rules for '{pattern}'")).hint(
                "say which with --registry HOST; the one for every registry is removed by hand",
            )),
        }
    }

    /// The keys that are meant: all of them are the rule's.
    fn keys(&self, rule: Option<&Rule>) -> Result<BTreeSet<KeyId>> {
        let mut keys = BTreeSet::new();
        for text in &self.key {
            let id = match text.parse::<KeyId>() {
                Ok(id) => id,
                Err(_) => keys::public(Path::new(text))?.id(),
            };
            if !rule.is_some_and(|rule| rule.keys().iter().any(|trusted| trusted.key.id() == id)) {
                let pattern = &self.packages;
                return Err(Error::usage(format!("the rule for '{pattern}' has no key {id}"))
                    .hint("skep trust list shows its keys"));
            }
            keys.insert(id);
        }
        Ok(keys)
    }

    /// The identities that are meant, under whatever trusted roots the rule has them.
    fn identities<'r>(&self, rule: Option<&'r Rule>) -> Result<Vec<&'r Identity>> {
        let mut identities = Vec::new();
        for text in self.identity.iter().collect::<BTreeSet<_>>() {
            let is_it = |one: &&Identity| {
                let is_issued = self.issuer.as_ref().is_none_or(|issuer| *issuer == one.issuer);
                one.identity == *text && is_issued
            };
            let found: Vec<_> =
                rule.map_or(&[][..], Rule::identities).iter().filter(is_it).collect();
            if found.is_empty() {
                let pattern = &self.packages;
                let of = self.issuer.as_ref().map(|issuer| format!(" of {issuer}"));
                let of = of.unwrap_or_default();
                return Err(Error::usage(format!(
                    "the rule for '{pattern}' has no identity '{text}'{of}"
                ))
                .hint("skep trust list shows its identities"));
            }
            identities.extend(found);
        }
        Ok(identities)
    }

    /// That no identity counts in the place of one that is removed: the narrowest is asked alone, and a wider one only where it is
    /// gone.
    fn widens_nothing(
        &self,
        rule: Option<&Rule>,
        gone: &[&Identity],
        now: SystemTime,
    ) -> Result<()> {
        let Some(rule) = rule else { return Ok(()) };
        let falls = gone.iter().map(|one| (one, rule.falls_to(one, gone, now)));
        let Some((one, wider)) = falls.into_iter().find(|(_, wider)| !wider.is_empty()) else {
            return Ok(());
        };
        let wider: Vec<String> = wider.iter().map(ToString::to_string).collect();
        let refused = format!("the identity {one} would be trusted as one of {}", wider.join(", "));
        Err(Error::usage(refused)
            .because("only while it is in the rule itself does no wider one count for it")
            .hint("--keep-out leaves it there as one that has ended, so that nothing by it counts; --leave-to-wider takes it out all the same"))
    }

    /// Whether somebody is left whom the rule trusts.
    fn leaves_somebody(&self, rule: Option<&Rule>, removed: usize) -> Result<()> {
        let is_all = |rule: &Rule| rule.keys().len() + rule.identities().len() == removed;
        if removed > 0 && rule.is_some_and(is_all) {
            let pattern = &self.packages;
            return Err(Error::usage(format!("the rule for '{pattern}' would trust nobody"))
                .hint(format!("skep trust remove '{pattern}' removes it")));
        }
        Ok(())
    }
}

impl Answer {
    fn text(&self) -> String {
        let file = self.file.display();
        let did = match self.removed {
            Removed::Rule => format!("Removed the rule for '{}' from {file}", self.pattern),
            Removed::Pattern => format!("Removed '{}' from its rule in {file}", self.pattern),
            Removed::KeptOut => format!("Ended in the rule for '{}' in {file}", self.pattern),
            Removed::Keys | Removed::Identities => {
                format!("Removed from the rule for '{}' in {file}", self.pattern)
            }
        };
        self.left.iter().fold(did, |text, left| format!("{text}\n{}", left.text()))
    }
}
