//! Rules that follow a publisher's keys by themselves, where the operator's `trust.toml` says so.
//!
//! What was followed is kept as the documents themselves, so that it is checked anew each time, and nobody who hides or replays a
//! document leads back.

mod carry;
mod fork;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

pub use self::carry::{BorneOut, borne_out};
pub use self::fork::{differs, forked};
use crate::key::{KeyId, PublicKey};
use crate::policy::Rule;
use crate::rotation::{Keys, RotationError, lead, own_signers};

/// Where a rule has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The keys that count now; none where no document speaks of the rule's.
    pub keys: Option<Keys>,
    /// The way that was kept which it is on, counted from 0; none where it is on none of them.
    pub way: Option<usize>,
    /// The bundles to keep of this way from now on, where that is more than was kept.
    pub keep: Option<Vec<Vec<u8>>>,
    /// Why what came is followed no further than that.
    pub refused: Option<RotationError>,
}

/// Follows a publisher from the keys of a rule: first on one of the ways that were kept of earlier times, then by the bundles that
/// came. A way on which the rule's keys are not leads nowhere: they are another publisher's of that name, or it began anew. A key
/// of the rule whose time is over led on while it counted, and leads nowhere now.
///
/// # Errors
/// What was kept holds no more, since one of its keys was revoked: then nobody knows whose keys count.
pub fn reach(
    publisher: &str,
    rule: &Rule,
    kept: &[Vec<Vec<u8>>],
    came: &[Vec<u8>],
    revoked: &BTreeSet<KeyId>,
    now: SystemTime,
) -> Result<Followed, RotationError> {
    let before = furthest(publisher, rule, kept, revoked)?;
    let silent: BTreeSet<KeyId> = revoked.union(&rule.ended(now)).copied().collect();
    let began = || Some((None, stands_at(publisher, rule, came, &silent)?));
    let before = before.map(|(way, keys)| (Some(way), keys));
    let Some((way, from)) = before.or_else(began) else { return Ok(Followed::default()) };
    let (keys, refused) = onward(from.clone(), came, &silent, rule.threshold());
    // Where the rule stands is kept as well.
    let least = if way.is_some() { from.version + 1 } else { from.version };
    let newer = by_version(publisher, came).split_off(&least).into_iter();
    let newer = newer.take_while(|(version, _)| *version <= keys.version);
    let newer: Vec<Vec<u8>> = newer.flat_map(|(_, bundles)| bundles).collect();
    let old = way.and_then(|way| kept.get(way)).into_iter().flatten().cloned();
    let keep = (!newer.is_empty()).then(|| old.chain(newer).collect());
    Ok(Followed { keys: Some(keys), way, keep, refused })
}

/// Where the ways that were kept have led the keys of a rule, and which has led furthest.
fn furthest(
    publisher: &str,
    rule: &Rule,
    kept: &[Vec<Vec<u8>>],
    revoked: &BTreeSet<KeyId>,
) -> Result<Option<(usize, Keys)>, RotationError> {
    let mut furthest: Option<(usize, Keys)> = None;
    for (way, bundles) in kept.iter().enumerate() {
        let nobody = BTreeSet::new();
        let Some(stood) = stands_at(publisher, rule, bundles, &nobody) else { continue };
        let (whole, _) = onward(stood.clone(), bundles, &nobody, 1);
        let Some(from) = stands_at(publisher, rule, bundles, revoked) else {
            let (version, which, needed) = (stood.version, "its own", stood.threshold);
            let document = by_version(publisher, bundles).remove(&version).unwrap_or_default();
            let found = own_signers(&stood, &document, revoked);
            return Err(RotationError::Threshold { version, which, found, needed });
        };
        let (keys, refused) = onward(from, bundles, revoked, 1);
        match refused {
            Some(error) if whole.version > keys.version => return Err(error),
            _ if furthest.as_ref().is_some_and(|(_, best)| best.version >= keys.version) => {}
            _ => furthest = Some((way, keys)),
        }
    }
    Ok(furthest)
}

