/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A map of four words, where five belong. */
#include "bpf.h"

struct four { u32 type, key_size, value_size, max_entries; };

struct four SEC("maps") old = { 1, 4, 8, 100 };

SEC("socket") int filter(void *context)
{
	u32 key = 0;

	return lookup(&old, &key) != 0;
}
