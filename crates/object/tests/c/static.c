/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program that libbpf does not take. */
#include "bpf.h"

SEC("xdp")
static int hidden(void *context)
{
	return 2;
}