/// The newest version whose keys and threshold a rule has, and which these keys have signed.
fn stands_at(
    publisher: &str,
    rule: &Rule,
    bundles: &[Vec<u8>],
    revoked: &BTreeSet<KeyId>,
) -> Option<Keys> {
    let ids = |keys: &mut dyn Iterator<Item = &PublicKey>| keys.map(PublicKey::id).collect();
    let here: BTreeSet<KeyId> = ids(&mut rule.keys().iter().map(|trusted| &trusted.key));
    let is_here =
        |keys: &Keys| keys.threshold == rule.threshold() && here == ids(&mut keys.keys.iter());
    let versions = by_version(publisher, bundles);
    versions.values().rev().find_map(|document| {
        let said = document.iter().filter_map(|bundle| Keys::unchecked(bundle).ok());
        said.filter(is_here).find(|keys| own_signers(keys, document, revoked) >= keys.threshold)
    })
}

/// The newest version with as many keys that can be followed to, and why it goes no further.
fn onward(
    from: Keys,
    bundles: &[Vec<u8>],
    revoked: &BTreeSet<KeyId>,
    least: usize,
) -> (Keys, Option<RotationError>) {
    let newer = by_version(&from.publisher, bundles).split_off(&(from.version + 1));
    let newer: Vec<_> = newer.into_values().collect();
    let (reached, refused) = lead(from.clone(), &newer, revoked);
    let too_few = reached.last().filter(|last| last.keys.len() < least).map(|last| {
        let (version, which, found) = (last.version, "its own", last.keys.len());
        RotationError::Threshold { version, which, found, needed: least }
    });
    let newest = reached.into_iter().rev().find(|keys| keys.keys.len() >= least);
    (newest.unwrap_or(from), refused.or(too_few))
}

/// The newest version to which bundles lead from keys; none where that is these.
#[must_use]
pub fn leads_on(from: &Keys, bundles: &[Vec<u8>], revoked: &BTreeSet<KeyId>) -> Option<u64> {
    let (keys, _) = onward(from.clone(), bundles, revoked, 1);
    Some(keys.version).filter(|version| *version > from.version)
}

