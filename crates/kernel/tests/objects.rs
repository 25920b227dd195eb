//! Objects out of clang: open, change, load, attach, and what is said when that fails.

#![allow(clippy::unwrap_used)] // in what the tests share

use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use skep_kernel::object::{self, OpenOptions, Opened};
use skep_kernel::{AttachPlan, MapHandle, attach, bpffs, kit, ring};

/// Compiles C that may include `<linux/bpf.h>` and libbpf's headers.
fn compile(code: &str) -> Vec<u8> {
    compile_with(code, &["-g"])
}

fn compile_with(code: &str, options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let include = folder.path().join("bpf");
    fs::create_dir(&include).unwrap();
    for (name, text) in kit::headers() {
        fs::write(include.join(name), text).unwrap();
    }
    let (source, object) = (folder.path().join("t.bpf.c"), folder.path().join("t.o"));
    let head = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_core_read.h>\n\
                char LICENSE[] SEC(\"license\") = \"GPL\";\n";
    fs::write(&source, format!("{head}{code}")).unwrap();
    let multiarch = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let output = Command::new("clang")
        .args(options)
        .args(["-O2", "-target", "bpf", "-I"])
        .arg(folder.path())
        .args(["-I", &multiarch, "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(object).unwrap()
}

fn open(code: &str) -> Opened {
    object::open(&compile(code), "test", &OpenOptions::default()).unwrap()
}

const PING: &str = r#"
const volatile int pid = 0, step = 1;
long last = 5;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, long); }
	counts_with_a_long_name SEC(".maps");
static __attribute__((noinline)) int put(long n)
{
	long *r = bpf_ringbuf_reserve(&ring, 8, 0);
	if (!r)
		return 1;
	*r = n;
	bpf_ringbuf_submit(r, 0);
	return 0;
}
static long each(unsigned i, void *ctx)
{
	long n = i;
	return bpf_ringbuf_output(&ring, &n, 8, 0) ? 0 : 0;
}
SEC("raw_tp/sys_enter") int with_a_name_over_15_bytes(long *ctx)
{
	if (ctx[1] != 39 /* getpid */ || (int)(bpf_get_current_pid_tgid() >> 32) != pid)
		return 0;
	last += step;
	for (int i = 0; i < 3; i++)
		put(last);
	bpf_loop(2, each, 0, 0);
	return 0;
}
SEC("?raw_tp/sys_exit") int not_loaded(long *ctx) { return 0; }
"#;

/// As Aya's `#[map]` and older C define maps: two of them, one by words that ask for a pin.
const OLDER: &str = r#"
struct definition { unsigned type, key_size, value_size, max_entries, map_flags, id, pinning; };
struct definition SEC("maps") COUNTS = { 1, 4, 8, 16 };
struct definition SEC("maps") EVENTS = { 27, 0, 0, 4096, 0, 0, 1 };
SEC(".rodata") const volatile int pid = 0;
SEC("raw_tp/sys_enter") int on_call(long *ctx)
{
	int key = 7;
	long one = 1, *count;

	if (ctx[1] != 39 /* getpid */ || (int)(bpf_get_current_pid_tgid() >> 32) != pid)
		return 0;
	count = bpf_map_lookup_elem(&COUNTS, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&COUNTS, &key, &one, 1);
	bpf_ringbuf_output(&EVENTS, &key, 4, 0);
	return 0;
}
"#;

/// With types of its own, and without any.
#[test]
fn maps_that_are_defined_in_the_old_way_hold_what_programs_put_there() {
    for options in [&["-g"][..], &[]] {
        let bytes = compile_with(OLDER, options);
        let mut opened = object::open(&bytes, "older", &OpenOptions::default()).unwrap();
        let pid = std::process::id().to_le_bytes();
        opened.set_global(".rodata", 0, &pid).unwrap();
        let loaded = opened.load().unwrap();
        let program = loaded.program("on_call").unwrap();
        let plan = AttachPlan::new("raw_tp/sys_enter".parse().unwrap());
        let link = attach::attach(program, &plan).unwrap();
        getpid();
        getpid();
        drop(link);
        let counts = loaded.map("COUNTS").unwrap();
        let count = counts.lookup(&7_u32.to_ne_bytes()).unwrap().unwrap();
        assert_eq!(u64::from_ne_bytes(count.try_into().unwrap()), 2, "{options:?}");
        assert_eq!(loaded.map("EVENTS").unwrap().info().max_entries, 4096);
    }
}

fn getpid() {
    // SAFETY: getpid takes nothing. By number: a library could keep the answer.
    let _ = unsafe { libc::syscall(libc::SYS_getpid) };
}

/// The word of a `const volatile int` in `.rodata`, by its order in the section.
fn set_pid_and_step(opened: &mut Opened, step: i32) {
    let words = [std::process::id() as i32, step].map(i32::to_ne_bytes).concat();
    opened.set_global(".rodata", 0, &words).unwrap();
}

#[test]
fn names_globals_and_data_are_the_objects() {
    let mut opened = open(PING);
    let names: Vec<_> = opened.programs().into_iter().map(|p| (p.name, p.autoload)).collect();
    assert_eq!(names, [("with_a_name_over_15_bytes".into(), true), ("not_loaded".into(), false)]);
    let maps: Vec<_> = opened.maps().into_iter().map(|m| m.name).collect();
    assert_eq!(maps, ["ring", "counts_with_a_long_name", ".rodata", ".data"]);
    opened.set_max_entries("ring", 8192).unwrap();
    opened.set_max_entries("counts_with_a_long_name", 99).unwrap();
    set_pid_and_step(&mut opened, 10);
    let error = opened.set_global(".rodata", 6, &[0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "cannot set a global of .rodata");
    let error = opened.set_autoload("pong", true).unwrap_err();
    assert_eq!(error.to_string(), "cannot find the program 'pong'");
    assert_eq!(error.hint(), Some("the object has: with_a_name_over_15_bytes, not_loaded"));

    let loaded = opened.load().unwrap();
    assert!(loaded.program("not_loaded").is_none());
    assert_eq!(loaded.map("counts_with_a_long_name").unwrap().info().max_entries, 99);
    assert_eq!(loaded.map("ring").unwrap().info().max_entries, 8192);
    let program = loaded.program("with_a_name_over_15_bytes").unwrap();
    assert!(program.id().unwrap() > 0 && program.info().unwrap().map_ids.len() >= 3);

    let link =
        attach::attach(program, &AttachPlan::new("raw_tp/sys_enter".parse().unwrap())).unwrap();
    assert!(link.pinnable() && link.program_id() == Some(program.id().unwrap()));
    getpid();
    drop(link);
    let data = loaded.map(".data").unwrap().lookup(&[0; 4]).unwrap().unwrap();
    assert_eq!(data[..8], 15i64.to_ne_bytes());
    let mut reader = ring::Reader::new().unwrap();
    reader.add(loaded.map("ring").unwrap()).unwrap();
    let mut got = Vec::new();
    reader
        .poll(Some(Duration::ZERO), 10, |_, data| {
            got.push(i64::from_ne_bytes(data.try_into().unwrap()))
        })
        .unwrap();
    assert_eq!(got, [15, 15, 15, 0, 1]);
}

#[test]
fn an_object_is_told_another_version_than_the_kernels() {
    let code = compile(
        "extern int LINUX_KERNEL_VERSION __kconfig; int answer;
         SEC(\"raw_tp/sys_enter\") int ask(long *ctx) { answer = LINUX_KERNEL_VERSION; return 0; }",
    );
    let told = |version| {
        let options = OpenOptions { version, ..OpenOptions::default() };
        let loaded = object::open(&code, "test", &options).unwrap().load().unwrap();
        let answers = loaded.map(".kconfig").unwrap().lookup(&[0; 4]).unwrap().unwrap();
        u32::from_ne_bytes(answers[..4].try_into().unwrap())
    };
    let other = object::version::code(5, 11);
    assert_eq!(other, 330_496);
    assert_eq!(told(Some(other)), other);
    assert_ne!(told(None), other); // the kernel's own
}

#[test]
fn lost_events_are_counted_in_subprograms_and_callbacks_too() {
    let counters = MapHandle::create_u64s("lost", 2).unwrap();
    let mut opened = open(PING);
    set_pid_and_step(&mut opened, 1);
    opened.count_lost(&counters).unwrap();
    let loaded = opened.load().unwrap();
    assert_eq!(loaded.counted().slots, ["with_a_name_over_15_bytes"]);
    assert_eq!(loaded.counted().uncounted, []);
    let program = loaded.program("with_a_name_over_15_bytes").unwrap();
    let link =
        attach::attach(program, &AttachPlan::new("raw_tp/sys_enter".parse().unwrap())).unwrap();
    let mut reader = ring::Reader::new().unwrap();
    reader.add(loaded.map("ring").unwrap()).unwrap();
    let (mut fired, mut got) = (0, 0);
    for _ in 0..200 {
        getpid();
        fired += 5;
        if fired == 500 {
            got += reader.poll(Some(Duration::ZERO), usize::MAX, |_, _| ()).unwrap().records as u64;
        }
    }
    drop(link);
    got += reader.poll(Some(Duration::ZERO), usize::MAX, |_, _| ()).unwrap().records as u64;
    let lost = counters.mmap().unwrap().load(0);
    assert!(lost > 0 && got > 0, "{got} read, {lost} lost");
    assert_eq!(got + lost, fired, "each event is read or counted as lost");
}

/// As other toolchains write them, so that readers find the record's type.
const TYPED: &str = r#"
struct event { long number, more; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(key, int); __type(value, struct event); }
	ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(max_entries, 1); __type(key, long); __type(value, struct event); }
	perf SEC(".maps");
const volatile int pid = 0, step = 1;
SEC("raw_tp/sys_enter") int put(long *ctx)
{
	struct event event = { 7, 7 + step };
	if (ctx[1] != 39 /* getpid */ || (int)(bpf_get_current_pid_tgid() >> 32) != pid)
		return 0;
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return bpf_ringbuf_output(&ring, &event, sizeof(event), 0);
}
"#;

#[test]
fn buffers_may_say_what_their_records_are() {
    let mut opened = open(TYPED);
    set_pid_and_step(&mut opened, 1);
    let sizes: Vec<_> =
        opened.maps().into_iter().map(|m| (m.name, m.key_size, m.value_size)).collect();
    assert_eq!(sizes[..2], [("perf".to_owned(), 4, 4), ("ring".to_owned(), 0, 0)]);
    let loaded = opened.load().unwrap();
    let target = AttachPlan::new("raw_tp/sys_enter".parse().unwrap());
    let link = attach::attach(loaded.program("put").unwrap(), &target).unwrap();
    getpid();
    drop(link);
    let mut reader = ring::Reader::new().unwrap();
    reader.add(loaded.map("ring").unwrap()).unwrap();
    let mut got = Vec::new();
    reader.poll(Some(Duration::ZERO), 10, |_, data| got.push(data.to_vec())).unwrap();
    assert_eq!(got, [[7i64, 8].map(i64::to_ne_bytes).concat()]);
}

#[test]
fn a_map_is_shared_only_with_its_like() {
    let first = open(PING).load().unwrap();
    let shared = first.map("counts_with_a_long_name").unwrap();
    shared.update(&7i32.to_ne_bytes(), &70i64.to_ne_bytes(), Default::default()).unwrap();
    let mut opened = open(PING);
    opened.reuse_map("counts_with_a_long_name", shared).unwrap();
    let error = opened.reuse_map("ring", shared).unwrap_err();
    assert_eq!(error.to_string(), "cannot reuse the map ring");
    let second = opened.load().unwrap();
    let map = second.map("counts_with_a_long_name").unwrap();
    assert_eq!(map.lookup(&7i32.to_ne_bytes()).unwrap().unwrap(), 70i64.to_ne_bytes());
    assert_eq!(map.info().id, shared.info().id);
}

/// A folder of pins that goes also when a test fails.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        bpffs::unpin_tree(&self.0).unwrap();
    }
}

