/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A map that asks to be pinned, one with a value for each task, and an arena with a variable. */
#include "bpf.h"

struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 64);
	NUMBER(pinning, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} shared_by_name SEC(".maps");

struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 64);
	NUMBER(pinning, 0);
	TYPE(key, u32);
	TYPE(value, u64);
} own SEC(".maps");

struct {
	NUMBER(type, 29); /* task_storage */
	NUMBER(map_flags, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} of_tasks SEC(".maps");

struct {
	NUMBER(type, 33); /* arena */
	NUMBER(map_flags, 1024);
	NUMBER(max_entries, 256);
} pages SEC(".maps");

u64 in_pages SEC(".addr_space.1");

SEC("raw_tp/sys_enter")
int counts_in_pages(void *context)
{
	in_pages++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
