/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A map whose key is not declared by its type. */
#include "bpf.h"
struct { NUMBER(type, HASH); u32 key; } ring SEC(".maps");
