//! `skep trust test`.

use std::ffi::OsString;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use skep_spec::{Digest, PackageRef};
use skep_trust::policy::{Policy, Rule};
use skep_trust::verify::each;
use skep_trust::{Asked, Origin, TrustError, verify};

use super::file::Which;
use super::list::Shown;
use crate::config::Config;
use crate::error::{Error, Result, refused, untrusted};
use crate::fetch;
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::place::Place;

/// Say which rule counts for a package, and whether its signatures let it in
///
/// A name alone is held against the rules, and nobody is asked. With a version or digest, and for a layout or bundle, each of
/// the package's signatures is looked at, and nothing else of it. Exit status 4: it would be refused.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// [registry/]publisher/name, with :version or @sha256:… where its signatures are to be looked at; an OCI layout, a bundle
    #[arg(value_name = "PACKAGE")]
    what: OsString,
    #[command(flatten)]
    options: PlaceOptions,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Answer {
    package: String,
    /// The pattern that speaks of it.
    pattern: String,
    rule: Shown,
    /// Rules that speak of it, too, and do not count.
    passed_over: Vec<PassedOver>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Found>,
}

#[derive(Serialize)]
struct PassedOver {
    pattern: String,
    why: String,
}

/// What the package itself has.
#[derive(Serialize)]
struct Found {
    digest: Digest,
    admitted: bool,
    signatures: Vec<Signature>,
}

#[derive(Serialize)]
struct Signature {
    counts: bool,
    says: String,
}

impl Test {
    /// Runs it.
    ///
    /// # Errors
    /// No rule speaks of the package, or its signatures do not let it in; it cannot be read.
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (_, policy) = self.which.file(config).read()?;
        let (reference, signed) = self.signed(config)?;
        let registry = reference.registry.as_deref();
        let Some((rule, pattern)) = policy.rule(&reference.name, registry) else {
            return Err(none(&reference, &policy));
        };
        let mut answer = Answer {
            package: reference.to_string(),
            pattern: pattern.as_str().to_owned(),
            rule: Shown::of(rule, &policy),
            passed_over: passed_over(&policy, rule, &reference),
            found: None,
        };
        let Some((digest, bundles)) = signed else {
            output.answer(&answer, || answer.text());
            return Ok(());
        };
        let asked = Asked { name: &reference.name, registry, digest };
        let now = SystemTime::now();
        let signature = |counts: std::result::Result<_, _>| match counts {
            Ok(key) => Signature { counts: true, says: format!("a signature by the key {key}") },
            Err(refusal) => Signature { counts: false, says: format!("{refusal}") },
        };
        let signatures = each(&asked, &bundles, &policy, now).into_iter().map(signature).collect();
        let verified = verify(&asked, &bundles, &policy, now);
        answer.found = Some(Found { digest, admitted: verified.is_ok(), signatures });
        output.answer(&answer, || answer.text());
        verdict(verified.map(|verified| verified.origin().clone()))
    }

    /// What is meant, and what it has where that can be looked at.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn signed(&self, config: &Config) -> Result<(PackageRef, Option<(Digest, Vec<Vec<u8>>)>)> {
        if let Some(Ok(name)) = self.what.to_str().map(str::parse::<PackageRef>) {
            let names_none = name.version.is_none() && name.digest.is_none();
            if names_none && name.channel.is_none() && !std::path::Path::new(&self.what).exists() {
                self.options.choice.is_not_for_references()?;
                let hub = config.hub.as_deref();
                return Ok((hub.map_or(name.clone(), |hub| name.or_registry(hub)), None));
            }
        }
        let place = Place::parse(&self.what, &self.options.choice, config)?;
        let (reference, digest, bundles) = fetch::signed(place, &self.options, config)?;
        Ok((reference, Some((digest, bundles))))
    }
}

/// Rules that speak of the package and do not count, and why.
fn passed_over(policy: &Policy, counts: &Rule, reference: &PackageRef) -> Vec<PassedOver> {
    let others = policy.rules().iter().filter(|rule| *rule != counts);
    let passed = others.filter_map(|rule| {
        let pattern = rule.best_pattern(&reference.name)?.as_str().to_owned();
        let elsewhere = || format!("only for packages from {}", rule.registries().join(", "));
        let is_from = |host: &String| Some(host.as_str()) == reference.registry.as_deref();
        let why = match rule.registries() {
            [] => "less specific".to_owned(),
            some if some.iter().any(is_from) => "less specific".to_owned(),
            _ => elsewhere(),
        };
        Some(PassedOver { pattern, why })
    });
    passed.collect()
}

fn none(reference: &PackageRef, policy: &Policy) -> Error {
    let name = reference.name.clone();
    let error = refused(TrustError::NoRule { name });
    let elsewhere: Vec<String> = policy
        .rules()
        .iter()
        .filter(|rule| rule.best_pattern(&reference.name).is_some())
        .map(|rule| rule.registries().join(", "))
        .collect();
    let error = error.hint("skep trust add PATTERN --key PUB adds one");
    match elsewhere.is_empty() {
        true => error,
        false => error.because(format!(
            "the rules that name it are only for packages from {}",
            elsewhere.join(", ")
        )),
    }
}

fn verdict(verified: std::result::Result<Origin, TrustError>) -> Result<()> {
    verified.map(drop).map_err(untrusted)
}

impl Answer {
    fn text(&self) -> String {
        let mut lines = vec![
            format!("For {} the rule '{}' counts:", self.package, self.pattern),
            self.rule.text(),
        ];
        for PassedOver { pattern, why } in &self.passed_over {
            lines.push(format!("not counted: the rule '{pattern}', {why}"));
        }
        let Some(found) = &self.found else {
            lines
                .push("everything else is refused: unsigned, by other keys, by too few".to_owned());
            return lines.join("\n");
        };
        lines.push(found.digest.to_string());
        for Signature { counts, says } in &found.signatures {
            lines.push(format!("{}: {says}", if *counts { "counts" } else { "does not count" }));
        }
        if found.admitted {
            lines.push("it would be let in".to_owned());
        }
        lines.join("\n")
    }
}
