/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Values that programs write by ways that are easy to miss. Each program writes the map of its name. */
#include "bpf.h"

struct value {
	u64 count;
	char text[64];
};

struct counts {
	NUMBER(type, HASH);
	NUMBER(max_entries, 16);
	TYPE(key, u32);
	TYPE(value, struct value);
};
struct counts filled SEC(".maps"), branches SEC(".maps"), acquired SEC(".maps"), released SEC(".maps");
struct counts returned SEC(".maps"), handed SEC(".maps"), kept SEC(".maps"), moved SEC(".maps");
struct counts any SEC(".maps");

struct inner {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} in_slot SEC(".maps"), could_be SEC(".maps");

struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 1);
	TYPE(key, u64);
	TYPE(value, u64);
} other_shape SEC(".maps");

struct {
	NUMBER(type, ARRAY_OF_MAPS);
	NUMBER(max_entries, 2);
	TYPE(key, u32);
	VALUES(struct inner);
} outer SEC(".maps") = { .values = { [0] = &in_slot } };

static long (*print)(char *text, u32 size, void *pointer, u32 length, u64 flags) = (void *)149;
static long (*branch_snapshot)(void *entries, u32 size, u64 flags) = (void *)176;

SEC("raw_tp/a") int through_outer(void *context)
{
	u32 key = 0;
	void *map = lookup(&outer, &key);
	u64 *value = map ? lookup(map, &key) : 0;
	if (value)
		*value = *value * 3 + 1;
	return 0;
}

SEC("raw_tp/a") int fills(void *context)
{
	u32 key = 0;
	struct value *value = lookup(&filled, &key);
	if (value)
		print(value->text, sizeof(value->text), context, 16, 0);
	value = lookup(&branches, &key);
	if (value)
		branch_snapshot(value->text, sizeof(value->text), 0);
	return 0;
}

/* r2 = load_acquire((u64 *)(r10 - 8)); store_release((u64 *)(r10 - 8), r2); r4 = atomic_fetch_or((u64 *)(r2 + 0), r4) */
#define ACQUIRE ".8byte 0x00000100fff8a2db\n"
#define RELEASE ".8byte 0x00000110fff82adb\n"
#define FETCH_OR ".8byte 0x00000041000042db\n"

SEC("raw_tp/a") int acquires(void *context)
{
	u32 key = 0;
	struct value *value = lookup(&acquired, &key);
	if (value)
		asm volatile("*(u64 *)(r10 - 8) = %0\n" ACQUIRE "r3 = 1\n*(u64 *)(r2 + 0) = r3" ::"r"(value)
			     : "r2", "r3", "memory");
	return 0;
}

SEC("raw_tp/a") int releases(void *context)
{
	u32 key = 0;
	struct value *value = lookup(&released, &key);
	if (value)
		asm volatile("r2 = %0\n" RELEASE "r2 = *(u64 *)(r10 - 8)\nr3 = 1\n*(u64 *)(r2 + 0) = r3" ::"r"(value)
			     : "r2", "r3", "memory");
	return 0;
}

struct place {
	struct value *value;
};

static NOINLINE long finds(u32 index, struct place *place)
{
	u32 key = index;
	place->value = lookup(&returned, &key);
	return 0;
}

/* A callback leaves a pointer on its caller's stack. */
SEC("raw_tp/a") int returns(void *context)
{
	struct place place = {};
	loop(1, finds, &place, 0);
	if (place.value)
		place.value->count = 1;
	return 0;
}

static NOINLINE int lowest(struct place *place)
{
	u32 key = 0;
	place->value = lookup(&handed, &key);
	return 0;
}

static NOINLINE int middle(struct place *place)
{
	lowest(place);
	return 1;
}

/* Two calls down a pointer is left on this stack. */
SEC("raw_tp/a") int hands(void *context)
{
	struct place place = {};
	middle(&place);
	if (place.value)
		place.value->count = 1;
	return 0;
}

static NOINLINE long changes(u32 index, void *context)
{
	u32 key = index;
	struct value *value = lookup(&kept, &key);
	if (value)
		value->count = 1;
	return 0;
}

static NOINLINE int runs(void *volatile *callback)
{
	return loop(1, *callback, 0, 0);
}

/* The callback's address comes out of memory. */
SEC("raw_tp/a") int keeps(void *context)
{
	void *volatile callback = changes;
	return runs(&callback);
}

struct CORE kernels {
	struct value *first;
	struct value *second;
};

/* Where the kernel's struct has its first member last, this finds it in the second slot. */
SEC("raw_tp/a") int moves(void *context)
{
	u32 key = 0;
	struct value *volatile slots[2] = {};
	struct kernels *kernels = (void *)slots;
	asm volatile("" : "+r"(kernels)::"memory");
	kernels->first = lookup(&moved, &key);
	asm volatile("" ::: "memory");
	struct value *value = slots[1];
	if (value)
		value->count = 1;
	return 0;
}

/* What an atomic instruction fetches takes the place of the flags. */
SEC("raw_tp/a") int fetches(void *context)
{
	u64 key = 0;
	struct value value = {};
	asm volatile("r1 = %[map] ll\n"
		     "r2 = %[key]\n"
		     "r3 = %[value]\n"
		     "r4 = 1\n"
		     FETCH_OR "call 2" ::[map] "i"(&any), [key] "r"(&key), [value] "r"(&value)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "memory");
	return 0;
}
