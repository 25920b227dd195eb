use std::fmt::Write as _;

use skep_object::permissions::{Power, derive, reasons, uncovered};
use skep_spec::manifest::Permissions;

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
    let mut permissions = Permissions {
        hooks: list(&["tracepoint/sched/*", "kprobe", "xdp.frags"]),
        helpers: list(&["ringbuf_*", "map_*", "ktime_get_ns", "loop"]),
        kfuncs: list(&["bpf_strange_kfunc"]),
        map_memory: Some("1MiB".into()),
    };
    assert_eq!(uncovered(&permissions, &facts), Vec::<String>::new());
    permissions.map_memory = Some("4KiB".into());
    insta::assert_snapshot!(uncovered(&permissions, &facts).join("\n"), @"map-memory is 4KiB, the maps take 36200 bytes");
    permissions.map_memory = Some("much".into());
    insta::assert_snapshot!(uncovered(&permissions, &facts).join("\n"), @"map-memory 'much' is no size such as 16MiB");
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
    writes the memory of processes: opened by bpf_probe_write_user, line 56 [off unless verbose is changed]
    decides about permissions: opened by lsm/file_open, line 81 []
    sends signals to processes: opened by bpf_send_signal, line 87 [off unless mode is changed]
    calls kernel functions: switched by bpf_new_kfunc, line 75 [where the kernel has bpf_new_kfunc]
    observes the system: opened by lsm/file_open, line 81 []
    observes the system: switched by raw_tp/sched_switch, line 63 []
    ");
    let summary = derive(&facts("guards.c", &[]));
    let reasons = reasons(&facts("guards.c", &[]));
    assert!(summary.powers.iter().all(|power| reasons.iter().any(|r| r.power == *power)));
    assert!(reasons.iter().all(|reason| summary.powers.contains(&reason.power)));
}
