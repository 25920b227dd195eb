// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Two packages with a map in common: -DFLOWS counts into it, -DAPP reads it. -DLONGER has another value.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 own_pid = 0;

struct key {
	__u32 pid;
};

struct value {
	__u64 renames;
#ifdef LONGER
	__u64 more;
#endif
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct key);
	__type(value, struct value);
} flows SEC(".maps");

#ifdef FLOWS
SEC("raw_tp/task_rename")
int count(void *context)
{
	struct key key = { bpf_get_current_pid_tgid() >> 32 };
	struct value *value;

	if (key.pid != own_pid)
		return 0;
	value = bpf_map_lookup_elem(&flows, &key);
	if (!value) {
		struct value new = {};

		bpf_map_update_elem(&flows, &key, &new, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&flows, &key);
	}
	if (value)
		__sync_fetch_and_add(&value->renames, 1);
	return 0;
}
#else
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} copied SEC(".maps");

SEC("raw_tp/task_rename")
int copy(void *context)
{
	struct key key = { bpf_get_current_pid_tgid() >> 32 };
	struct value *value = bpf_map_lookup_elem(&flows, &key);
	__u32 zero = 0;
	__u64 *copy = bpf_map_lookup_elem(&copied, &zero);

	if (key.pid == own_pid && value && copy)
		*copy = value->renames;
	return 0;
}
#endif
