/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program whose exception callback, which no instruction names, does what the program does not. */
#include "bpf.h"

static u32 (*cpu)(void) = (void *)8;
static long (*signal)(u32 number) = (void *)109;

extern void bpf_throw(u64 cookie) SEC(".ksyms");

struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 64);
	TYPE(key, u64);
	TYPE(value, u64);
} thrown_with SEC(".maps");

NOINLINE int thrown(u64 cookie)
{
	u64 one = 1;

	update(&thrown_with, &cookie, &one, ANY);
	return signal(9);
}

SEC("raw_tp/sys_enter")
__attribute__((btf_decl_tag("exception_callback:thrown")))
int throws(void *context)
{
	if (cpu() == 999)
		bpf_throw(1);
	return 0;
}

SEC("raw_tp/sys_exit")
__attribute__((btf_decl_tag("exception_callback:nowhere")))
int throws_nowhere(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
