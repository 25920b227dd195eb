//! What is in the packages: read when they are pushed, shown on the pages.

mod describe;
mod listing;
mod order;
mod package;
mod signature;
mod touch;

pub use listing::{
    Listing, MapListing, ObjectListing, OutputListing, ParameterListing, ProgramListing,
};
pub use order::{by_version, newest};
pub use package::{Refusal, read};
pub use signature::signed;
pub use touch::{Severity, Touch, touches};

#[cfg(test)]
pub(crate) fn example() -> Listing {
    let program = ProgramListing {
        name: "handle_exec".into(),
        target: "tracepoint/sched/sched_process_exec".into(),
        hook: "tracepoint".into(),
        helpers: vec!["ktime_get_ns".into(), "probe_read_kernel_str".into()],
        kfuncs: Vec::new(),
        instructions: 42,
        unknown_calls: false,
    };
    let map = MapListing {
        name: "events".into(),
        kind: "ringbuf".into(),
        key_size: 0,
        value_size: 0,
        max_entries: 262_144,
        memory: 262_144,
        memory_per_cpu: 0,
        upgrade: None,
    };
    let object = ObjectListing {
        name: "exec".into(),
        architecture: skep_spec::Arch::X86_64,
        digest: "sha256:00".into(),
        size: 6000,
        license: Some("GPL".into()),
        programs: vec![program],
        maps: vec![map],
        undeclared: Vec::new(),
    };
    Listing {
        version: "1.0.0".parse().expect("a version"),
        license: "Apache-2.0".into(),
        summary: Some("Every program that starts".into()),
        readme: None,
        objects: vec![object],
        parameters: Vec::new(),
        outputs: Vec::new(),
        declared: None,
    }
}
