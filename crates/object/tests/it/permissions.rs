use skep_object::permissions::{Power, derive, uncovered};
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
