//! Which of a publisher's keys the keys of a rule bear out, for those who carry them from one place to another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::by_version;
use crate::bundle::Bundle;
use crate::key::{KeyId, PublicKey};
use crate::policy::Rule;
use crate::rotation::{Keys, lead, own_signers, signers_of};

/// Keys that are borne out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BorneOut {
    /// The newest version.
    pub version: u64,
    /// The bundles of all versions, the oldest first, without what nobody has signed whose signature counts.
    pub bundles: Vec<Vec<u8>>,
}

/// The versions of a publisher's keys that hang together with one that as many keys of a rule have signed as it asks for: those
/// that lead to it, and those to which it leads. None where no version is signed so.
#[must_use]
pub fn borne_out(
    publisher: &str,
    rule: &Rule,
    bundles: &[Vec<u8>],
    revoked: &BTreeSet<KeyId>,
    now: SystemTime,
) -> Option<BorneOut> {
    let versions = by_version(publisher, bundles);
    let silent: BTreeSet<KeyId> = revoked.union(&rule.ended(now)).copied().collect();
    let trusted: Vec<PublicKey> = rule.keys().iter().map(|one| one.key.clone()).collect();
    let is_signed = |keys: &Keys, document: &[Vec<u8>]| {
        let is_whole = keys.version == 1 || own_signers(keys, document, revoked) >= keys.threshold;
        is_whole && signers_of(keys, document, &trusted, &silent) >= rule.threshold()
    };
    let stood = versions
        .values()
        .rev()
        .filter(|_| !trusted.is_empty())
        .find_map(|document| said(document).find(|keys| is_signed(keys, document)))?;
    let newer: Vec<_> = versions.range(stood.version + 1..).map(|(_, one)| one.clone()).collect();
    let (after, _) = lead(stood.clone(), &newer, &silent);
    let mut way = vec![stood];
    while let Some(first) = way.first() {
        let mut leading = leading_to(first, &versions, revoked);
        // A stranger may sign, too, what leads on from keys of his own.
        let own = leading.iter().position(|keys| {
            let document = versions.get(&keys.version).map_or(&[][..], Vec::as_slice);
            signers_of(keys, document, &trusted, &silent) > 0
        });
        if leading.is_empty() {
            break;
        }
        way.insert(0, leading.swap_remove(own.unwrap_or(0)));
    }
    way.extend(after);
    let version = way.last()?.version;
    let mut before: &[PublicKey] = &[];
    let mut kept = Vec::new();
    for keys in &way {
        let document = versions.get(&keys.version).map_or(&[][..], Vec::as_slice);
        let signers = || keys.keys.iter().chain(before).chain(&trusted);
        let counts = |bundle: &&Vec<u8>| {
            let is_it = Keys::unchecked(bundle).is_ok_and(|said| said == *keys);
            let parsed = Bundle::parse(bundle).ok().filter(|_| is_it);
            parsed.is_some_and(|bundle| signers().any(|key| bundle.is_signed_by(key)))
        };
        kept.extend(document.iter().filter(counts).cloned());
        before = &keys.keys;
    }
    Some(BorneOut { version, bundles: kept })
}

/// What is said to be the version before one, and leads to it.
fn leading_to(
    keys: &Keys,
    versions: &BTreeMap<u64, Vec<Vec<u8>>>,
    revoked: &BTreeSet<KeyId>,
) -> Vec<Keys> {
    let document = versions.get(&keys.version).cloned().unwrap_or_default();
    let before = versions.get(&(keys.version - 1)).map_or(&[][..], Vec::as_slice);
    let leads = |earlier: &Keys| {
        let (reached, _) = lead(earlier.clone(), std::slice::from_ref(&document), revoked);
        reached.last() == Some(keys)
    };
    said(before).filter(leads).collect()
}

fn said(document: &[Vec<u8>]) -> impl Iterator<Item = Keys> {
    document.iter().filter_map(|bundle| Keys::unchecked(bundle).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyKind;
    use crate::{Policy, SecretKey};

    struct World {
        keys: Vec<SecretKey>,
    }

    impl World {
        fn new() -> Self {
            let key = |_| SecretKey::generate(KeyKind::Ed25519).unwrap();
            Self { keys: (0..4).map(key).collect() }
        }

        fn version(&self, version: u64, key: usize, by: &[usize]) -> Vec<Vec<u8>> {
            let keys = vec![self.keys[key].public().unwrap()];
            let publisher = "acme".to_owned();
            let keys = Keys { publisher, version, threshold: 1, keys, expires: None };
            by.iter().map(|key| keys.sign(&self.keys[*key]).unwrap()).collect()
        }

        /// By a rule that trusts one key.
        fn borne_out(&self, key: usize, more: &str, bundles: &[Vec<u8>]) -> Option<BorneOut> {
            let spki = self.keys[key].public().unwrap().spki_base64();
            let rule = "[[rule]]\npackages = [\"acme/*\"]\n";
            let policy = Policy::parse(&format!("{rule}keys = [{{ spki = \"{spki}\" }}]\n{more}"));
            let policy = policy.unwrap();
            let (rule, now) = (&policy.rules()[0], SystemTime::now());
            borne_out("acme", rule, bundles, policy.revoked_keys(), now)
        }
    }

    #[test]
    fn keys_are_borne_out_by_any_that_a_rule_has_and_by_no_others() {
        let world = World::new();
        let chain =
            [world.version(1, 0, &[0]), world.version(2, 1, &[0, 1]), world.version(3, 2, &[1, 2])];
        let all = chain.concat();
        for key in 0..3 {
            let found = world.borne_out(key, "", &all).unwrap();
            assert_eq!((found.version, &found.bundles), (3, &all), "{key}");
        }
        assert_eq!(world.borne_out(3, "", &all), None);
        assert_eq!(world.borne_out(0, "", &[]), None);
        let id = world.keys[0].public().unwrap().id();
        let revoked = format!("[revoked]\nkeys = [\"{id}\"]\n");
        assert_eq!(world.borne_out(0, &revoked, &all), None);
    }

    #[test]
    fn what_a_stranger_adds_is_left_out() {
        let world = World::new();
        let (one, two) = (world.version(1, 0, &[0]), world.version(2, 1, &[0, 1]));
        let good = [one.clone(), two.clone()].concat();
        // In front, behind, and another of the same version; a signature that nobody asked for.
        let junk = [
            world.version(1, 3, &[3]),
            world.version(2, 3, &[3]),
            world.version(3, 3, &[3]),
            world.version(9, 3, &[3]),
            world.version(2, 1, &[3]),
        ];
        let mixed = [junk.concat(), good.clone()].concat();
        let found = world.borne_out(0, "", &mixed).unwrap();
        assert_eq!((found.version, &found.bundles), (2, &good));
        // One who signs the real version 2 as well, to have it follow his own first.
        let countersigned = [world.version(1, 3, &[3]), world.version(2, 1, &[3]), good.clone()];
        let found = world.borne_out(0, "", &countersigned.concat()).unwrap();
        assert_eq!(found.bundles, good);
        // Half signed, it leads nowhere yet.
        let half = [one.clone(), world.version(2, 1, &[0])].concat();
        let found = world.borne_out(0, "", &half).unwrap();
        assert_eq!((found.version, found.bundles), (1, one));
    }
}
