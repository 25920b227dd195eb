/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The value of a map in several versions; -DVERSION chooses. */
#include "bpf.h"

struct bpf_spin_lock {
	u32 val;
};

struct bpf_timer {
	u64 opaque[2];
};

struct part {
	u32 a;
#if VERSION == 5
	u32 added;
#endif
	u64 b;
};

struct node {
	struct node *next;
	u64 self;
};

#if VERSION == 1
struct value {
	u64 count;
};
#elif VERSION == 2
struct value {
	u64 count;
	u64 bytes;
};
#elif VERSION == 3
struct value {
	struct bpf_spin_lock lock;
	u32 small;
	u64 slots[4];
	struct part part;
	struct part parts[2];
	char comm[16];
	s32 sign;
	u32 flag : 1;
	struct bpf_timer timer;
	u64 gone;
	struct node node;
};
#elif VERSION == 4 || VERSION == 5
struct value {
	u64 small;
	char comm[16];
	u64 slots[8];
	struct part part;
	struct part parts[2];
	u32 sign;
	u32 flag : 1;
	struct bpf_timer timer;
	struct node node;
};
#elif VERSION == 6
typedef u64 value_t;
#define VALUE value_t
#elif VERSION == 7
typedef u32 value_t;
#define VALUE value_t
#elif VERSION == 8
typedef const struct other {
	volatile u64 count;
} value_t;
#define VALUE value_t
#endif

#ifndef VALUE
#define VALUE struct value
#endif

struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 16);
	TYPE(key, u32);
	TYPE(value, VALUE);
} map SEC(".maps");

SEC("raw_tp/any")
int any(void *context)
{
	u32 key = 0;
	return lookup(&map, &key) != 0;
}
