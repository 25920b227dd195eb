/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A static function in a section of programs. */
#include "bpf.h"
static NOINLINE int hidden(int n) SEC("tp_btf/sched_switch");
static NOINLINE int hidden(int n) { return n; }
SEC("tp_btf/sched_switch") int seen(int *context) { return hidden(*context); }
