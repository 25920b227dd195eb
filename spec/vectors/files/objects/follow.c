/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ways that a pointer to a value takes before something is stored through it. Each map is written in one way, or not. */
#include "bpf.h"

struct value { u64 count, bytes; };
struct bpf_timer { u64 opaque[2]; };
struct timed { struct bpf_timer timer; u64 fired; };

#define MAP(name, kind, of)                                                                        \
	struct { NUMBER(type, kind); NUMBER(max_entries, 8); TYPE(key, u32); TYPE(value, of); } name SEC(".maps")

MAP(by_register, HASH, struct value);
MAP(by_addition, HASH, struct value);
MAP(by_subtraction, HASH, struct value);
MAP(by_slot, HASH, struct value);
MAP(by_argument, HASH, struct value);
MAP(by_result, HASH, struct value);
MAP(by_each, HASH, struct value);
MAP(by_timer, HASH, struct timed);
MAP(by_context, HASH, struct value);
MAP(by_no_context, HASH, struct value);
MAP(by_no_context_per_cpu, PERCPU_ARRAY, struct value);
MAP(by_value, HASH, struct value);
u64 by_address;

static long (*set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;
#define HIDE(pointer) asm volatile("" : "+r"(pointer))

SEC("raw_tp/a") int registers(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&by_register, &key), *moved;

	if (value) {
		asm volatile("%0 = %1" : "=r"(moved) : "r"(value));
		moved->count = 1;
	}
	by_address = 1;
	return 0;
}

SEC("raw_tp/a") int moves(void *context)
{
	u32 key = ktime() & 1;
	struct value *value = lookup(&by_addition, &key);

	if (value)
		*(u64 *)((char *)value + (key & 8)) = 1;
	value = lookup(&by_subtraction, &key);
	if (value) {
		char *at = (char *)value + 8;
		HIDE(at);
		asm volatile("%0 -= 8" : "+r"(at));
		*(u64 *)at = 1;
	}
	return 0;
}

SEC("raw_tp/a") int slots(void *context)
{
	u32 key = 1;
	struct value *volatile slot = lookup(&by_slot, &key);
	struct value *value = slot;

	if (value)
		value->count = 1;
	return 0;
}

static NOINLINE long store(struct value *value)
{
	if (value)
		value->count = 1;
	return 0;
}

static NOINLINE struct value *find(u32 key)
{
	return lookup(&by_result, &key);
}

SEC("raw_tp/a") int calls(void *context)
{
	u32 key = 1;
	struct value *value;

	store(lookup(&by_argument, &key));
	value = find(key);
	if (value)
		value->count = 1;
	return 0;
}

static NOINLINE long each(void *map, u32 *key, struct value *value, void *context)
{
	value->count = 1;
	return 0;
}

static NOINLINE int fires(void *map, u32 *key, struct timed *timed)
{
	timed->fired = 1;
	return 0;
}

SEC("raw_tp/a") int callbacks(void *context)
{
	u32 key = 1;
	struct timed *timed = lookup(&by_timer, &key);

	for_each(&by_each, each, 0, 0);
	if (timed)
		set_callback(&timed->timer, fires);
	return 0;
}

static NOINLINE long turn(u32 index, struct value **context)
{
	(*context)->count = 1;
	return 0;
}

SEC("raw_tp/a") int loops(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&by_context, &key);

	lookup(&by_no_context, &key);
	lookup(&by_no_context_per_cpu, &key);
	if (value)
		loop(3, turn, &value, 0);
	return 0;
}

/* What lies in a value is no pointer to one. */
SEC("raw_tp/a") int loads(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&by_value, &key);

	if (value && value->bytes)
		*(volatile u64 *)value->bytes = 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
