/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A map as it was defined before BTF. */
#include "bpf.h"

struct definition {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 flags;
};

struct definition SEC("maps") old = { HASH, 4, 8, 100, 1 };

SEC("socket")
int filter(void *context)
{
	u32 key = 0;
	return lookup(&old, &key) != 0;
}
