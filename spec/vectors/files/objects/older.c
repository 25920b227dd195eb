/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps as they were defined before types, one of five words and two of seven, the last of which asks for a pin. */
#include "bpf.h"

struct five { u32 type, key_size, value_size, max_entries, map_flags; };
struct seven { u32 type, key_size, value_size, max_entries, map_flags, id, pinning; };

struct five SEC("maps") old = { 1, 4, 8, 100, 1 };
struct seven SEC("maps") records = { 27, 0, 0, 4096, 0, 0, 0 };
struct seven SEC("maps") shared = { 1, 8, 16, 64, 0, 0, 1 };

SEC("socket") int filter(void *context)
{
	u32 key = 0;

	return lookup(&old, &key) != 0;
}
