// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The least that an XDP program can do: what is measured is the way to it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
