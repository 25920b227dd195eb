// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A map of many entries, with types.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, __u64);
} large SEC(".maps");

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	__u32 none = 0;

	return bpf_map_lookup_elem(&large, &none) ? XDP_DROP : XDP_PASS;
}
