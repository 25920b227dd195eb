use std::collections::BTreeMap;
use std::fmt::Write as _;

use skep_object::declared::{runs, summary};
use skep_object::difference::{Difference, Keeps, Version};
use skep_object::permissions::Power;
use skep_object::{MapKind, with_defaults};
use skep_spec::Manifest;

use crate::build::{facts, object};

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
    assert!(same.maps.iter().any(|map| map.name == ".rodata"), "sections of variables too");
    assert!(same.maps.iter().all(|map| map.key.is_empty() && map.value.is_empty()), "{same:?}");
    assert!(same.maps.iter().any(|map| map.keeps == Keeps::All));
}

/// The manifest of an object with these tables behind the least that one has.
fn manifest(tables: &str) -> Manifest {
    let text = format!(
        "spec = \"1.0\"\n[package]\nname = \"acme/layouts\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
         [object.layouts]\nsources = [\"layouts.c\"]\n{tables}"
    );
    skep_spec::source::parse(&text).unwrap().resolve(&BTreeMap::new())
}

#[test]
fn the_new_manifest_decides_what_becomes_of_a_map() {
    let mut out = String::new();
    let migrate = "[map.map]\nupgrade = \"migrate\"\n";
    for (what, old, new, tables) in [
        ("nothing said", 1, 2, ""),
        ("the same", 1, 1, ""),
        ("the same, larger", 1, 1, "[map.map]\nmax_entries = 77\n"),
        ("keep", 1, 2, "[map.map]\nupgrade = \"keep\"\n"),
        ("reset", 6, 7, "[map.map]\nupgrade = \"reset\"\n"),
        ("migrate, no merge", 1, 2, migrate),
        ("migrate", 1, 2, &format!("{migrate}fields = {{ count = \"sum\" }}\n")),
        ("migrate, lossy", 2, 1, &format!("{migrate}fields = {{ count = \"sum\" }}\n")),
        ("migrate, narrowed", 6, 7, migrate),
        (
            "migrate, less room",
            1,
            2,
            &format!("{migrate}fields = {{ count = \"sum\" }}\nmax_entries = 2\n"),
        ),
    ] {
        let (before, after, manifest) = (version(old), version(new), manifest(tables));
        let after = Version { facts: &after, manifest: Some(&manifest) };
        let difference = Difference::between(&before, after);
        let map = difference.maps.iter().find(|map| map.name == "map").unwrap();
        writeln!(out, "{what}: {} [{}]", map.keeps, map.why).unwrap();
    }
    insta::assert_snapshot!(out, @r"
    nothing said: the upgrade is refused [upgrade is neither migrate nor reset]
    the same: kept as it is []
    the same, larger: the upgrade is refused [upgrade is neither migrate nor reset]
    keep: the upgrade is refused [upgrade is neither migrate nor reset]
    reset: starts empty, as the manifest says []
    migrate, no merge: the upgrade is refused [the manifest does not say how to merge count]
    migrate: moved, as the manifest says []
    migrate, lossy: moved, as the manifest says [bytes would be lost]
    migrate, narrowed: the upgrade is refused [the value: it had 8 bytes, it has 4 now]
    migrate, less room: moved, as the manifest says [refused while more than 2 entries are in it]
    ");
}

#[test]
fn an_array_that_gets_shorter_can_not_be_kept_and_a_table_that_forgets_can() {
    for (kind, keeps, why) in [
        (MapKind::Array, Keeps::Nothing, "16 entries do not fit 4"),
        (MapKind::Hash, Keeps::Movable, "refused while more than 4 entries are in it"),
        (MapKind::LruHash, Keeps::Movable, ""),
    ] {
        let (mut old, mut new) = (version(1), version(1));
        for (facts, entries) in [(&mut old, 16), (&mut new, 4)] {
            let map = facts.maps.iter_mut().find(|map| map.name == "map").unwrap();
            (map.kind, map.max_entries) = (kind, entries);
        }
        let difference = Difference::between(&old, &new);
        let map = difference.maps.iter().find(|map| map.name == "map").unwrap();
        assert_eq!((map.keeps, map.why.as_str()), (keeps, why), "{kind}");
    }
}

#[test]
fn a_ring_is_kept_if_its_outputs_struct_is_the_same() {
    let facts = facts("records.c", &[]);
    let of = |name: &str| {
        manifest(&format!("[output.o]\nkind = \"event\"\nmap = \"untyped\"\nstruct = \"{name}\"\n"))
    };
    let keeps = |old: &Manifest, new: &Manifest| {
        let [old, new] = [old, new].map(|m| Version { facts: &facts, manifest: Some(m) });
        let maps = Difference::between(old, new).maps;
        maps.iter().find(|map| map.name == "untyped").unwrap().keeps
    };
    assert_eq!(keeps(&of("point"), &of("point")), Keeps::All);
    assert_eq!(keeps(&of("point"), &of("shown")), Keeps::Own);
}

#[test]
fn maps_of_devices_sockets_and_stacks_are_each_versions_own() {
    for kind in [MapKind::Devmap, MapKind::Sockhash, MapKind::StackTrace, MapKind::ProgArray] {
        let (mut old, mut new) = (version(1), version(1));
        for (facts, entries) in [(&mut old, 16), (&mut new, 32)] {
            let map = facts.maps.iter_mut().find(|map| map.name == "map").unwrap();
            (map.kind, map.max_entries) = (kind, entries);
        }
        let difference = Difference::between(&old, &new);
        let map = difference.maps.iter().find(|map| map.name == "map").unwrap();
        assert_eq!(map.keeps, Keeps::Own, "{kind}: {}", map.why);
    }
}

#[test]
fn what_a_default_switches_on_is_not_off_and_makes_a_version_wider() {
    let bytes = object("jumps.c", &[]);
    let param = |default| {
        manifest(&format!(
            "[param.loud]\ntype = \"int\"\nrodata = \"verbose\"\ndefault = {default}\n"
        ))
    };
    let (quiet, loud) = (param("0"), param("1"));
    let read = |manifest: &Manifest| with_defaults(&bytes, manifest).unwrap();
    let guards = |facts: &skep_object::Facts| {
        let uses = &facts.program("off").unwrap().uses;
        let signal = uses.iter().find(|used| used.name == "send_signal").unwrap();
        signal.guards.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(guards(&read(&quiet)), ["off unless verbose is changed"]);
    assert_eq!(guards(&read(&loud)), ["depends on verbose"]);
    let verbose = |facts: &skep_object::Facts| facts.global("verbose").unwrap().initial.clone();
    assert_eq!(verbose(&read(&loud)), [1, 0, 0, 0]);
    // Of a default that does not fit nothing is written: it cannot be installed.
    assert_eq!(verbose(&read(&param("5000000000"))), [0; 4]);

    let keep = |manifest: &Manifest| {
        let mut facts = read(manifest);
        facts.programs.retain(|program| program.name == "off");
        facts
    };
    let (off, on) = (keep(&quiet), keep(&loud));
    let difference = Difference::between(&off, &on);
    assert_eq!(
        (difference.woken.as_slice(), difference.is_wider()),
        (&[Power::SendsSignals][..], true)
    );
    assert!(
        !Difference::between(&on, &off).is_wider() && !Difference::between(&on, &on).is_wider()
    );
    let fields = difference.maps.iter().flat_map(|map| &map.value);
    assert_eq!(fields.count(), 0, "variables are told by themselves");
}

#[test]
fn a_hook_is_where_the_default_of_its_parameter_puts_it() {
    let facts = facts("facts.c", &[]);
    let at = |place: &str| {
        manifest(&format!(
            "[param.at]\ntype = \"string\"\ndefault = \"{place}\"\n\
             [program.p]\nfunction = \"on_exec\"\ntarget = \"cgroup/${{param.at}}\"\n"
        ))
    };
    let (old, new) = (at("dev"), at("connect4"));
    let run = |manifest: &Manifest| runs(manifest, "layouts", &facts, &BTreeMap::new());
    let (before, after) = (run(&old), run(&new));
    let difference = Difference::between(
        Version { facts: &before, manifest: Some(&old) },
        Version { facts: &after, manifest: Some(&new) },
    );
    assert_eq!(difference.hooks.added, ["cgroup/connect4"]);
    assert_eq!(difference.hooks.removed, ["cgroup/dev"]);
    assert_eq!(difference.powers.added, [Power::ControlsTraffic, Power::ReadsTraffic]);
    assert!(difference.is_wider());
    let told = difference.programs[0].new.as_deref().unwrap();
    assert!(told.starts_with("cgroup/connect4 (cgroup/${param.at}), "), "{told}");
    // The parameter may choose others, whose powers count too.
    assert!(summary(Some(&new), &after).powers.contains(&Power::ControlsCgroups));
}
