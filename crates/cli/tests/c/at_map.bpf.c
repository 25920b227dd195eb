/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program at a map of sockets: its own, which MAP names. */
#define SEC(name) __attribute__((section(name), used))

struct { int (*type)[18]; int (*max_entries)[4]; unsigned *key; unsigned long long *value; } MAP SEC(".maps");

SEC("sk_msg")
int PROGRAM(void *message)
{
	return 1; /* SK_PASS */
}

char LICENSE[] SEC("license") = "GPL";
