use skep_object::Writers;

use crate::build::facts;

#[test]
fn the_class_of_each_map_is_that_of_its_code() {
    let facts = facts("writers.c", &[]);
    for (map, class) in [
        ("none", Writers::None),
        ("key_only", Writers::None),
        ("atomic", Writers::Atomic),
        ("created", Writers::Atomic),
        ("stored", Writers::Plain),
        ("per_cpu", Writers::PlainPerCpu),
        ("replaced", Writers::Plain),
        ("deleted", Writers::Plain),
        ("filled", Writers::Plain),
        ("in_subprogram", Writers::Plain),
        ("in_each", Writers::Plain),
        ("spilled", Writers::Plain),
        ("in_callback", Writers::Plain),
        // Only what is added can be added up: a bit that two versions set would count twice.
        ("or_ed", Writers::Plain),
        ("swapped", Writers::Plain),
        ("other_cpu", Writers::Plain),
        ("other_cpu_added", Writers::Plain),
        ("other_cpu_read", Writers::PlainPerCpu),
    ] {
        // What a callback reaches through its context cannot be told apart.
        let others = facts.programs.iter().filter(|p| p.name != "loops" || map == "in_callback");
        let found = others.filter_map(|p| p.writes.get(map)).max().copied().unwrap_or_default();
        assert_eq!(found, class, "{map}");
    }
    assert_eq!(facts.writers("atomic"), Writers::Plain, "because of loops");
}

#[test]
fn programs_are_told_apart() {
    let facts = facts("writers.c", &[]);
    let of = |name: &str| facts.program(name).unwrap().writes.clone();
    assert!(of("reads").is_empty(), "{:?}", of("reads"));
    insta::assert_debug_snapshot!(of("adds"), @r#"
    {
        ".bss": Atomic,
        "atomic": Atomic,
        "created": Atomic,
    }
    "#);
    insta::assert_debug_snapshot!(of("stores"), @r#"
    {
        ".bss": Plain,
        "deleted": Plain,
        "filled": Plain,
        "per_cpu": PlainPerCpu,
        "replaced": Plain,
        "stored": Plain,
    }
    "#);
}
