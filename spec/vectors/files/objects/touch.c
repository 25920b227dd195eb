/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs, maps, globals, helpers, subprograms, writers. */
#include "bpf.h"

struct key { u32 pid; u32 cpu; };
struct value { u64 count; u64 bytes; };
struct event { u64 ts; u32 pid; char comm[16]; };

struct { NUMBER(type, HASH); NUMBER(max_entries, 1024); TYPE(key, struct key); TYPE(value, struct value); } counts SEC(".maps");
struct { NUMBER(type, PERCPU_ARRAY); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u64); } totals SEC(".maps");
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); TYPE(value, struct event); } events SEC(".maps");

const volatile u32 limit = 7;
u64 seen;

static NOINLINE int note(struct key *key)
{
	struct value *value = lookup(&counts, key);
	if (!value)
		return 0;
	__sync_fetch_and_add(&value->count, 1);
	return 1;
}

SEC("tp/sched/sched_process_exec")
int on_exec(void *context)
{
	struct key key = { .pid = limit, .cpu = 1 };
	struct event *event = reserve(&events, sizeof(*event), 0);
	if (event) {
		event->ts = ktime();
		event->pid = key.pid;
		current_comm(event->comm, sizeof(event->comm));
		submit(event, 0);
	}
	return note(&key);
}

SEC("xdp")
int on_packet(void *context)
{
	u32 zero = 0;
	u64 *total = lookup(&totals, &zero);
	if (total)
		*total += 1;
	seen += 1;
	return 2;
}

SEC("?kprobe/vfs_read+0x10")
int on_read(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
