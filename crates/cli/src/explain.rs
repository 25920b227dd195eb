//! Why a package would be let in or refused: the rule that counts, what each signature and attestation comes to.

use std::time::SystemTime;

use serde::Serialize;
use skep_spec::{Digest, PackageRef};
use skep_trust::attestation::{self, Attestation, Beside, Kind, Said, is_attestation};
use skep_trust::policy::{Policy, Rule};
use skep_trust::verify::each;
use skep_trust::{Asked, By, KeyId, TrustError, Verified, verify};

use crate::error::{Error, Result, refused};
use crate::rules::Shown;

/// The rule of a package, and what there is beside it.
#[derive(Serialize)]
pub struct Explained {
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
    attestations: Vec<Attested>,
}

#[derive(Serialize)]
struct Signature {
    counts: bool,
    says: String,
}

/// An attestation as it is shown.
#[derive(Serialize)]
pub struct Attested {
    /// `sbom`, `provenance`, `compatibility`, or its predicate type.
    kind: String,
    predicate_type: String,
    /// Whether a key of the package's rule signed it, and it is about the package.
    pub counts: bool,
    /// That key, or else the one that it names itself, which nobody checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    /// The identity that signed it, where no key did.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// Of a report: how it went, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Explained {
    /// The rule of a package.
    ///
    /// # Errors
    /// No rule speaks of it.
    pub fn rule(reference: &PackageRef, policy: &Policy) -> Result<Self> {
        let Some((rule, pattern)) = policy.rule(&reference.name, reference.registry.as_deref())
        else {
            return Err(none(reference, policy));
        };
        Ok(Self {
            package: reference.to_string(),
            pattern: pattern.as_str().to_owned(),
            rule: Shown::of(rule, policy),
            passed_over: passed_over(policy, rule, reference),
            found: None,
        })
    }

    /// With what lies beside the package; and whether that lets it in.
    pub fn found(
        self,
        asked: &Asked<'_>,
        bundles: &[Vec<u8>],
        policy: &Policy,
        now: SystemTime,
    ) -> (Self, std::result::Result<Verified<Digest>, TrustError>) {
        let signature = |counts: std::result::Result<_, _>| match counts {
            Ok(by) => Signature { counts: true, says: format!("a signature by {by}") },
            Err(refusal) => Signature { counts: false, says: format!("{refusal}") },
        };
        let both = bundles.iter().zip(each(asked, bundles, policy, now));
        let signatures = both.filter(|(bundle, _)| !is_attestation(bundle));
        let signatures = signatures.map(|(_, counts)| signature(counts)).collect();
        let verified = verify(asked, bundles, policy, now);
        let (digest, admitted) = (asked.digest, verified.is_ok());
        let attestations = attested(asked, bundles, policy, now);
        let found = Some(Found { digest, admitted, signatures, attestations });
        (Self { found, ..self }, verified)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
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
        lines.extend(found.attestations.iter().map(|one| {
            format!("{}: {}", if one.counts { "counts" } else { "does not count" }, one.text())
        }));
        if found.admitted {
            lines.push("it would be let in".to_owned());
        }
        lines.join("\n")
    }
}

/// The attestations beside a package.
pub fn attested(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> Vec<Attested> {
    let all = attestation::beside(asked, bundles, policy, now);
    all.iter().map(Attested::of).collect()
}

impl Attested {
    fn of(one: &Beside) -> Self {
        let predicate_type = one.predicate_type.clone();
        let kind = Kind::named(&predicate_type).to_owned();
        let (counts, key, identity, report, why) = match &one.counted {
            Ok(Attestation { by: By::Key(key), said, .. }) => {
                (true, Some(*key), None, report(said), None)
            }
            Ok(Attestation { by: By::Identity(identity), said, .. }) => {
                (true, None, Some(identity.clone()), report(said), None)
            }
            Err(error) => (false, one.claimed, None, None, Some(error.to_string())),
        };
        Self { kind, predicate_type, counts, key, identity, report, why }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { kind, key, identity, report, why, .. } = self;
        let report = report.as_ref().map(|report| format!(" ({report})")).unwrap_or_default();
        match (key, identity, why) {
            (Some(key), _, None) => format!("an attestation, {kind}{report}, by the key {key}"),
            (_, Some(identity), None) => {
                format!("an attestation, {kind}{report}, by the identity {identity}")
            }
            (.., why) => format!("an attestation, {kind}: {}", why.as_deref().unwrap_or_default()),
        }
    }
}

fn report(said: &Said) -> Option<String> {
    let Said::Report(report) = said else { return None };
    let kernels = report.kernels.iter().map(|kernel| format!("{} {}", kernel.release, kernel.arch));
    let kernels: Vec<String> = kernels.collect();
    Some(format!("{} on {}", report.outcome, kernels.join(", ")))
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
