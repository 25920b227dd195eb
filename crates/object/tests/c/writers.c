/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Each map is written in the way that its name says. */
#include "bpf.h"

struct value {
	u64 count;
	u64 bytes;
	char comm[16];
};

#define MAP(name, kind)                                                                            \
	struct {                                                                                   \
		NUMBER(type, kind);                                                                \
		NUMBER(max_entries, 16);                                                           \
		TYPE(key, u32);                                                                    \
		TYPE(value, struct value);                                                         \
	} name SEC(".maps")

MAP(none, HASH);
MAP(atomic, HASH);
MAP(created, HASH);
MAP(stored, HASH);
MAP(per_cpu, PERCPU_ARRAY);
MAP(replaced, HASH);
MAP(deleted, HASH);
MAP(filled, HASH);
MAP(in_subprogram, HASH);
MAP(in_callback, HASH);
MAP(in_each, HASH);
MAP(spilled, HASH);
MAP(key_only, HASH);
MAP(or_ed, HASH);
MAP(swapped, HASH);
MAP(other_cpu, PERCPU_ARRAY);
MAP(other_cpu_added, PERCPU_ARRAY);
MAP(other_cpu_read, PERCPU_ARRAY);

volatile u64 plain_global;
volatile u64 atomic_global;
u64 read_global;

SEC("raw_tp/reads")
int reads(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&none, &key);
	if (value)
		lookup(&key_only, &value->count);
	return value ? value->count + *(volatile u64 *)&read_global : 0;
}

SEC("raw_tp/adds")
int adds(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&atomic, &key), zero = {};
	if (!value) {
		update(&created, &key, &zero, NOEXIST);
		value = lookup(&created, &key);
		if (!value)
			return 0;
	}
	__sync_fetch_and_add(&value->count, 1);
	__sync_fetch_and_add(&value->bytes, ktime());
	__sync_fetch_and_add(&atomic_global, 1);
	return 0;
}

SEC("raw_tp/stores")
int stores(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&stored, &key), zero = {};
	if (value)
		value->count += 1;
	value = lookup(&per_cpu, &key);
	if (value)
		value->bytes = 5;
	plain_global++;
	update(&replaced, &key, &zero, ANY);
	delete(&deleted, &key);
	value = lookup(&filled, &key);
	if (value)
		current_comm(value->comm, sizeof(value->comm));
	return 0;
}

static NOINLINE void bump(struct value *value)
{
	if (value)
		value->count++;
}

static NOINLINE long callback(u32 index, struct value **context)
{
	struct value *value = *context;
	value->count++;
	return 0;
}

static NOINLINE long each(void *map, u32 *key, struct value *value, void *context)
{
	value->count = 0;
	return 0;
}

SEC("raw_tp/calls")
int calls(void *context)
{
	u32 key = 1;
	bump(lookup(&in_subprogram, &key));
	for_each(&in_each, each, 0, 0);
	return 0;
}

SEC("raw_tp/loops")
int loops(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&in_callback, &key);
	if (value)
		loop(3, callback, &value, 0);
	return 0;
}

SEC("raw_tp/spills")
int spills(void *context)
{
	u32 key = 1;
	struct value *volatile slot = lookup(&spilled, &key);
	u64 now = ktime();
	struct value *value = slot;
	if (value)
		value->count = now;
	return 0;
}

static void *(*lookup_percpu)(void *map, const void *key, u32 cpu) = (void *)195;

SEC("raw_tp/sets_bits")
int sets_bits(void *context)
{
	u32 key = 1;
	struct value *value = lookup(&or_ed, &key);
	if (value)
		__sync_fetch_and_or(&value->count, 1);
	value = lookup(&swapped, &key);
	if (value)
		__sync_val_compare_and_swap(&value->count, 0, 1);
	return 0;
}

SEC("raw_tp/visits")
int visits(void *context)
{
	u32 key = 1;
	struct value *value = lookup_percpu(&other_cpu, &key, 1);
	if (value)
		value->count++;
	value = lookup_percpu(&other_cpu_added, &key, 1);
	if (value)
		__sync_fetch_and_add(&value->count, 1);
	struct value *theirs = lookup_percpu(&other_cpu_read, &key, 1);
	value = lookup(&other_cpu_read, &key);
	if (value && theirs)
		value->count = theirs->count;
	return 0;
}
