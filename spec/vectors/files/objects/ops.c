/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Interfaces of the kernel: each variable is a map, at three kinds of sections. */
#include "bpf.h"

struct ops {
	int (*init)(void *ctx);
	u64 flags;
	char name[16];
};

SEC("struct_ops/begin") int begin(void *ctx)
{
	return 0;
}

SEC(".struct_ops") struct ops plain = { .init = (void *)begin, .name = "plain" };
SEC(".struct_ops.link") struct ops linked = { .init = (void *)begin, .name = "linked" };
SEC("?.struct_ops.link") struct ops unless_named = { .init = (void *)begin, .name = "unless_named" };

char LICENSE[] SEC("license") = "GPL";
