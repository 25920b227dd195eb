/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What takes the place of a function gets what that one would have got; a probe may let others write its registers. */
#include "bpf.h"

struct { NUMBER(type, HASH); NUMBER(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } counts SEC(".maps");
struct { NUMBER(type, PERCPU_ARRAY); NUMBER(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } each SEC(".maps");

static long (*probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*stackid)(void *context, void *map, u64 flags) = (void *)27;
extern int bpf_copy_from_user_str(void *to, u32 size, const void *from, u64 flags) SEC(".ksyms");
extern int bpf_session_is_return(void *context) SEC(".ksyms");

SEC("freplace/verdict") int stores(u64 *value)
{
	*value = 1;
	return 0;
}

SEC("?freplace") int adds(u32 number, u64 *value)
{
	__sync_fetch_and_add(value, number);
	return 0;
}

SEC("freplace/verdict") int only_reads(u64 *value)
{
	u32 key = 0;

	return lookup(&counts, &key) && *value;
}

/* In its memory are no pointers. */
SEC("freplace/verdict") int stores_elsewhere(u64 **value)
{
	**value = 1;
	return 0;
}

SEC("xdp") int replaces_nothing(u64 *context)
{
	*context = 1;
	return 0;
}

SEC("uprobe.s//bin/true:main") int filled_by_kfunc(void *registers)
{
	return bpf_copy_from_user_str(registers, 8, (void *)8, 0);
}

SEC("uprobe//bin/true:main") int filled_by_helper(u64 *registers)
{
	return probe_read_user(registers + 10, 8, (void *)8);
}

SEC("uprobe.session//bin/true:main") int only_asks(void *registers)
{
	return bpf_session_is_return(registers);
}

SEC("uprobe//bin/true:main") int only_shows(void *registers)
{
	u64 place;

	probe_read_user(&place, 8, (void *)8);
	return stackid(registers, &counts, 0) > 0;
}

char LICENSE[] SEC("license") = "GPL";
