/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The code behind spec/examples/hardening.toml. */
#include "bpf.h"

struct network { u32 prefix; u8 address[4]; };
struct decision { u64 when; s32 result; u32 pid; u8 path[64]; };

u8 enforce = 0;

struct { NUMBER(type, 11); NUMBER(map_flags, 1); NUMBER(max_entries, 1024); TYPE(key, struct network); TYPE(value, u8); } allowed SEC(".maps");
struct { NUMBER(type, 27); NUMBER(max_entries, 1048576); TYPE(value, struct decision); } decisions SEC(".maps");

static u64 (*pid_tgid)(void) = (void *)14;
static long (*path_of)(void *file, u8 *to, u32 size) = (void *)147;

static NOINLINE int say(void *file, s32 result)
{
	struct decision *decision = reserve(&decisions, sizeof(*decision), 0);

	if (!decision)
		return 0;
	decision->when = 0;
	decision->result = result;
	decision->pid = pid_tgid() >> 32;
	decision->path[0] = 0;
	if (file)
		path_of(file, decision->path, sizeof(decision->path));
	submit(decision, 0);
	return enforce ? result : 0;
}

SEC("lsm/bprm_check_security") int check_exec(u64 *ctx)
{
	return say((void *)ctx[0], -1);
}

SEC("cgroup_skb/egress") int check_connect(void *ctx)
{
	struct network network = { 32 };

	return lookup(&allowed, &network) || say(0, -1) == 0;
}

char LICENSE[] SEC("license") = "GPL";
