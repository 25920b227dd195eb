/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A ring that is named by one letter, and a union that a global points to. */
#include "bpf.h"

struct s_event { u32 a; };
union either { u32 a; u16 b; };
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); } s SEC(".maps");
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); } x SEC(".maps");
const union either *unused_either __attribute__((unused));
const struct s_event *keep __attribute__((unused));
