/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A call of what no object has, and which is declared as nothing of the kernel's. */
#include "bpf.h"

extern int forgotten(int);
extern int bpf_known(int) SEC(".ksyms");

SEC("raw_tp/a") int calls_it(void *context)
{
	return forgotten(1);
}

SEC("raw_tp/a") int does_not(void *context)
{
	return bpf_known(1);
}

char LICENSE[] SEC("license") = "GPL";
