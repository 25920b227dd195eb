//! Whether two who hold a publisher's keys have another version under one number. Which of them readers would follow is not said
//! here: those who stand at the version before could follow either, and refuse both where they see both.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use super::by_version;
use crate::key::KeyId;
use crate::rotation::{Keys, lead, own_signers};

/// The first version of which there is another one over there, signed as it must be by the keys that `ours` has under the number
/// before.
#[must_use]
pub fn forked(
    publisher: &str,
    ours: &[Vec<u8>],
    theirs: &[Vec<u8>],
    revoked: &BTreeSet<KeyId>,
) -> Option<u64> {
    let here = by_version(publisher, ours);
    let before = |keys: &Keys| said(&here, keys.version.checked_sub(1)?).next();
    others(publisher, &here, theirs).find_map(|(keys, document)| {
        let own: Vec<_> = document.into_iter().filter(|one| says(one, &keys)).collect();
        let (reached, _) = lead(before(&keys)?, from_ref(&own), revoked);
        reached.contains(&keys).then_some(keys.version)
    })
}

/// The first version of which there is another one over there that its own keys have signed, whoever they are.
#[must_use]
pub fn differs(publisher: &str, ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> Option<u64> {
    let here = by_version(publisher, ours);
    let nobody = BTreeSet::new();
    others(publisher, &here, theirs).find_map(|(keys, document)| {
        // Machines trust the first one already, whoever has signed it.
        let needed = if keys.version == 1 { 1 } else { keys.threshold };
        (own_signers(&keys, &document, &nobody) >= needed).then_some(keys.version)
    })
}

type Versions = BTreeMap<u64, Vec<Vec<u8>>>;

/// What bundles say under numbers that are here and stand for something else here, with all bundles of that number.
fn others<'v>(
    publisher: &str,
    here: &'v Versions,
    theirs: &[Vec<u8>],
) -> impl Iterator<Item = (Keys, Vec<Vec<u8>>)> + use<'v> {
    let there = by_version(publisher, theirs).into_iter();
    there.filter(|(version, _)| here.contains_key(version)).flat_map(|(version, document)| {
        let is_another = |keys: &Keys| !said(here, version).any(|own| own == *keys);
        let keys: Vec<Keys> = document.iter().filter_map(|one| Keys::unchecked(one).ok()).collect();
        let others: Vec<_> = keys.into_iter().filter(is_another).collect();
        others.into_iter().map(move |keys| (keys, document.clone()))
    })
}

fn said(versions: &Versions, version: u64) -> impl Iterator<Item = Keys> {
    let document = versions.get(&version).into_iter().flatten();
    document.filter_map(|bundle| Keys::unchecked(bundle).ok())
}

fn says(bundle: &[u8], keys: &Keys) -> bool {
    Keys::unchecked(bundle).is_ok_and(|said| said == *keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use crate::key::KeyKind;

    struct World(Vec<SecretKey>);

    impl World {
        /// Version `version`, of one key, signed by these.
        fn version(&self, version: u64, key: usize, by: &[usize]) -> Vec<Vec<u8>> {
            let keys = vec![self.0[key].public().unwrap()];
            let publisher = "acme".to_owned();
            let keys = Keys { publisher, version, threshold: 1, keys, expires: None };
            by.iter().map(|key| keys.sign(&self.0[*key]).unwrap()).collect()
        }
    }

    #[test]
    fn another_version_of_one_number_is_found_and_no_strangers() {
        let key = |_| SecretKey::generate(KeyKind::Ed25519).unwrap();
        let world = World((0..4).map(key).collect());
        let nobody = BTreeSet::new();
        let first = world.version(1, 0, &[0]);
        let ours = [first.clone(), world.version(2, 1, &[0, 1])].concat();
        let fork = [first.clone(), world.version(2, 2, &[0, 2])].concat();
        let further = [ours.clone(), world.version(3, 1, &[1])].concat();
        let forked = |ours: &[Vec<u8>], theirs: &[Vec<u8>]| forked("acme", ours, theirs, &nobody);
        let differs = |theirs: &[Vec<u8>]| differs("acme", &ours, theirs);
        // Also where the fork has gone on, or both are over there.
        let longer = [fork.clone(), world.version(3, 3, &[2, 3])].concat();
        for theirs in [&fork, &longer, &[ours.clone(), fork.clone()].concat()] {
            assert_eq!((forked(&ours, theirs), differs(theirs)), (Some(2), Some(2)));
            assert_eq!(forked(&further, theirs), Some(2));
        }
        assert_eq!(forked(&fork, &further), Some(2));
        // The same, older, newer, and what is of no number that is here.
        for theirs in [&ours, &first, &further, &world.version(9, 3, &[3])] {
            assert_eq!((forked(&ours, theirs), differs(theirs)), (None, None));
        }
        // Half signed, and a stranger's own: nobody could go there from ours.
        let half = [first, world.version(2, 2, &[0])].concat();
        assert_eq!((forked(&ours, &half), differs(&half)), (None, None));
        let strangers = [world.version(1, 3, &[3]), world.version(2, 3, &[3])].concat();
        assert_eq!((forked(&ours, &strangers), differs(&strangers)), (None, Some(1)));
        // A key that is revoked led nobody there.
        let revoked = [world.0[0].public().unwrap().id()].into();
        assert_eq!(super::forked("acme", &ours, &fork, &revoked), None);
    }
}
