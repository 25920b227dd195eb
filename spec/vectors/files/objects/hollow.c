/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records with members that have no bytes of their own. */
#include "bpf.h"

struct elements { struct { u32 a; u32 z[0]; char t[0]; } m[2]; u8 x; };
struct between { u32 a; u32 z[0]; u32 b; };
struct behind { u32 a; struct { char t[0]; } s; };

#define KEEP(name) const struct name *keep_##name __attribute__((unused))
KEEP(elements); KEEP(between); KEEP(behind);
