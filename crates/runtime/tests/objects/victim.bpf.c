// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A program that is nobody's service, with a function that another one may replace.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__attribute__((noinline)) int verdict(struct xdp_md *ctx)
{
	volatile int pass = XDP_PASS;

	return pass;
}

SEC("xdp")
int victim(struct xdp_md *ctx)
{
	return verdict(ctx);
}