#[test]
fn pins_outlive_their_makers() {
    let pins = Pins(PathBuf::from(format!("/sys/fs/bpf/skep_kernel_test_{}", std::process::id())));
    let folder = &pins.0;
    bpffs::ensure_mounted(folder).unwrap();
    let loaded = open(PING).load().unwrap();
    let program = loaded.program("with_a_name_over_15_bytes").unwrap();
    let link =
        attach::attach(program, &AttachPlan::new("raw_tp/sys_enter".parse().unwrap())).unwrap();
    let pin = |name: &str| folder.join(bpffs::escape(name));
    link.pin(&pin("link")).unwrap();
    program.pin(&pin("prog.1")).unwrap();
    loaded.map(".data").unwrap().pin(&pin(".data")).unwrap();
    let (id, kind) = (program.id().unwrap(), program.kind().clone());
    let error = loaded.map(".data").unwrap().pin(&folder.join("a.dot")).unwrap_err();
    assert_eq!(error.hint(), Some("bpffs takes no dots in names"));
    drop((link, loaded));

    assert_eq!(bpffs::pins(folder).unwrap().len(), 3);
    let link = skep_kernel::Link::open_pinned(&pin("link")).unwrap();
    assert_eq!(link.program_id(), Some(id));
    let program = skep_kernel::Program::open_pinned(&pin("prog.1"), kind).unwrap();
    assert_eq!(program.id().unwrap(), id);
    assert!(MapHandle::open_pinned(&pin("prog.1")).is_err(), "a program is no map");
    bpffs::unpin_tree(folder).unwrap();
    assert!(!folder.exists());
}

