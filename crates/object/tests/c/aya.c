/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* As aya-ebpf lays its objects out: map definitions of seven words in `maps`, no types of programs or maps, constants in
 * `.rodata`, a table of them in `.data.rel.ro`, and what the compiler calls for memory, global and weak, in `.text`. */
#include "bpf.h"

struct bpf_map_def {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 map_flags;
	u32 id;
	u32 pinning;
};

struct bpf_map_def SEC("maps") COUNTS = { 1, 4, 8, 1024, 0, 0, 0 };
struct bpf_map_def SEC("maps") EVENTS = { 27, 0, 0, 4096, 0, 0, 1 };

SEC(".rodata") const volatile u64 PID = 7;
SEC(".data.rel.ro") const void *const TABLE[2] = { (const void *)&PID, (const void *)&PID };

__attribute__((weak, noinline)) u64 set_memory(u64 at, u64 with, u64 size)
{
	for (u64 i = 0; i < size; i++)
		*(volatile u8 *)(at + i) = with;
	return at;
}

SEC("tracepoint") int on_open(void *ctx)
{
	u32 key = 0;
	u64 *count;
	char room[16];

	set_memory((u64)room, 1, sizeof(room));
	count = lookup(&COUNTS, &key);
	if (count && PID)
		__sync_fetch_and_add(count, 1);
	return room[3];
}

char LICENSE[] SEC("license") = "GPL";
