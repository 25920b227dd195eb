/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rings and structs that are named like them, in several ways. */
#include "bpf.h"

struct rb_t { u32 a; };
struct conns { u32 b; };
struct conn_t { u32 c; };
struct flow_event { u32 d; };
struct misses { };
#define RING(name) struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); } name SEC(".maps")
RING(rb);
RING(conns);
RING(flows);
RING(misses);
#define KEEP(n) const struct n *keep_##n __attribute__((unused))
KEEP(rb_t); KEEP(conns); KEEP(conn_t); KEEP(flow_event); KEEP(misses);