#[test]
fn several_sources_link_into_one() {
    let a = compile(
        "extern int step(int n) SEC(\".text\") __attribute__((weak)); long total;
        int twice(int n) { return 2 * n; }",
    );
    let b = compile("int twice(int n); SEC(\"tc\") int run(void *ctx) { return twice(21); }");
    let linked = kit::link(&[("a", a), ("b", b)]).unwrap();
    let loaded = object::open(&linked, "linked", &OpenOptions::default()).unwrap().load().unwrap();
    assert_eq!(loaded.program("run").unwrap().test_run(&[0; 64], 1).unwrap().retval, 42);
}

/// As a tool leaves it that strips too much: the section's name in the ELF is another than in the types.
#[test]
fn an_object_without_a_section_that_its_types_have_is_told_so() {
    let mut bytes = compile("SEC(\"xdp\") int pass(void *ctx) { return 2; }");
    let name = b"\0license\0";
    let at = bytes.windows(name.len()).rposition(|part| part == name).unwrap();
    bytes[at + 1] = b'x';
    let error = object::open(&bytes, "test", &OpenOptions::default()).unwrap_err();
    assert!(error.summary.contains("such as .maps or license"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("stripped")));
}

/// Stacks whose depth the object's own loader would set: `key_size` is all that is said.
#[test]
fn stacks_of_open_depth_load() {
    let mut opened = open(
        "struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); } stacks SEC(\".maps\");
        SEC(\"raw_tp/sys_enter\") int stack(void *ctx) { return bpf_get_stackid(ctx, &stacks, 0) < 0; }",
    );
    opened.set_max_entries("stacks", 16).unwrap();
    let loaded = opened.load().unwrap();
    assert_eq!(loaded.map("stacks").unwrap().info().value_size, 127 * 8);
}

#[test]
fn a_function_that_the_kernel_has_not_is_told_in_words() {
    let error = open("SEC(\"fentry/no_such_function\") int f(void *ctx) { return 0; }").load();
    let error = error.unwrap_err();
    let words = "failed to find kernel BTF type ID of 'no_such_function': no such process (ESRCH)";
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint.unwrap().contains("renamed, inlined"));
}

