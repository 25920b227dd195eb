/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps of every kind of metric; what is in them comes from the test. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

enum far_way { INWARDS = 1, OUTWARDS = 2 };

struct whose { __u32 dev; char comm[16]; };
struct slots_of { __u64 slots[8]; __u64 total; };
struct far_end { __u32 address; enum far_way way; __u64 since; };

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, struct whose); __type(value, struct slots_of); } took SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } depth SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } calls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, struct far_end); } peers SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	struct whose key = {};
	__u32 none = 0xffffffff;

	return bpf_map_lookup_elem(&took, &key) || bpf_map_lookup_elem(&depth, &none) ||
	       bpf_map_lookup_elem(&calls, &none) || bpf_map_lookup_elem(&peers, &none);
}
