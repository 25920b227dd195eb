/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Probes that write the registers that they are handed, each in a way of its own, and programs that do not. */
#include "bpf.h"

struct pt_regs { u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax; };
struct { NUMBER(type, ARRAY); NUMBER(max_entries, 1); TYPE(key, u32); TYPE(value, u64); } kept SEC(".maps");

SEC("uprobe") int stores(struct pt_regs *regs)
{
	regs->ax = 1;
	return 0;
}

SEC("uprobe//bin/true:main") int only_reads(struct pt_regs *regs)
{
	u32 key = 0;
	u64 *value = lookup(&kept, &key);

	if (value)
		*value = regs->ax;
	return 0;
}

static NOINLINE long set(struct pt_regs *regs)
{
	regs->ax = 1;
	return 0;
}

SEC("uretprobe.s//bin/true:main") int by_argument(struct pt_regs *regs)
{
	return set(regs);
}

SEC("uprobe.multi//bin/true:*") int by_slot(struct pt_regs *regs)
{
	struct pt_regs *volatile slot = regs;

	slot->ax = 1;
	return 0;
}

static NOINLINE long turn(u32 index, struct pt_regs **context)
{
	(*context)->ax = 1;
	return 0;
}

SEC("usdt//bin/true:a:b") int by_context(struct pt_regs *regs)
{
	return loop(3, turn, &regs, 0);
}

static NOINLINE long count(u32 index, u64 **context)
{
	**context += 1;
	return 0;
}

/* No pointer to the registers lies on its stack. */
SEC("kprobe/vfs_read") int by_no_context(struct pt_regs *regs)
{
	u32 key = 0;
	u64 *value = lookup(&kept, &key);

	return value ? loop(3, count, &value, 0) : 0;
}

SEC("kprobe/vfs_read") int of_the_kernel(struct pt_regs *regs)
{
	regs->ax = 1;
	return 0;
}

struct sk_buff { u32 len, pkt_type, mark; };

/* Not of a probe. */
SEC("tc") int marks(struct sk_buff *packet)
{
	packet->mark = 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
