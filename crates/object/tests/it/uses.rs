//! What programs use, where, and what must hold for it.

use std::fmt::Write as _;

use skep_object::{Facts, Memory, Writers, disasm, gpl};

use crate::build::{self, facts};

fn guards() -> Facts {
    facts("guards.c", &[])
}

#[test]
fn uses_have_a_line_and_what_must_hold_for_it() {
    let mut out = String::new();
    for program in &guards().programs {
        writeln!(out, "{} ({:?})", program.name, program.attach_type).unwrap();
        for used in &program.uses {
            let line = used.source.as_ref().unwrap().line;
            let guards: Vec<String> = used.guards.iter().map(ToString::to_string).collect();
            let (what, name, function) = (used.what, &used.name, &used.function);
            writeln!(out, "  {what:?} {name} in {function}:{line} [{}]", guards.join(", "))
                .unwrap();
        }
        let stack = program.stack;
        writeln!(out, "  {} functions, {stack:?} bytes of stack", program.functions).unwrap();
        writeln!(out, "  writes {:?} deletes {:?}", program.writes, program.deletes).unwrap();
    }
    insta::assert_snapshot!(out, @r#"
    switched (None)
      Helper get_current_cgroup_id in switched:73 [depends on mode]
      Helper jiffies64 in switched:65 [where the kernel has task_struct.__state]
      Helper ktime_get_boot_ns in switched:69 [where the kernel lacks only_new]
      Helper ktime_get_ns in switched:67 [where the kernel lacks task_struct.__state]
      Helper map_delete_elem in switched:76 []
      Helper trace_printk in switched:71 [off unless verbose is changed]
      Kfunc bpf_new_kfunc in switched:75 [where the kernel has bpf_new_kfunc]
      Ksym CONFIG_HZ in switched:63 []
      Ksym bpf_new_kfunc in switched:74 []
      Ksym jiffies_of_kernel in switched:75 [where the kernel has bpf_new_kfunc]
      1 functions, Some(32) bytes of stack
      writes {"table": Plain} deletes {"table"}
    opened (Some("lsm_mac"))
      Helper probe_write_user in deep:56 [off unless verbose is changed]
      Helper send_signal in opened:87 [off unless mode is changed]
      2 functions, Some(192) bytes of stack
      writes {} deletes {}
    woken (None)
      Helper jiffies64 in woken:102 [where the kernel lacks task_struct.__state]
      Helper ktime_get_boot_ns in both:93 []
      Helper ktime_get_ns in woken:101 []
      2 functions, Some(64) bytes of stack
      writes {} deletes {}
    "#);
}

#[test]
fn static_slots_and_symbols_of_the_kernel() {
    let facts = guards();
    let slots: Vec<_> =
        facts.map("outer").unwrap().slots.iter().map(|s| (s.index, s.name.as_str())).collect();
    assert_eq!(slots, [(1, "first"), (3, "second")]);
    let btf = facts.btf.as_ref().unwrap();
    let mut out = String::new();
    for o in &facts.outside {
        let ty = o.ty.map(|ty| btf.describe(ty)).unwrap_or_default();
        writeln!(out, "{} {:?} weak={} [{ty}]", o.name, o.kind, o.weak).unwrap();
    }
    insta::assert_snapshot!(out, @r"
    CONFIG_HZ Config weak=false [u32]
    bpf_new_kfunc Function weak=true []
    jiffies_of_kernel Variable weak=true [const u64]
    ");
}

#[test]
fn what_asks_for_the_gpl_is_told_with_its_line() {
    let facts = guards();
    assert!(!skep_spec::license::is_gpl_compatible(facts.license.as_deref().unwrap()));
    let mut out = String::new();
    for used in gpl::uses(&facts) {
        writeln!(out, "{}:{} {}", used.program, used.source.unwrap().line, used.what).unwrap();
    }
    insta::assert_snapshot!(out, @r"
    switched:71 bpf_trace_printk
    switched:75 kfunc bpf_new_kfunc
    opened:81 lsm programs
    opened:56 bpf_probe_write_user
    ");
}

#[test]
fn what_runs_when_a_program_throws_is_its_own() {
    let facts = facts("../../../../spec/vectors/files/objects/throws.c", &[]);
    let program = facts.program("throws").unwrap();
    assert!(program.helpers.contains("send_signal"), "{:?}", program.helpers);
    assert!(program.maps.contains("thrown_with") && !program.unknown_calls);
    assert_eq!((program.functions, facts.writers("thrown_with")), (2, Writers::Plain));
    // A callback that is not there leaves open what runs.
    assert!(facts.program("throws_nowhere").unwrap().unknown_calls);
    let mut listed = Vec::new();
    let bytes = build::object("../../../../spec/vectors/files/objects/throws.c", &[]);
    disasm::list(&bytes, Some("throws"), |item| {
        if let disasm::Item::Function(start) = item {
            listed.push(start.name);
        }
    })
    .unwrap();
    listed.sort();
    assert_eq!(listed, ["thrown", "throws"]);
}

#[test]
fn a_constant_guards_only_what_nothing_else_leads_to() {
    let facts = facts("jumps.c", &[]);
    let guards = |program: &str| {
        let uses = &facts.program(program).unwrap().uses;
        let signal = uses.iter().find(|used| used.name == "send_signal").unwrap();
        signal.guards.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(guards("off"), ["off unless verbose is changed"]);
    assert_eq!(guards("jumped_into"), [""; 0]);
    assert_eq!(guards("jumped_into_at_the_load"), [""; 0]);
    assert_eq!(guards("fetched"), [""; 0]);
    assert_eq!(guards("signed_load"), ["depends on below"]);
}

#[test]
fn variables_of_an_arena_are_no_calls_and_its_pages_take_memory() {
    let facts = facts("../../../../spec/vectors/files/objects/arena.c", &[]);
    let program = facts.program("counts_in_pages").unwrap();
    assert!(!program.unknown_calls);
    assert_eq!(program.maps.iter().collect::<Vec<_>>(), ["pages"]);
    assert_eq!(facts.writers("pages"), Writers::Plain);
    let pages = facts.map("pages").unwrap();
    assert_eq!(pages.memory(), Memory { once: 256 * 4096, per_cpu: 0 });
    let of_tasks = facts.map("of_tasks").unwrap();
    assert_eq!(
        (of_tasks.memory(), of_tasks.kind.grows_with()),
        (Memory::default(), Some("a task"))
    );
    let pinned = facts.maps.iter().filter(|map| map.pinned).map(|map| map.name.as_str());
    assert_eq!(pinned.collect::<Vec<_>>(), ["shared_by_name"]);
}
