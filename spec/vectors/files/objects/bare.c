/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A ring of which nobody says what it carries. */
#include "bpf.h"
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); } ring SEC(".maps");
