/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One map in the words of several packages. */
#include "bpf.h"

struct key { u32 from; u32 to; };
struct value { u64 packets; u64 bytes; };
typedef struct key flow_key;
struct flow_value { u64 packets; u64 bytes; };
struct other_value { u64 bytes; u64 packets; };
struct longer_value { u64 packets; u64 bytes; u64 seen; };

#define FLOWS(name, kind, entries, k, v) \
	struct { NUMBER(type, kind); NUMBER(max_entries, entries); TYPE(key, k); TYPE(value, v); } name SEC(".maps")

FLOWS(flows, HASH, 1024, struct key, struct value);
FLOWS(other_names, HASH, 16, flow_key, struct flow_value);
FLOWS(other_kind, LRU_HASH, 1024, struct key, struct value);
FLOWS(other_key, HASH, 1024, u64, struct value);
FLOWS(other_order, HASH, 1024, struct key, struct other_value);
FLOWS(longer, HASH, 1024, struct key, struct longer_value);
struct { NUMBER(type, HASH); NUMBER(max_entries, 8); NUMBER(key_size, 8); NUMBER(value_size, 16); } untyped SEC(".maps");
struct { NUMBER(type, HASH); NUMBER(max_entries, 8); NUMBER(key_size, 8); NUMBER(value_size, 16); } untyped_too SEC(".maps");
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); TYPE(value, struct value); } ring SEC(".maps");
struct { NUMBER(type, PROG_ARRAY); NUMBER(max_entries, 4); TYPE(key, u32); TYPE(value, u32); } calls SEC(".maps");
u64 seen = 1;
