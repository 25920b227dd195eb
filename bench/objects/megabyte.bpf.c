// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// An object of 1 MB: one program and a large table.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile char table[1000 * 1000] = { 1 };
volatile int sum;

SEC("tracepoint/sched/sched_process_exec")
int megabyte(void *ctx)
{
	sum += table[0];
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
