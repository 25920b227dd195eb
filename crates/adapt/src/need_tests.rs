use std::process::Command;

use skep_object::MapKind;
use skep_spec::Arch;

use super::*;

const SOURCE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
struct { int (*type)[27]; int (*max_entries)[4096]; } ring SEC(".maps");
struct { int (*type)[1]; int (*max_entries)[9]; int *key; long *value; } counts SEC(".maps");
struct task_struct { int pid; } __attribute__((preserve_access_index));
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*output)(void *, void *, long, long) = (void *)130;
extern int bpf_some_kfunc(int) SEC(".ksyms");
SEC("fentry/vfs_read") int reads(struct task_struct *task)
{
	int pid = task->pid;
	return output(&ring, &pid, 4, 0);
}
SEC("tc") int drops(void *packet) { int key = 0; return lookup(&counts, &key) != 0; }
SEC("tp/sched/sched_switch") int switches(void *context) { return bpf_some_kfunc(1); }
SEC("?kprobe/vfs_write") int writes(void *context) { return 0; }
"#;

fn facts() -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("needs.c"), folder.path().join("needs.o"));
    std::fs::write(&source, SOURCE).unwrap();
    let clang = Command::new("clang")
        .args(["-target", "bpf", "-g", "-O2", "-c", "-o"])
        .args([&object, &source])
        .output()
        .unwrap();
    assert!(clang.status.success(), "{}", String::from_utf8_lossy(&clang.stderr));
    Facts::parse(&std::fs::read(object).unwrap()).unwrap()
}

fn listing(needs: &[Need]) -> String {
    needs.iter().map(|need| format!("{need}\n")).collect()
}

/// A kernel that has all that is needed.
fn complete(needs: &[Need]) -> KernelFacts {
    let mut kernel = KernelFacts::new("6.12", Arch::X86_64, 2);
    for feature in needs.iter().flat_map(|need| &need.any_of) {
        kernel.learn(feature.clone(), Support::Yes);
    }
    kernel
}

fn without(kernel: &KernelFacts, feature: Feature) -> KernelFacts {
    let mut kernel = kernel.clone();
    kernel.learn(feature, Support::No);
    kernel
}

#[test]
fn needs_are_read_from_the_code_of_programs_that_load_by_themselves() {
    insta::assert_snapshot!(listing(&of_object(&facts())), @r"
    BTF of its own for 'reads', 'switches'
    sched_cls programs for 'drops'
    tracepoint programs for 'switches'
    tracing programs for 'reads'
    hash maps for 'drops'
    ringbuf maps for 'reads'
    the helper bpf_map_lookup_elem for 'drops'
    the helper bpf_ringbuf_output for 'reads'
    the kfunc bpf_some_kfunc for 'switches'
    the function vfs_read for 'reads'
    the tracepoint sched/sched_switch for 'switches'
    attaching by fentry for 'reads'
    attaching by tcx or attaching by tc for 'drops'
    attaching by tracepoint for 'switches'
    ");
}

#[test]
fn a_kernel_has_it_lacks_it_or_nobody_knows() {
    let needs = of_object(&facts());
    let kernel = complete(&needs);
    let decide = |kernel: &KernelFacts| verdict(&ask(&needs, kernel));
    assert_eq!(decide(&kernel), Verdict::Runs);
    let older = without(&kernel, Feature::Map(MapKind::RingBuf));
    insta::assert_debug_snapshot!(decide(&older), @r#"
    Refuses(
        [
            "the kernel lacks ringbuf maps for 'reads'",
        ],
    )
    "#);
    let mut closed = kernel.clone();
    closed.learn(Feature::Btf, Support::Unknown("no permission to ask".into()));
    insta::assert_debug_snapshot!(decide(&closed), @r#"
    Unknown(
        [
            "it is not known whether the kernel has BTF of its own for 'reads', 'switches': no permission to ask",
        ],
    )
    "#);
    let both = without(&closed, Feature::Map(MapKind::RingBuf));
    assert!(matches!(decide(&both), Verdict::Refuses(_)), "a no outweighs what is open");
}

#[test]
fn the_second_best_serves_too() {
    let needs = of_object(&facts());
    let kernel = without(&complete(&needs), Feature::Attach("tcx".into()));
    let answers = ask(&needs, &kernel);
    assert_eq!(verdict(&answers), Verdict::Runs);
    assert!(answers.iter().any(|a| a.with == Some(Feature::Attach("tc".into()))));
    let neither = without(&kernel, Feature::Attach("tc".into()));
    insta::assert_debug_snapshot!(verdict(&ask(&needs, &neither)), @r#"
    Refuses(
        [
            "the kernel lacks attaching by tcx or attaching by tc for 'drops'",
        ],
    )
    "#);
}
