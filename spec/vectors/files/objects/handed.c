/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Entries that the kernel makes when a program asks for them, values of maps that are not its own, and one that a callback is given. */
#include "bpf.h"

struct { NUMBER(type, 7); NUMBER(max_entries, 16); NUMBER(key_size, 4); NUMBER(value_size, 1016); } stacks SEC(".maps");
struct { NUMBER(type, 15); NUMBER(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } sockets SEC(".maps");
struct { NUMBER(type, 18); NUMBER(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } by_key SEC(".maps");
struct { NUMBER(type, 29); NUMBER(map_flags, 1); TYPE(key, int); TYPE(value, u64); } of_tasks SEC(".maps");
struct { NUMBER(type, HASH); NUMBER(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } own SEC(".maps");

struct { NUMBER(type, PERCPU_ARRAY); NUMBER(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } each SEC(".maps");

struct element { void *meta, *map, *key; u64 *value; };

static long (*stackid)(void *context, void *map, u64 flags) = (void *)27;
static long (*sock_map_update)(void *socket, void *map, void *key, u64 flags) = (void *)53;
static long (*sock_hash_update)(void *socket, void *map, void *key, u64 flags) = (void *)70;
static void *(*task_storage)(void *map, void *task, void *value, u64 flags) = (void *)156;

SEC("raw_tp/a") int keeps_stacks(void *context)
{
	return stackid(context, &stacks, 0) > 0;
}

SEC("sockops") int keeps_sockets(void *context)
{
	u32 key = 1;

	sock_map_update(context, &sockets, &key, ANY);
	return sock_hash_update(context, &by_key, &key, ANY);
}

SEC("tp_btf/a") int makes(u64 *context)
{
	return task_storage(&of_tasks, (void *)context[0], 0, 1) != 0;
}

SEC("tp_btf/b") int only_looks(u64 *context)
{
	return task_storage(&of_tasks, (void *)context[0], 0, 0) != 0;
}

SEC("iter/bpf_map_elem") int changes_values(struct element *element)
{
	u32 key = 1;

	if (element->value)
		*element->value = 7;
	return lookup(&own, &key) != 0;
}

struct given { u64 *value; };

static long add(u32 index, struct given *given)
{
	__sync_fetch_and_add(given->value, 1);
	return 0;
}

SEC("raw_tp/b") int adds_by_callback(void *context)
{
	u32 key = 1;
	struct given given = { lookup(&own, &key) };

	return given.value ? loop(3, add, &given, 0) : 0;
}