#[test]
fn what_no_section_says_where_to_attach_is_told_so() {
    let loaded = open("SEC(\"sk_msg\") int f(void *ctx) { return 1; }").load().unwrap();
    let error = loaded.attach_by_section("f").unwrap_err();
    assert_eq!(error.errno(), Some(libc::EOPNOTSUPP));
    assert!(error.hint().is_some_and(|hint| hint.contains("section 'sk_msg'")), "{error:?}");
}

#[test]
fn a_symbol_of_two_sources_is_named_with_both() {
    let part =
        |more: &str| compile(&format!("long total; int twice(int n) {{ return 2 * n; }}{more}"));
    let (a, b, c) = (part(""), compile("int once(int n) { return n; }"), part(" long other;"));
    let error = kit::link(&[("src/a.c", a), ("src/b.c", b), ("src/c.c", c)]).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("both src/a.c and src/c.c define 't"), "{hint}");
}

#[test]
fn a_verifier_failure_says_where_in_the_source() {
    let opened =
        open("SEC(\"raw_tp/sys_enter\") int bad(long *ctx) { return *(int *)(ctx[0] & ~7); }");
    let error = opened.load().unwrap_err();
    assert_eq!((error.program.as_deref(), error.errno), (Some("bad"), libc::EACCES));
    assert!(
        error.summary.starts_with("R") && error.summary.contains("invalid mem access"),
        "{error}"
    );
    assert!(
        error.summary.contains("at: SEC(\"raw_tp/sys_enter\") int bad")
            || error.summary.contains("ctx[0]"),
        "{error}"
    );
    assert!(error.log.contains("processed"), "{}", error.log);
}

