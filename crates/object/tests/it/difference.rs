use std::fmt::Write as _;

use skep_object::difference::{Difference, Keeps};
use skep_object::permissions::Power;

use crate::build::facts;

fn version(number: u32) -> skep_object::Facts {
    facts("layouts.c", &[&format!("-DVERSION={number}")])
}

#[test]
fn what_a_warm_upgrade_can_keep_is_told_for_every_map() {
    let mut out = String::new();
    for (old, new) in [(1, 1), (1, 2), (2, 1), (3, 4), (6, 7), (7, 6)] {
        let difference = Difference::between(&version(old), &version(new));
        let map = difference.maps.iter().find(|map| map.name == "map").unwrap();
        let (keeps, why, attributes) = (map.keeps, &map.why, &map.attributes);
        writeln!(out, "{old} to {new}: {keeps} [{why}] {attributes:?}").unwrap();
    }
    insta::assert_snapshot!(out, @r#"
    1 to 1: kept as it is [] []
    1 to 2: can be moved, if the manifest says how [] ["value_size: 16, was 8"]
    2 to 1: can be moved, if the manifest says how [bytes would be lost] ["value_size: 8, was 16"]
    3 to 4: cannot be kept [field 'sign': it was signed, it is unsigned now] ["value_size: 176, was 152"]
    6 to 7: cannot be kept [the value: it had 8 bytes, it has 4 now] ["value_size: 4, was 8"]
    7 to 6: can be moved, if the manifest says how [] ["value_size: 8, was 4"]
    "#);
}

#[test]
fn a_version_that_may_do_more_is_wider() {
    let (old, new) = (facts("facts.c", &[]), facts("guards.c", &[]));
    let difference = Difference::between(&old, &new);
    assert!(difference.is_wider());
    assert_eq!(difference.powers.added.first(), Some(&Power::WritesUserMemory));
    assert_eq!(difference.license.as_ref().unwrap()[1].as_deref(), Some("Apache-2.0"));
    let same = Difference::between(&old, &old);
    assert!(!same.is_wider() && same.hooks.is_empty() && same.programs.is_empty());
    assert!(same.variables.is_empty() && same.maps.iter().all(|map| map.attributes.is_empty()));
    assert!(same.maps.iter().any(|map| map.keeps == Keeps::All));
}
