// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Fills a ring as fast as the kernel can: 64 records for each getpgid() with our mark as its argument.
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define GETPGID 121
#define MARK 0x736b6570
#define RECORDS 64

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct pt_regs {
	unsigned long di;
} __attribute__((preserve_access_index));

struct record {
	__u64 number;
	__u64 time;
};
const struct record *unused_record __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024);
} records SEC(".maps");

SEC("raw_tp/sys_enter")
int flood(struct bpf_raw_tracepoint_args *ctx)
{
	struct record record = {};
	int i;

	if (ctx->args[1] != GETPGID || BPF_CORE_READ((struct pt_regs *)ctx->args[0], di) != MARK)
		return 0;
	for (i = 0; i < RECORDS; i++) {
		record.number = i;
		bpf_ringbuf_output(&records, &record, sizeof(record), BPF_RB_NO_WAKEUP);
	}
	return 0;
}
