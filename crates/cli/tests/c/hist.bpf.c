/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The other source of spec/examples/observation.toml. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct hist { __u64 slots[32]; __u64 total_bytes; __u64 min_ns; __u64 last_seen; };

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct hist); } hist SEC(".maps");

__attribute__((noinline)) void seen(__u64 took, __u32 bytes)
{
	__u32 key = 0, slot = 0;
	struct hist *all = bpf_map_lookup_elem(&hist, &key);

	if (!all)
		return;
	for (int i = 0; i < 31 && took > 1; i++, took >>= 1)
		slot++;
	__sync_fetch_and_add(&all->slots[slot & 31], 1);
	__sync_fetch_and_add(&all->total_bytes, bytes);
	all->last_seen = bpf_ktime_get_ns();
}
