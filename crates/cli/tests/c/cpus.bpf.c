/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* When and where somebody asked for the process group of a process that nobody has, in a buffer for each CPU. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct event { __u64 time; __u32 cpu; __u32 tgid; };
const struct event *unused __attribute__((unused));

struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getpgid")
int on_call(struct trace_event_raw_sys_enter *ctx)
{
	struct event event = {};

	if ((__u32)ctx->args[0] != MARK)
		return 0;
	event.time = bpf_ktime_get_ns();
	event.cpu = bpf_get_smp_processor_id();
	event.tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}
