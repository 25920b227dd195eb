use std::process::Command;

use skep_object::{Btf, MapKind};
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
    compiled(SOURCE)
}

fn compiled(text: &str) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("needs.c"), folder.path().join("needs.o"));
    std::fs::write(&source, text).unwrap();
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

#[test]
fn needs_are_read_from_the_code() {
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
fn programs_that_wait_need_nothing_until_they_are_wanted() {
    let facts = facts();
    let program = facts.program("writes").unwrap();
    let target = "kprobe/vfs_writev".parse().unwrap();
    let needs = of_programs(&facts, std::iter::once((program, &target)));
    insta::assert_snapshot!(listing(&needs), @r"
    kprobe programs for 'writes'
    the function vfs_writev for 'writes'
    attaching by kprobe for 'writes'
    ");
}

#[test]
fn a_kernel_has_it_lacks_it_or_nobody_knows() {
    let needs = of_object(&facts());
    let kernel = complete(&needs);
    let decide = |kernel: &KernelFacts| verdict(&ask(&needs, kernel));
    assert_eq!(decide(&kernel), Verdict::Runs);
    let older = kernel.clone().without(Feature::Map(MapKind::RingBuf));
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
    let both = closed.without(Feature::Map(MapKind::RingBuf));
    assert!(matches!(decide(&both), Verdict::Refuses(_)), "a no outweighs what is open");
}

#[test]
fn the_second_best_serves_too() {
    let needs = of_object(&facts());
    let kernel = complete(&needs).without(Feature::Attach("tcx".into()));
    let answers = ask(&needs, &kernel);
    assert_eq!(verdict(&answers), Verdict::Runs);
    assert!(answers.iter().any(|a| a.with == Some(Feature::Attach("tc".into()))));
    let neither = kernel.without(Feature::Attach("tc".into()));
    insta::assert_debug_snapshot!(verdict(&ask(&needs, &neither)), @r#"
    Refuses(
        [
            "the kernel lacks attaching by tcx or attaching by tc for 'drops'",
        ],
    )
    "#);
}

#[test]
fn what_never_runs_there_is_not_needed_there() {
    let facts = guarded();
    let program = facts.program("asks").unwrap();
    let all = of_object(&facts);
    let helpers = |needs: &[Need]| -> Vec<String> {
        let named =
            needs.iter().flat_map(|need| &need.any_of).filter_map(|feature| match feature {
                Feature::Helper(name) | Feature::Kfunc(name) => Some(name.clone()),
                _ => None,
            });
        named.collect()
    };
    let asked = |kernel: &KernelFacts, types: Option<&Btf>, changed: &[&'static str]| {
        let changed = changed.iter().copied().collect();
        let programs = std::iter::once((program, &program.target));
        helpers(&of_programs_on(&facts, programs, &Ground { kernel, types, changed })).join(" ")
    };
    let nobody = KernelFacts::new("6.1", Arch::X86_64, 2);
    let has = |name: &str, support| {
        let mut kernel = nobody.clone();
        kernel.learn(Feature::Helper(name.to_owned()), support);
        kernel
    };
    let everything =
        "get_current_cgroup_id get_func_ip jiffies64 ktime_get_boot_ns ktime_get_ns bpf_new_kfunc";
    assert_eq!(helpers(&all).join(" "), everything);
    // Nobody knows anything: only the constant's branch is dead, unless it may be changed.
    let without = |name: &str| everything.replace(name, "").replace("  ", " ").trim().to_owned();
    let live = without("get_current_cgroup_id");
    assert_eq!(asked(&nobody, None, &[]), live);
    assert_eq!(asked(&nobody, None, &["verbose"]), everything);
    // The kernel's list of helpers answers bpf_core_enum_value_exists.
    let lacking = asked(&has("get_func_ip", Support::No), None, &["verbose"]);
    assert_eq!(lacking, without("get_func_ip"));
    let having = asked(&has("get_func_ip", Support::Yes), None, &["verbose"]);
    assert_eq!(having, without("ktime_get_boot_ns"));
    // A weak kernel function that is not there is never called.
    let mut old = nobody.clone();
    old.learn(Feature::Kfunc("bpf_new_kfunc".to_owned()), Support::No);
    assert_eq!(asked(&old, None, &["verbose"]), without("bpf_new_kfunc"));
    // Types without the field tell, and types without the struct do not: a module may have it.
    let (lacks, other) =
        (compiled("struct task_struct { int pid; } x;"), compiled("struct y { int pid; } x;"));
    assert_eq!(asked(&nobody, lacks.btf.as_ref(), &["verbose"]), without("jiffies64"));
    assert_eq!(asked(&nobody, other.btf.as_ref(), &["verbose"]), everything);
    assert_eq!(asked(&nobody, facts.btf.as_ref(), &["verbose"]), everything);
}

/// Every question that code can ask of a kernel before it goes on, and clocks that are read on both sides of one.
fn guarded() -> Facts {
    compiled(
        r#"
#define SEC(name) __attribute__((section(name), used))
struct task_struct { int pid; long __state; } __attribute__((preserve_access_index));
enum bpf_func_id { BPF_FUNC_get_func_ip = 173 };
static long (*jiffies)(void) = (void *)118;
static long (*boot)(void) = (void *)125;
static long (*ktime)(void) = (void *)5;
static long (*cgroup)(void) = (void *)80;
static long (*func_ip)(void *) = (void *)173;
extern int bpf_new_kfunc(long) __attribute__((weak)) SEC(".ksyms");
const volatile char verbose = 0;
SEC("raw_tp/sched_switch") int asks(struct task_struct *task)
{
	long sum = ktime();
	if (__builtin_preserve_field_info(task->__state, 2))
		sum += jiffies() + ktime();
	if (__builtin_preserve_enum_value(*(enum bpf_func_id *)BPF_FUNC_get_func_ip, 0))
		sum += func_ip(task);
	else
		sum += boot();
	if (verbose)
		sum += cgroup();
	if (bpf_new_kfunc)
		sum += bpf_new_kfunc(sum);
	return sum;
}
"#,
    )
}
