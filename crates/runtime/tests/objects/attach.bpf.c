// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// One program of any kind, which notes the number of the event that is under way: what the tests of attach types count.
//
// -DVERSION=1|2, -DKIND="its section", -DRETURNS=what it answers, -DCONTEXT=type and -DCOUNTS(ctx)=which of its runs count,
// -DCONTROLS: congestion control of TCP. -DSCHEDULES: a scheduler. -DSOCKETS, -DCPUS: a map of those. -DBESIDE: the section of another program. -DUSDT:
// where it asks for a probe's argument. -DBY_PID: only those of the process that makes the events. -DONCE: several runs of one
// event are one.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#ifdef USDT
#include <linux/ptrace.h>
typedef _Bool bool;
#include <bpf/usdt.bpf.h>
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define NUMBERS (1 << 16)
#define ONE (VERSION == 1 ? 1ULL : 1ULL << 32)
#define OWN (VERSION == 1 ? 0xffffffffULL : 0xffffffffULL << 32)

#ifndef CONTEXT
#define CONTEXT void
#endif
#ifndef COUNTS
#define COUNTS(ctx) 1
#endif

const volatile __u32 own_pid = 0;

// The number of the event that is made now; 0 is none. An upgrade keeps it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} now SEC(".maps");

// How often each was seen, by version 1 in the low half and by version 2 in the high one. An upgrade keeps it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NUMBERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void note(void)
{
	__u32 zero = 0, index;
	__u64 *number, *times;

#ifdef BY_PID
	if (bpf_get_current_pid_tgid() >> 32 != own_pid)
		return;
#endif
	number = bpf_map_lookup_elem(&now, &zero);
	if (!number || !*number)
		return;
	index = *number;
	times = bpf_map_lookup_elem(&seen, &index);
	if (!times)
		return;
#ifdef ONCE
	if (*times & OWN)
		return;
#endif
	__sync_fetch_and_add(times, ONE);
}

#ifdef SOCKETS
// An upgrade keeps it.
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");
#endif

#ifdef CPUS
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");
#endif

// A parser of streams runs only beside one that judges them, and a program of a CPU only where another one sends packets there.
#ifdef BESIDE
SEC(BESIDE)
int beside(void *ctx)
{
#ifdef CPUS
	return bpf_redirect_map(&cpus, 0, 2);
#endif
	return 1;
}
#endif

// Functions of the kernel's interface for congestion control, of which only one counts.
#ifdef CONTROLS
struct sock;
struct tcp_congestion_ops {
	void (*init)(struct sock *sk);
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	__u32 flags;
	char name[16];
};

int on_event(void *ctx);

SEC("struct_ops/ssthresh")
int ssthresh(void *ctx)
{
	return 2;
}

SEC("struct_ops/cong_avoid")
int cong_avoid(void *ctx)
{
	return 0;
}

SEC("struct_ops/undo_cwnd")
int undo_cwnd(void *ctx)
{
	return 10;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops control = {
	.init = (void *)on_event,
	.ssthresh = (void *)ssthresh,
	.cong_avoid = (void *)cong_avoid,
	.undo_cwnd = (void *)undo_cwnd,
	.flags = 1, // for every network namespace
	.name = "skep_test",
};
#endif

// A scheduler that leaves all to the kernel, and counts.
#ifdef SCHEDULES
struct task_struct;
struct sched_ext_ops {
	void (*running)(struct task_struct *task);
	char name[128];
};

int on_event(void *ctx);

SEC(".struct_ops.link")
struct sched_ext_ops schedule = {
	.running = (void *)on_event,
	.name = "skep_test",
};
#endif

SEC(KIND)
int on_event(CONTEXT *ctx)
{
	if (COUNTS(ctx))
		note();
	return RETURNS;
}
