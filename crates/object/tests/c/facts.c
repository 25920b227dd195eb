/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One of everything that facts are read from. */
#include "bpf.h"

struct CORE task_struct___old {
	int pid;
	int tgid;
};

struct key {
	u32 pid;
	u16 port;
};

struct value {
	u64 count;
	char comm[16];
};

struct {
	NUMBER(type, RINGBUF);
	NUMBER(max_entries, 4096);
} ring SEC(".maps");

struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, 1000);
	NUMBER(map_flags, 2);
	NUMBER(pinning, 1);
	TYPE(key, struct key);
	TYPE(value, struct value);
} counts SEC(".maps");

struct {
	NUMBER(type, PERCPU_ARRAY);
	NUMBER(max_entries, 3);
	NUMBER(key_size, 4);
	NUMBER(value_size, 12);
} percpu SEC(".maps");

struct inner {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, 7);
	TYPE(key, u32);
	TYPE(value, u64);
};

struct {
	NUMBER(type, ARRAY_OF_MAPS);
	NUMBER(max_entries, 2);
	TYPE(key, u32);
	VALUES(struct inner);
} outer SEC(".maps");

const volatile u32 only_pid = 42;
const volatile char greeting[6] = "hello";
volatile u64 live = 7;
volatile u64 zeroed;
SEC(".data.extra") volatile s16 extra = -2;

extern int bpf_strange_kfunc(u64 number) SEC(".ksyms");

static NOINLINE int deep(u64 seed)
{
	u32 key = seed;
	u64 *count = lookup(&outer, &key);
	return count ? ktime() > 5 : (int)seed;
}

NOINLINE int shared(u64 seed)
{
	return deep(seed + only_pid) + (int)seed;
}

static long each(u32 index, u64 *context)
{
	*context += index + live;
	return 0;
}

SEC("tp/sched/sched_process_exec")
int on_exec(void *context)
{
	struct value *value = reserve(&ring, sizeof(*value), 0);
	if (!value)
		return 0;
	value->count = shared(1);
	submit(value, 0);
	return 0;
}

SEC("tp/sched/sched_process_exec")
int on_exec_too(struct task_struct___old *task)
{
	u64 sum = task->tgid;
	loop(4, each, &sum, 0);
	zeroed = sum + extra + greeting[sum & 3];
	return 0;
}

SEC("?kprobe/vfs_read+0x10")
int optional(void *context)
{
	u32 key = 0;
	return lookup(&percpu, &key) != 0;
}

SEC("xdp.frags")
int packets(void *context)
{
	struct key key = {};
	lookup(&counts, &key);
	return bpf_strange_kfunc(3);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
