//! Whether anybody who has this machine's rules counts what a key signs of a channel.

use std::time::SystemTime;

use skep_trust::channel::{Asked, worth};
use skep_trust::key::SigningKey;
use skep_trust::{KeyId, Policy};

use crate::error::{Error, Kind, Result, failed};

/// The ids of keys.
///
/// # Errors
/// One cannot be had.
pub fn ids(keys: &[Box<dyn SigningKey>]) -> Result<Vec<KeyId>> {
    keys.iter().map(|key| key.public().map(|key| key.id()).map_err(failed)).collect()
}

/// That no key is revoked.
///
/// # Errors
/// One is.
pub fn none_is_revoked(keys: &[KeyId], machine: &Policy) -> Result<()> {
    match keys.iter().find(|key| machine.is_key_revoked(key)) {
        None => Ok(()),
        Some(key) => Err(Error::new(
            Kind::Refused,
            format!(
                "the key {key} is revoked in this machine's trust.toml: nothing is signed by it"
            ),
        )
        .hint("sign with another key; skep trust list shows what is revoked")),
    }
}

/// Those of some bundles, each with the key that made it, that the rule of a package does not count; none where there is no rule.
pub fn uncounted(
    asked: &Asked<'_>,
    signed: &[(KeyId, Vec<u8>)],
    machine: &Policy,
    now: SystemTime,
) -> Vec<String> {
    let rule = machine.rule(asked.name, asked.registry);
    let has_rule = rule.is_some_and(|(rule, _)| !rule.keys().is_empty());
    let counts =
        |bundle: &Vec<u8>| !worth(asked, std::slice::from_ref(bundle), machine, now).is_empty();
    let others = signed.iter().filter(|(_, bundle)| has_rule && !counts(bundle));
    let told = |(key, _): &(KeyId, Vec<u8>)| {
        format!(
            "note: no rule of this machine counts the key {key} for {}: who has these rules does not follow what it signs",
            asked.name
        )
    };
    others.map(told).collect()
}