/// The bundles of a publisher's keys, by the version that they say they are of. What is none, or another's, is left out.
#[must_use]
pub fn by_version(publisher: &str, bundles: &[Vec<u8>]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    let mut versions: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    for bundle in bundles {
        let keys = Keys::unchecked(bundle).ok().filter(|keys| keys.publisher == publisher);
        if let Some(keys) = keys {
            let document = versions.entry(keys.version).or_default();
            if !document.contains(bundle) {
                document.push(bundle.clone());
            }
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

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

        fn public(&self, key: usize) -> PublicKey {
            self.keys[key].public().unwrap()
        }

        /// Version `version`, of one key, signed by these.
        fn version(&self, version: u64, key: usize, by: &[usize]) -> Vec<Vec<u8>> {
            let keys = vec![self.public(key)];
            let publisher = "acme".to_owned();
            let keys = Keys { publisher, version, threshold: 1, keys, expires: None };
            by.iter().map(|key| keys.sign(&self.keys[*key]).unwrap()).collect()
        }

        fn policy(&self, more: &str) -> Policy {
            let spki = self.public(0).spki_base64();
            let rule = "[[rule]]\npackages = [\"acme/*\"]\nfollow = true\n";
            Policy::parse(&format!("{rule}keys = [{{ spki = \"{spki}\" }}]\n{more}")).unwrap()
        }

        fn reach(&self, kept: &[Vec<u8>], came: &[Vec<u8>]) -> Followed {
            self.reach_on(&[kept.to_vec()], came)
        }

        fn reach_on(&self, kept: &[Vec<Vec<u8>>], came: &[Vec<u8>]) -> Followed {
            let policy = self.policy("");
            let (rule, now) = (&policy.rules()[0], SystemTime::now());
            reach("acme", rule, kept, came, policy.revoked_keys(), now).unwrap()
        }

        fn is_at(&self, followed: &Followed, version: u64, key: usize) -> bool {
            let keys = followed.keys.as_ref().unwrap();
            (keys.version, &keys.keys) == (version, &vec![self.public(key)])
        }
    }

    #[test]
    fn documents_are_followed_and_what_was_followed_stays() {
        let world = World::new();
        let chain =
            [world.version(1, 0, &[0]), world.version(2, 1, &[0, 1]), world.version(3, 2, &[1, 2])];
        assert_eq!(world.reach(&[], &[]).keys, None);
        let two = world.reach(&[], &chain[..2].concat());
        assert!(world.is_at(&two, 2, 1) && two.refused.is_none());
        let kept = two.keep.unwrap();
        // A registry that hides what came leads nowhere, and one that has more leads on.
        let hidden = world.reach(&kept, &[]);
        assert!(world.is_at(&hidden, 2, 1) && hidden.keep.is_none());
        let three = world.reach(&kept, &chain.concat());
        assert!(world.is_at(&three, 3, 2));
        let kept = three.keep.unwrap();
        let old = world.reach(&kept, &chain[..2].concat());
        assert!(world.is_at(&old, 3, 2) && old.keep.is_none() && old.refused.is_none());
    }

    #[test]
    fn nobody_but_the_keys_before_leads_on() {
        let world = World::new();
        let first = world.version(1, 0, &[0]);
        let kept = [first.clone(), world.version(2, 1, &[0, 1])].concat();
        let (refused, by_whom) = (world.version(3, 3, &[3]), "rotation.threshold");
        let stranger = world.reach(&kept, &[kept.clone(), refused].concat());
        assert!(world.is_at(&stranger, 2, 1) && stranger.keep.is_none());
        assert_eq!(stranger.refused.unwrap().code(), by_whom);
        // Whoever has stolen the old key, whose time is over, makes a second way: it is not taken.
        let fork = [first, world.version(2, 3, &[0, 3]), world.version(3, 2, &[3, 2])].concat();
        let forked = world.reach(&kept, &fork);
        assert!(world.is_at(&forked, 2, 1) && forked.keep.is_none() && forked.refused.is_some());
        // A version that has the rule's keys, which have not signed it, is no place to stand.
        let feigned = world.reach(&[], &world.version(9, 0, &[3]));
        assert_eq!(feigned.keys, None);
    }

    #[test]
    fn a_publisher_that_begins_anew_and_another_of_its_name_have_ways_of_their_own() {
        let world = World::new();
        // What was kept of the keys before, or of the publisher of another registry, begins with others.
        let other = [world.version(1, 1, &[1]), world.version(2, 2, &[1, 2])].concat();
        let anew = world.version(1, 0, &[0]);
        let begun = world.reach_on(std::slice::from_ref(&other), &anew);
        assert!(world.is_at(&begun, 1, 0) && begun.way.is_none());
        assert_eq!(begun.keep.as_ref(), Some(&anew));
        let kept = [other.clone(), anew.clone()];
        let again = world.reach_on(&kept, &[]);
        assert!(world.is_at(&again, 1, 0) && again.way == Some(1) && again.keep.is_none());
        let on = world.reach_on(&kept, &world.version(2, 3, &[0, 3]));
        assert!(world.is_at(&on, 2, 3) && on.way == Some(1));
        assert_eq!(on.keep.unwrap().len(), 3);
        // Where both lie on one way, what a stranger has signed leads nowhere, and takes nothing away.
        let mixed = world.reach_on(&[[other, anew].concat()], &[]);
        assert!(world.is_at(&mixed, 1, 0));
    }

    #[test]
    fn a_version_that_is_refused_holds_back_none_before_it() {
        let world = World::new();
        let chain = [world.version(1, 0, &[0]), world.version(2, 1, &[0, 1])].concat();
        for junk in [world.version(3, 3, &[3]), world.version(9, 3, &[3])] {
            let came = [chain.clone(), junk].concat();
            let followed = world.reach(&[], &came);
            assert!(world.is_at(&followed, 2, 1), "{followed:?}");
            assert_eq!(followed.refused.unwrap().code(), "rotation.threshold");
            assert_eq!(followed.keep.unwrap(), chain);
        }
        // The same words, signed by nobody, and first.
        let mut unsigned: serde_json::Value = serde_json::from_slice(&chain[0]).unwrap();
        let payload = unsigned["dsseEnvelope"]["payload"].as_str().unwrap();
        let text = String::from_utf8(BASE64.decode(payload).unwrap()).unwrap();
        let spaced = BASE64.encode(text.replacen(':', " : ", 1));
        unsigned["dsseEnvelope"]["payload"] = spaced.into();
        let came = [vec![unsigned.to_string().into_bytes()], chain].concat();
        assert!(world.is_at(&world.reach(&[], &came), 2, 1));
    }

    #[test]
    fn a_revoked_key_takes_what_was_followed_away() {
        let world = World::new();
        let kept = [world.version(1, 0, &[0]), world.version(2, 1, &[0, 1])].concat();
        let policy = world.policy(&format!("[revoked]\nkeys = [\"{}\"]\n", world.public(1).id()));
        let (rule, now) = (&policy.rules()[0], SystemTime::now());
        let kept = [kept];
        let error = reach("acme", rule, &kept, &[], policy.revoked_keys(), now);
        assert_eq!(error.unwrap_err().code(), "rotation.threshold");
        // Nor does the rule's own key, which was stolen, begin a second way.
        let policy = world.policy(&format!("[revoked]\nkeys = [\"{}\"]\n", world.public(0).id()));
        let (rule, revoked) = (&policy.rules()[0], policy.revoked_keys());
        let error = reach("acme", rule, &kept, &world.version(1, 0, &[0]), revoked, now);
        assert_eq!(error.unwrap_err().code(), "rotation.threshold");
    }

    #[test]
    fn a_key_whose_time_is_over_names_no_other() {
        let world = World::new();
        let spki = world.public(0).spki_base64();
        let rule = format!(
            "[[rule]]\npackages = [\"acme/*\"]\nfollow = true\nkeys = [{{spki = \"{spki}\", not_after = 2027-01-01T00:00:00Z}}]\n"
        );
        let policy = Policy::parse(&rule).unwrap();
        let rule = &policy.rules()[0];
        let end = rule.keys()[0].not_after.unwrap();
        let chain = [world.version(1, 0, &[0]), world.version(2, 1, &[0, 1])].concat();
        let at = |kept: &[Vec<u8>], came: &[Vec<u8>], now| {
            let revoked = policy.revoked_keys();
            reach("acme", rule, &[kept.to_vec()], came, revoked, now).unwrap()
        };
        let later = end + std::time::Duration::from_secs(1);
        assert_eq!(at(&[], &chain, later).keys, None);
        assert!(world.is_at(&at(&[], &chain, end), 2, 1));
        // What was followed in time stays; a publisher of whom version 1 was kept has come too late.
        assert!(world.is_at(&at(&chain, &chain, later), 2, 1));
        let late = at(&chain[..1], &chain, later);
        assert!(world.is_at(&late, 1, 0) && late.refused.is_some());
    }

    #[test]
    fn a_key_of_the_rule_ends_no_later_than_there() {
        let world = World::new();
        let spki = |key| world.public(key).spki_base64();
        let rule = format!(
            "[[rule]]\npackages = [\"acme/*\"]\nfollow = true\nkeys = [{{spki = \"{}\", not_after = 2027-01-01T00:00:00Z}}]\n",
            spki(0)
        );
        let policy = Policy::parse(&rule).unwrap();
        let ends = policy.rules()[0].keys()[0].not_after.unwrap();
        let name = "acme/exec".parse().unwrap();
        let day = std::time::Duration::from_secs(86_400);
        let (before, after) = (Some(ends - day), Some(ends + day));
        for (expires, first, second) in
            [(None, Some(ends), None), (after, Some(ends), after), (before, before, before)]
        {
            let keys = vec![world.public(0), world.public(1)];
            let now =
                Keys { publisher: "acme".to_owned(), version: 1, threshold: 1, keys, expires };
            let with = policy.with_keys(&name, None, &now).unwrap();
            let until = |at: usize| with.rule(&name, None).unwrap().0.keys()[at].not_after;
            assert_eq!((until(0), until(1)), (first, second), "{expires:?}");
        }
    }

    #[test]
    fn a_rule_s_threshold_is_never_lowered() {
        let world = World::new();
        let two = |rest: &str| {
            let spki = |key| world.public(key).spki_base64();
            let keys = format!("keys = [{{spki = \"{}\"}}, {{spki = \"{}\"}}]", spki(0), spki(1));
            let rule = format!("[[rule]]\npackages = [\"acme/*\"]\nthreshold = 2\n{keys}\n{rest}");
            Policy::parse(&rule).unwrap()
        };
        let (name, policy) = ("acme/exec".parse().unwrap(), two("follow = true\n"));
        let keys = |threshold, keys: &[usize]| Keys {
            publisher: "acme".to_owned(),
            version: 2,
            threshold,
            keys: keys.iter().map(|key| world.public(*key)).collect(),
            expires: None,
        };
        let with = policy.with_keys(&name, None, &keys(1, &[1, 2])).unwrap();
        assert_eq!(with.rule(&name, None).unwrap().0.threshold(), 2);
        assert_eq!(with.rule(&name, None).unwrap().0.keys()[1].key, world.public(2));
        let error = policy.with_keys(&name, None, &keys(1, &[2])).unwrap_err();
        assert_eq!(error.code(), "rotation.threshold");
        assert!(two("").following(&name, None).is_none());
        assert!(policy.following(&name, None).is_some());
    }
}
