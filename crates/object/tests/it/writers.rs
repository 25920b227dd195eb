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

/// Maps that one program of the object writes, those that it cannot tell apart included.
fn reached(program: &str) -> Vec<String> {
    let facts = facts("../../../../spec/vectors/files/objects/reached.c", &[]);
    let program = facts.program(program).unwrap();
    let plain = program.writes.iter().filter(|(_, class)| **class == Writers::Plain);
    plain.map(|(map, _)| map.clone()).collect()
}

#[test]
fn a_write_to_an_inner_map_is_one_of_all_that_may_stand_there() {
    assert_eq!(reached("through_outer"), ["could_be", "in_slot", "outer"]);
}

#[test]
fn helpers_that_fill_memory_write_it() {
    assert_eq!(reached("fills"), ["branches", "filled"]);
}

#[test]
fn pointers_are_followed_through_loads_and_stores_with_an_order() {
    assert_eq!(reached("acquires"), ["acquired"]);
    assert_eq!(reached("releases"), ["released"]);
}

#[test]
fn what_is_left_on_a_callers_stack_is_found_there() {
    for (program, map) in [("returns", "returned"), ("hands", "handed"), ("moves", "moved")] {
        assert!(reached(program).iter().any(|found| found == map), "{program}");
    }
}

#[test]
fn a_callback_whose_address_was_stored_is_followed() {
    assert!(reached("keeps").contains(&"kept".to_owned()));
}

#[test]
fn flags_that_an_atomic_instruction_fetched_are_none() {
    assert_eq!(reached("fetches"), ["any"]);
}
