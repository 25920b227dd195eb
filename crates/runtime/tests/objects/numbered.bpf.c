// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Numbered events of one process, seen once by exactly one version: what the tests of the runtime count.
//
// -DVERSION=1|2 picks the version, -DON_<HOOK> the hooks. Version 2's counter has one more field.
// -DRING=BYTES sizes the ring, -DRING_FLAGS=N says how it wakes its reader; -DPERF puts out through a perf buffer,
// -DSLOTS=N of so many CPUs, and with one more variable. -DSILENT puts out nothing: sleepable programs had no rings before 5.12.
// -DWIDE adds a map whose values are wider than instructions reach.
// -DUNIONS adds maps whose values have unnamed unions: `joined` gets one more field in version 2, `joint` one more member of
// its union.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BASE 0x5eed00000000ULL // numbers are offsets that nobody else seeks to
#define NUMBERS (1 << 18)
#define MAGIC 0x6e756d6265726564ULL // "numbered", in a packet
#define UDP 17

#ifndef RING
#define RING (4 << 20)
#endif
#ifndef RING_FLAGS
#define RING_FLAGS 0
#endif

#if defined(__TARGET_ARCH_x86)
#define NR_LSEEK 8
#elif defined(__TARGET_ARCH_arm64)
#define NR_LSEEK 62
#endif

const volatile __u32 own_pid = 0;

enum level { LOW = -1, MIDDLE, HIGH = 0x7fffffff };
const volatile enum level level = MIDDLE;

struct event {
	__u64 number;
	__u32 version;
	__u32 cpu;
};

// Keeps the record's type in BTF, where readers find it.
const struct event *unused_event __attribute__((unused));

struct count {
	__u64 events;
#if VERSION == 2
	__u64 bytes;
#endif
};

#if defined(SILENT)
#elif defined(PERF)
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
#ifdef SLOTS
	__uint(max_entries, SLOTS);
#endif
} events SEC(".maps");
#else
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING);
} events SEC(".maps");
#endif

// How often each number was seen: one map for each version.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NUMBERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} kept SEC(".maps");

#ifdef WIDE
struct wide {
	__u64 slots[5000];
#if VERSION == 2
	__u64 more;
#endif
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wide);
} wide SEC(".maps");
#endif

#ifdef UNIONS
struct joined {
	union { __u32 a; __u16 b; };
	union { __u32 c; __u16 d; };
	__u64 e;
#if VERSION == 2
	__u64 f;
#endif
};
struct joint {
	union {
		__u32 a;
		__u16 b;
#if VERSION == 2
		__u8 q;
#endif
	};
	__u64 e;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct joined);
} joined SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct joint);
} joint SEC(".maps");
#endif

__u64 total = 0;
__u64 last_number = 0;
#ifdef SLOTS
__u64 more = 0; // so that an upgrade copies variables
#endif

#if defined(SILENT)
static __always_inline void put_out(void *ctx, __u64 number)
{
}
#elif defined(PERF)
static __always_inline void put_out(void *ctx, __u64 number)
{
	struct event event = { number, VERSION, bpf_get_smp_processor_id() };

	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
}
#else
static __always_inline void put_out(void *ctx, __u64 number)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return;
	event->number = number;
	event->version = VERSION;
	event->cpu = bpf_get_smp_processor_id();
	bpf_ringbuf_submit(event, RING_FLAGS);
}
#endif

static __always_inline void note(void *ctx, __u64 number)
{
	__u32 index = number, group = number % 64, zero = 0;
	struct count none = {}, *count;
	__u64 *all, *times;

	times = bpf_map_lookup_elem(&seen, &index);
	if (!times)
		return;
	__sync_fetch_and_add(times, 1);
	__sync_fetch_and_add(&total, 1);
	last_number = number;
	all = bpf_map_lookup_elem(&kept, &zero);
	if (all)
		__sync_fetch_and_add(all, 1);

	count = bpf_map_lookup_elem(&counts, &group);
	if (!count) {
		bpf_map_update_elem(&counts, &group, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&counts, &group);
	}
	if (count) {
		__sync_fetch_and_add(&count->events, 1);
#if VERSION == 2
		__sync_fetch_and_add(&count->bytes, 10);
#endif
	}
	put_out(ctx, number);
}

static __always_inline int seeks(__u64 offset)
{
	return bpf_get_current_pid_tgid() >> 32 == own_pid && offset >= BASE && offset < BASE + NUMBERS;
}

static __always_inline int seek(void *ctx, __u64 offset)
{
	if (seeks(offset))
		note(ctx, offset - BASE);
	return 0;
}

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di;
	unsigned long si;
} __attribute__((preserve_access_index));
#define SECOND(regs) BPF_CORE_READ(regs, si)
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
} __attribute__((preserve_access_index));
struct pt_regs;
#define SECOND(regs) BPF_CORE_READ((struct user_pt_regs *)(regs), regs[1])
#endif

// A new name of a thread: "skep" and the number, a letter from 'a' on for each of its 8 nibbles.
static __always_inline int renamed(void *ctx, const void *comm)
{
	__u64 number = 0;
	char name[12];

	if (bpf_get_current_pid_tgid() >> 32 != own_pid || bpf_probe_read_kernel(name, sizeof(name), comm))
		return 0;
	if (name[0] != 's' || name[1] != 'k' || name[2] != 'e' || name[3] != 'p')
		return 0;
#pragma unroll
	for (int i = 4; i < 12; i++)
		number = number << 4 | ((name[i] - 'a') & 15);
	if (number < NUMBERS)
		note(ctx, number);
	return 0;
}

