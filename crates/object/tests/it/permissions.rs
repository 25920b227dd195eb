use std::collections::BTreeMap;
use std::fmt::Write as _;

use skep_object::declared::{hold, runs};
use skep_object::permissions::{Power, derive, reasons, uncovered};
use skep_object::{Facts, MapKind, Memory, Slot};
use skep_spec::manifest::Permissions;
use skep_spec::source;

use crate::build::facts;

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn the_summary_says_what_the_code_may_do() {
    let summary = derive(&facts("facts.c", &[]));
    insta::assert_snapshot!(serde_json::to_string_pretty(&summary).unwrap(), @r#"
    {
      "hooks": [
        "kprobe/vfs_read+0x10",
        "tracepoint/sched/sched_process_exec",
        "xdp.frags"
      ],
      "helpers": [
        "ktime_get_ns",
        "loop",
        "map_lookup_elem",
        "ringbuf_reserve",
        "ringbuf_submit"
      ],
      "kfuncs": [
        "bpf_strange_kfunc"
      ],
      "map_memory": {
        "once": 36152,
        "per_cpu": 48
      },
      "powers": [
        "unknown",
        "controls-traffic",
        "calls-kernel-functions",
        "reads-traffic",
        "observes"
      ],
      "unknown_calls": []
    }
    "#);
}

#[test]
fn powers_are_sorted_by_gravity() {
    assert!(Power::WritesUserMemory < Power::OverridesReturns);
    assert!(Power::ControlsTraffic < Power::ReadsUserMemory);
    assert!(Power::ReadsKernelMemory < Power::Observes);
}

#[test]
fn what_permissions_lack_is_said() {
    let facts = facts("facts.c", &[]);
    insta::assert_snapshot!(uncovered(&Permissions::default(), &facts).join("\n"), @r"
    hooks lacks 'tracepoint': program 'on_exec' attaches to tracepoint/sched/sched_process_exec
    hooks lacks 'tracepoint': program 'on_exec_too' attaches to tracepoint/sched/sched_process_exec
    hooks lacks 'kprobe': program 'optional' attaches to kprobe/vfs_read+0x10
    hooks lacks 'xdp': program 'packets' attaches to xdp.frags
    helpers lacks 'ktime_get_ns', which is called by 'on_exec'
    helpers lacks 'loop', which is called by 'on_exec_too'
    helpers lacks 'map_lookup_elem', which is called by 'on_exec', 'optional', 'packets'
    helpers lacks 'ringbuf_reserve', which is called by 'on_exec'
    helpers lacks 'ringbuf_submit', which is called by 'on_exec'
    kfuncs lacks 'bpf_strange_kfunc', which is called by 'packets'
    ");
}

#[test]
fn patterns_cover() {
    let facts = facts("facts.c", &[]);
    let permissions = Permissions {
        hooks: list(&["tracepoint/sched/*", "kprobe", "xdp.frags"]),
        helpers: list(&["ringbuf_*", "map_*", "ktime_get_ns", "loop"]),
        kfuncs: list(&["bpf_strange_kfunc"]),
        map_memory: None,
    };
    assert_eq!(uncovered(&permissions, &facts), Vec::<String>::new());
}

/// What objects do beyond a manifest with these tables.
fn beyond(tables: &str, objects: &[Facts], given: &[(&str, &str)]) -> String {
    let text = format!(
        "spec = \"1.0\"\n[package]\nname = \"a/b\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
         [object.o]\nsources = [\"o.c\"]\n\
         [permissions]\nhooks = [\"tracepoint\", \"kprobe/vfs_*\", \"xdp\"]\nkfuncs = [\"*\"]\nhelpers = [\"*\"]\n{tables}"
    );
    let manifest = source::parse(&text).unwrap().resolve(&BTreeMap::new());
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match hold(&manifest, objects, &given.collect()) {
        Ok(()) => String::new(),
        Err(exceeded) => exceeded.missing().join("\n"),
    }
}

#[test]
fn maps_count_together_and_in_the_manifests_sizes() {
    let objects = [facts("facts.c", &[]), facts("facts.c", &[])];
    assert_eq!(beyond("map-memory = \"72400\"", &objects, &[]), "");
    insta::assert_snapshot!(beyond("map-memory = \"72399\"", &objects, &[]), @"map-memory is 72399, the maps take 72400 bytes");
    let sized = "map-memory = \"1MiB\"\n[map.ring]\nmax_entries = \"${param.ring}\"\n\
                 [param.ring]\ntype = \"size\"\ndefault = \"4KiB\"";
    assert_eq!(beyond(sized, &objects, &[]), "");
    insta::assert_snapshot!(beyond(sized, &objects, &[("ring", "1MiB")]), @"map-memory is 1MiB, the maps take 2161360 bytes");
}

#[test]
fn sizes_that_are_left_open_count_as_a_node_fills_them_in() {
    let mut open = facts("facts.c", &[]);
    for map in &mut open.maps {
        match map.name.as_str() {
            "ring" | "counts" => map.max_entries = 0,
            "percpu" => (map.kind, map.max_entries) = (MapKind::PerfEventArray, 0),
            _ => {}
        }
    }
    assert_eq!(open.map("ring").unwrap().memory(), Memory { once: 256 << 10, per_cpu: 0 });
    assert_eq!(open.map("counts").unwrap().memory(), Memory { once: 10_240 * 32, per_cpu: 0 });
    assert_eq!(open.map("percpu").unwrap().memory(), Memory { once: 0, per_cpu: 8 });
    let said = beyond("map-memory = \"256KiB\"", &[open], &[]);
    insta::assert_snapshot!(said, @"map-memory is 256KiB, the maps take 589888 bytes");
}

#[test]
fn targets_of_the_manifest_count_and_a_parameter_never_chooses_the_kind() {
    let objects = [facts("facts.c", &[])];
    let at = |target: &str| {
        let program = format!("[program.p]\nfunction = \"on_exec\"\ntarget = \"{target}\"\n");
        let param = "[param.x]\ntype = \"string\"\ndefault = \"0\"";
        beyond(&format!("{program}{param}"), &objects, &[])
    };
    assert_eq!(at("kprobe/vfs_write"), "");
    assert_eq!(at("kprobe/vfs_${param.x}"), "");
    insta::assert_snapshot!(at("kprobe/do_exit"), @"hooks lacks 'kprobe': program 'on_exec' attaches to kprobe/do_exit");
    insta::assert_snapshot!(at("kprobe/do_exit+${param.x}"), @"hooks lacks 'kprobe': program 'on_exec' attaches to kprobe/do_exit+${param.x}");
    insta::assert_snapshot!(at("fentry/vfs_read"), @"hooks lacks 'fentry': program 'on_exec' attaches to fentry/vfs_read");
    insta::assert_snapshot!(at("${param.x}/vfs_read"), @"program 'on_exec' leaves its kind of hook open: ${param.x}/vfs_read");
}

#[test]
fn every_power_has_its_reasons_with_lines() {
    let mut out = String::new();
    for reason in reasons(&facts("guards.c", &[])) {
        let line = reason.source.as_ref().unwrap().line;
        let guards: Vec<String> = reason.guards.iter().map(ToString::to_string).collect();
        let (power, program, by) = (reason.power, &reason.program, &reason.by);
        writeln!(out, "{power}: {program} by {by}, line {line} [{}]", guards.join(", ")).unwrap();
    }
    insta::assert_snapshot!(out, @r"
    does what nobody can tell: switched by bpf_new_kfunc, line 75 [where the kernel has bpf_new_kfunc]
    writes the memory or registers of processes: opened by bpf_probe_write_user, line 56 [off unless verbose is changed]
    decides about permissions: opened by lsm/file_open, line 81 []
    sends signals to processes: opened by bpf_send_signal, line 87 [off unless mode is changed]
    reads the memory of processes: switched by bpf_trace_printk, line 71 [off unless verbose is changed]
    reads kernel memory: opened by lsm/file_open, line 81 []
    reads kernel memory: switched by bpf_trace_printk, line 71 [off unless verbose is changed]
    calls kernel functions: switched by bpf_new_kfunc, line 75 [where the kernel has bpf_new_kfunc]
    observes the system: opened by lsm/file_open, line 81 []
    observes the system: switched by raw_tp/sched_switch, line 63 []
    observes the system: woken by raw_tp/sched_wakeup, line 97 []
    ");
    let summary = derive(&facts("guards.c", &[]));
    let reasons = reasons(&facts("guards.c", &[]));
    assert!(summary.powers.iter().all(|power| reasons.iter().any(|r| r.power == *power)));
    assert!(reasons.iter().all(|reason| summary.powers.contains(&reason.power)));
}

/// What runs of `facts.c` under a manifest with these tables: programs, and where each attaches.
fn running(tables: &str) -> String {
    let text = format!(
        "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
         [object.one]\nsources = [\"a.c\"]\n[object.two]\nsources = [\"b.c\"]\n{tables}"
    );
    let manifest = source::parse(&text).unwrap().resolve(&BTreeMap::new());
    let facts = runs(&manifest, "one", &facts("facts.c", &[]), &BTreeMap::new());
    let mut out = String::new();
    for program in &facts.programs {
        writeln!(out, "{} at {}", program.name, program.target).unwrap();
    }
    out + &format!("{:?}", derive(&facts).powers)
}

/// Programs in a slot that the object fills run, whoever is listed.
#[test]
fn what_can_be_called_by_tail_is_part_of_what_runs() {
    let all = facts("facts.c", &[]);
    let mut with_slots = all.clone();
    let slot = Slot { index: 0, name: "packets".to_owned() };
    with_slots.maps[0].kind = MapKind::ProgArray;
    with_slots.maps[0].slots = vec![slot];
    let text = "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                [object.one]\nsources = [\"a.c\"]\n[program.a]\nfunction = \"on_exec\"\n";
    let manifest = source::parse(text).unwrap().resolve(&BTreeMap::new());
    let names = |facts: &Facts| -> Vec<String> {
        let running = runs(&manifest, "one", facts, &BTreeMap::new());
        running.programs.into_iter().map(|program| program.name).collect()
    };
    assert_eq!(names(&all), ["on_exec"]);
    assert_eq!(names(&with_slots), ["on_exec", "packets"]);
}

#[test]
fn a_package_runs_what_its_manifest_lists_where_it_says() {
    insta::assert_snapshot!(running(""), @r"
    on_exec at tracepoint/sched/sched_process_exec
    on_exec_too at tracepoint/sched/sched_process_exec
    packets at xdp.frags
    [Unknown, ControlsTraffic, CallsKernelFunctions, ReadsTraffic, Observes]
    ");
    let first = "[program.a]\nfunction = \"on_exec\"\nobject = \"one\"\n";
    insta::assert_snapshot!(running(first), @r"
    on_exec at tracepoint/sched/sched_process_exec
    [Observes]
    ");
    let moved = "target = \"fmod_ret/bpf_modify_return_test\"\n";
    insta::assert_snapshot!(running(&format!("{first}{moved}")), @r"
    on_exec at fmod_ret/bpf_modify_return_test
    [OverridesReturns, ReadsKernelMemory, Observes]
    ");
    // Its section's powers are there wherever it attaches.
    let moved = "target = \"xdp/eth0\"\n";
    insta::assert_snapshot!(running(&format!("{first}{moved}")), @r"
    on_exec at xdp/eth0
    [ControlsTraffic, ReadsTraffic, Observes]
    ");
    let again = "[program.b]\nfunction = \"on_exec\"\nobject = \"one\"\ntarget = \"lsm/file_open\"\n\
                 [program.c]\nfunction = \"optional\"\nobject = \"one\"\n\
                 [program.d]\nfunction = \"packets\"\nobject = \"two\"\n";
    insta::assert_snapshot!(running(&format!("{first}{again}")), @r"
    on_exec at tracepoint/sched/sched_process_exec
    on_exec at lsm/file_open
    optional at kprobe/vfs_read+0x10
    [DecidesAccess, ReadsKernelMemory, Observes]
    ");
}

/// A raw tracepoint whose program writes what it is handed, and a manifest that does not say so.
#[test]
fn a_target_hides_nothing_of_the_section() {
    let mut object = facts("facts.c", &[]);
    object.programs.retain(|program| program.name == "optional");
    let program = &mut object.programs[0];
    program.section = "raw_tp.w/nbd_send_request".to_owned();
    program.target = "raw_tp/nbd_send_request".parse().unwrap();
    let summary = derive(&object);
    assert_eq!(summary.powers, [Power::WritesKernelMemory, Power::Observes]);
    let hooks: Vec<&String> = summary.hooks.iter().collect();
    assert_eq!(hooks, ["raw_tp.w/nbd_send_request", "raw_tp/nbd_send_request"]);
    let causes: Vec<String> = reasons(&object).iter().map(|reason| reason.by.to_string()).collect();
    assert_eq!(
        causes,
        ["raw_tp.w/nbd_send_request", "raw_tp.w/nbd_send_request", "raw_tp/nbd_send_request"]
    );
    let allowed = |hook: &str| {
        let permissions =
            Permissions { hooks: list(&[hook]), helpers: list(&["*"]), ..Permissions::default() };
        uncovered(&permissions, &object).join("\n")
    };
    insta::assert_snapshot!(allowed("raw_tp/nbd_send_request"), @"hooks lacks 'raw_tp': program 'optional' attaches to raw_tp.w/nbd_send_request");
    assert_eq!(allowed("raw_tp"), "");
}

#[test]
fn probes_that_write_registers_are_told_apart() {
    let object = facts("../../../../spec/vectors/files/objects/registers.c", &[]);
    let writes = |power: &Power| *power == Power::WritesUserMemory;
    let told = reasons(&object);
    let told: Vec<(&str, String)> = told
        .iter()
        .filter(|reason| writes(&reason.power))
        .map(|reason| (reason.program.as_str(), reason.by.to_string()))
        .collect();
    let expected = [
        ("by_argument", "uretprobe.w//bin/true:main"),
        ("by_context", "usdt.w//bin/true:a:b"),
        ("by_slot", "uprobe.w//bin/true:*"),
        ("stores", "uprobe.w"),
    ];
    assert_eq!(told, expected.map(|(program, hook)| (program, hook.to_owned())));
    assert!(object.program("of_the_kernel").unwrap().writes_registers);
    assert!(!object.program("marks").unwrap().writes_registers);
}

/// More maps than are told apart, and more code than is walked.
#[test]
fn what_cannot_be_followed_counts_as_a_write_of_registers() {
    let mut source = "#include \"bpf.h\"\n".to_owned();
    for at in 0..65 {
        source += &format!(
            "struct {{ NUMBER(type, ARRAY); NUMBER(max_entries, 1); TYPE(key, u32); TYPE(value, u64); }} m{at} SEC(\".maps\");\n"
        );
    }
    source += "SEC(\"uprobe\") int reads(u64 *regs) { return regs[1]; }\n\
               SEC(\"uprobe\") int stores(u64 *regs) { regs[1] = 1; return 0; }\n\
               extern int nowhere(void);\n\
               SEC(\"uprobe\") int calls(u64 *regs) { return nowhere(); }\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.c");
    std::fs::write(&path, source).unwrap();
    let object = facts(path.to_str().unwrap(), &[]);
    let writes: Vec<(&str, bool)> =
        object.programs.iter().map(|p| (p.name.as_str(), p.writes_registers)).collect();
    assert_eq!(writes, [("reads", false), ("stores", true), ("calls", true)]);
    let all = Permissions { hooks: list(&["*"]), ..Permissions::default() };
    insta::assert_snapshot!(uncovered(&all, &object).join("\n"), @"program 'calls' has a call whose target cannot be told; no object has 'nowhere', and none is declared __ksym");
}
