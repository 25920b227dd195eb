/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records with every kind of field. */
#include "bpf.h"

enum state { IDLE, BUSY = 5, BROKEN = -3 };
enum wide { SMALL = 1, LARGE = 0x80000000u };

struct point {
	s16 x;
	s16 y;
};

struct record {
	u64 id;
	s64 balance;
	u32 pid;
	s8 tiny;
	_Bool alive;
	char letter;
	char comm[8];
	enum state state;
	enum wide wide;
	float ratio;
	double share;
	void *address;
	u16 ports[3];
	struct point at;
	struct point path[2];
	union {
		u32 whole;
		u8 parts[4];
	};
	union {
		u32 number;
		struct point point;
	} either;
	u32 low : 3;
	s32 middle : 5;
	u64 high : 40;
	const volatile u32 last;
	u16 tail[];
};

struct shown {
	u64 when;
	u64 took;
	u32 address;
	u8 address6[16];
	u8 mac[6];
	s32 result;
	u32 error;
	u32 signal;
	u64 bytes;
	u8 path[16];
	u32 flag;
	u32 mask;
};

struct {
	NUMBER(type, RINGBUF);
	NUMBER(max_entries, 4096);
	TYPE(value, struct shown);
} typed SEC(".maps");

struct {
	NUMBER(type, PERF_EVENT_ARRAY);
	TYPE(key, u32);
	TYPE(value, u32);
} untyped SEC(".maps");

enum access { READS = 1, WRITES = 2, RUNS = 8 };

const enum access *keep_access __attribute__((unused));
const struct record *unused_record __attribute__((unused));

SEC("raw_tp/sched_switch")
int on_switch(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
