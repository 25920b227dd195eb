/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A switch of which new compilers make a table, with a pointer that lives through it. */

#define SEC(name) __attribute__((section(name), used))
static void *(*lookup)(void *map, const void *key) = (void *)1;

struct {
	int (*type)[2];
	int (*max_entries)[1];
	unsigned *key;
	unsigned long long *value;
} counts SEC(".maps");

SEC("cgroup_skb/egress") int sorts(unsigned *packet)
{
	unsigned zero = 0, found;
	unsigned long long *count = lookup(&counts, &zero);
	if (!count)
		return 1;
	switch (packet[0]) {
	case 0: found = packet[1]; break;
	case 1: found = packet[2] * 3; break;
	case 2: found = 99; break;
	case 3: found = packet[3] ^ 7; break;
	case 4: found = packet[4] << 3; break;
	case 5: found = packet[1] + packet[2]; break;
	case 6: found = 77; break;
	case 7: found = packet[2] | 12; break;
	case 8: found = packet[3] & 5; break;
	case 9: found = packet[4] + 1; break;
	case 10: found = packet[3] * packet[3]; break;
	case 11: found = packet[6] - 3; break;
	case 12: found = packet[7] ^ packet[6]; break;
	case 13: found = packet[8]; break;
	case 14: found = 3; break;
	case 15: found = packet[9] >> 1; break;
	default: return 0;
	}
	__sync_fetch_and_add(count, found);
	return 1;
}
