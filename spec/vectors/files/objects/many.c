/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* More maps than a word has bits, and one that others are in. */
#include "bpf.h"

#define COUNTS(n) struct { NUMBER(type, HASH); NUMBER(max_entries, 8); TYPE(key, u32); TYPE(value, u64); } m##n SEC(".maps")
#define TEN(n) COUNTS(n##0); COUNTS(n##1); COUNTS(n##2); COUNTS(n##3); COUNTS(n##4); COUNTS(n##5); COUNTS(n##6); COUNTS(n##7); COUNTS(n##8); COUNTS(n##9)
TEN(1); TEN(2); TEN(3); TEN(4); TEN(5); TEN(6); TEN(7);

struct inner { NUMBER(type, ARRAY); NUMBER(max_entries, 1); TYPE(key, u32); TYPE(value, u64); };
struct inner in SEC(".maps");
struct {
	NUMBER(type, ARRAY_OF_MAPS);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	VALUES(struct inner);
} outer SEC(".maps") = {.values = {&in}};

#define ADD(n) value = lookup(&m##n, &key); if (value) __sync_fetch_and_add(value, 1)
#define SET(n) value = lookup(&m##n, &key); if (value) *value = 1

SEC("raw_tp/a")
int adds(void *ctx)
{
	u64 *value;
	u32 key = 0;

	ADD(10);
	ADD(79);
	SET(40);
	return 0;
}

SEC("raw_tp/b")
int of_maps(void *ctx)
{
	u32 key = 0;
	void *in = lookup(&outer, &key);
	u64 *value = in ? lookup(in, &key) : 0;

	if (value)
		*value = 1;
	return 0;
}

SEC("raw_tp/c")
int nothing(void *ctx)
{
	return 0;
}
