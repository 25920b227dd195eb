/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rings whose records are told by a name only. */
#include "bpf.h"

struct opens { u32 a; };
struct event { u32 b; };
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); } opens SEC(".maps");
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); } others SEC(".maps");
const struct opens *keep_opens __attribute__((unused));
const struct event *keep_event __attribute__((unused));