// Not sys_enter, which any task's system call may keep busy where programs can be preempted.
#ifdef ON_RAW_TP
SEC("raw_tp/task_rename")
int on_raw_tp(__u64 *ctx)
{
	return renamed(ctx, (void *)ctx[1]);
}
#endif

#ifdef ON_TP_BTF
SEC("tp_btf/task_rename")
int on_tp_btf(__u64 *ctx)
{
	return renamed(ctx, (void *)ctx[1]);
}
#endif

#ifdef ON_TRACEPOINT
struct sys_enter {
	__u64 common;
	long id;
	unsigned long args[6];
};
SEC("tp/raw_syscalls/sys_enter")
int on_tracepoint(struct sys_enter *ctx)
{
	return ctx->id == NR_LSEEK ? seek(ctx, ctx->args[1]) : 0;
}
#endif

#ifdef ON_UPROBE
SEC("uprobe")
int on_uprobe(struct pt_regs *ctx)
{
	return seek(ctx, SECOND(ctx));
}
#endif

// What /dev/null does for lseek: called through a pointer, so that no compiler puts it into its caller.
#ifdef ON_KPROBE
SEC("kprobe/null_lseek")
int on_kprobe(struct pt_regs *ctx)
{
	return seek(ctx, SECOND(ctx));
}
#endif

#ifdef ON_FENTRY
SEC("fentry/null_lseek")
int on_fentry(__u64 *ctx)
{
	return seek(ctx, ctx[1]);
}
#endif

#ifdef ON_FEXIT
SEC("fexit/null_lseek")
int on_fexit(__u64 *ctx)
{
	return seek(ctx, ctx[1]);
}
#endif

// Programs that attach by their sections alone.
#if defined(__TARGET_ARCH_x86)
#define LSEEK "__x64_sys_lseek"
#define FIRST(regs) BPF_CORE_READ(regs, di)
#elif defined(__TARGET_ARCH_arm64)
#define LSEEK "__arm64_sys_lseek"
#define FIRST(regs) BPF_CORE_READ((struct user_pt_regs *)(regs), regs[0])
#endif

// A system call is handed the registers of its caller.
#ifdef ON_KSYSCALL
SEC("ksyscall/lseek")
int on_ksyscall(struct pt_regs *ctx)
{
	struct pt_regs *registers = (struct pt_regs *)FIRST(ctx);

	return seek(ctx, SECOND(registers));
}
#endif

#ifdef ON_FENTRY_S
SEC("fentry.s/" LSEEK)
int on_fentry_s(__u64 *ctx)
{
	return seek(ctx, SECOND((struct pt_regs *)ctx[0]));
}
#endif

#ifdef ON_FEXIT_S
SEC("fexit.s/" LSEEK)
int on_fexit_s(__u64 *ctx)
{
	return seek(ctx, SECOND((struct pt_regs *)ctx[0]));
}
#endif

// An event without a number is the next one.
static __always_inline int counted(void *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == own_pid)
		note(ctx, total + 1);
	return 0;
}

#ifdef ON_FMOD_RET
SEC("fmod_ret/security_inode_symlink")
int on_fmod_ret(__u64 *ctx)
{
	return counted(ctx);
}
#endif

#ifdef ON_LSM
SEC("lsm/inode_symlink")
int on_lsm(__u64 *ctx)
{
	return counted(ctx);
}
#endif

// Who reads it is told the version.
#ifdef ON_ITER
SEC("iter/task")
int on_iter(__u64 *ctx)
{
	char version[2] = { '0' + VERSION, '\n' };

	if (!ctx[1]) // after the last task
		bpf_seq_write(*(struct seq_file **)ctx[0], version, sizeof(version));
	return 0;
}
#endif

// A packet of ours: IPv4 at `at`, UDP, the magic number and the number.
static __always_inline void packet(struct __sk_buff *skb, int at)
{
	__u64 body[2];
	__u8 protocol;

	if (bpf_skb_load_bytes(skb, at + 9, &protocol, 1) || protocol != UDP)
		return;
	if (bpf_skb_load_bytes(skb, at + 28, body, sizeof(body)) || body[0] != MAGIC)
		return;
	if (body[1] < NUMBERS)
		note(skb, body[1]);
}

#ifdef ON_TC
SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	packet(skb, 14);
	return -1;
}
#endif

#ifdef ON_CGROUP_SKB
SEC("cgroup_skb/egress")
int on_cgroup_skb(struct __sk_buff *skb)
{
	packet(skb, 0);
	return 1;
}
#endif

#ifdef ON_XDP
SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 *body = (void *)(data + 14 + 28);

	if ((void *)(body + 2) <= (void *)end && data[23] == UDP && body[0] == MAGIC && body[1] < NUMBERS)
		note(ctx, body[1]);
	return XDP_PASS;
}
#endif

// Other hooks of the same package, which come or go with a version.
#ifdef AND_UPROBES
SEC("uprobe.multi.s//proc/self/exe:main")
int uprobes(void *ctx)
{
	return 0;
}
#endif
#ifdef AND_EXTRA_OLD
SEC("tp/raw_syscalls/sys_exit")
int extra_old(void *ctx)
{
	return 0;
}
#endif

#ifdef AND_EXTRA_NEW
SEC("raw_tp/sys_exit")
int extra_new(void *ctx)
{
	return 0;
}
#endif