#[test]
fn a_relocation_that_fails_says_what_is_missing() {
    let opened = open(
        "struct task_struct { int no_such_field_here; } __attribute__((preserve_access_index));
         SEC(\"raw_tp/sys_enter\") int core(long *ctx) {
             struct task_struct *t = (void *)bpf_get_current_task();
             return BPF_CORE_READ(t, no_such_field_here); }",
    );
    let error = opened.load().unwrap_err();
    assert_eq!(error.program.as_deref(), Some("core"), "{error:?}");
    assert!(error.to_string().contains("no_such_field_here"), "{error}");
}

#[test]
fn what_is_no_object_is_refused() {
    let error = |bytes: &[u8]| object::open(bytes, "t", &OpenOptions::default()).unwrap_err();
    assert!(
        error(b"hello").to_string().starts_with("cannot load the object: "),
        "{}",
        error(b"hello")
    );
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(!error(&own).summary.is_empty());
    let object = compile(PING);
    for cut in [10, 100, object.len() / 2] {
        assert!(!error(&object[..cut]).summary.is_empty());
    }
}

#[test]
fn a_btf_file_that_is_none() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"no btf").unwrap();
    let options =
        OpenOptions { btf_path: Some(file.path().to_path_buf()), ..OpenOptions::default() };
    let code = "struct task_struct { int pid; } __attribute__((preserve_access_index));
        SEC(\"raw_tp/sys_enter\") int core(long *ctx) {
            struct task_struct *t = (void *)bpf_get_current_task(); return BPF_CORE_READ(t, pid); }";
    let opened = object::open(&compile(code), "t", &options).unwrap();
    let error = opened.load().unwrap_err();
    assert!(error.to_string().contains("BTF"), "{error}");
    let _ = file.as_raw_fd();
}

#[test]
fn a_kind_that_only_libbpf_knows_is_attached_by_its_section() {
    let loaded = open("SEC(\"raw_tp/sys_enter\") int one(long *ctx) { return 0; }").load().unwrap();
    let link = loaded.attach_by_section("one").unwrap();
    assert!(link.pinnable() && link.id().is_some());
    assert!(loaded.attach_by_section("two").is_err());
}

#[test]
fn a_map_that_asks_for_a_pin_gets_none_and_takes_nobodys() {
    let name = format!("skep_byname_{}", std::process::id());
    let code = format!(
        r#"
struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, long);
	__uint(pinning, LIBBPF_PIN_BY_NAME); }} {name} SEC(".maps");
SEC("raw_tp/sys_enter") int p(void *ctx)
{{
	int zero = 0;
	return bpf_map_lookup_elem(&{name}, &zero) ? 1 : 0;
}}
"#
    );
    let path = Path::new(bpffs::DEFAULT).join(&name);
    let theirs = MapHandle::create_u64s("stranger", 1).unwrap();
    theirs.pin(&path).unwrap();
    let loaded = open(&code).load().map(|loaded| loaded.map(&name).unwrap().info().id);
    bpffs::unpin(&path).unwrap();
    assert_ne!(loaded.unwrap(), theirs.info().id);
    let loaded = open(&code).load();
    let left = path.exists();
    bpffs::unpin(&path).unwrap();
    loaded.unwrap();
    assert!(!left, "{} was pinned", path.display());
}
