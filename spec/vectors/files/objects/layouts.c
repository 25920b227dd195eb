/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Values of maps in two versions: old_X and new_X are compared. */
#include "bpf.h"

struct point { u32 x; u32 y; };
typedef u64 number_t;
struct old_same { u64 a; u32 list[4]; };	struct new_same { number_t a; const u32 list[4]; };
struct old_wider { u32 n; };			struct new_wider { u64 n; };
struct old_narrower { u64 a; u64 n; };		struct new_narrower { u64 a; u32 n; };
struct old_sign { u32 a; u32 n; };		struct new_sign { u32 a; s32 n; };
struct old_moved { u64 a; u64 b; };		struct new_moved { u64 b; u64 a; };
struct old_added { u64 a; };			struct new_added { u64 a; u64 b; };
struct old_removed { u64 a; u64 b; };		struct new_removed { u64 a; };
struct old_renamed { u64 bytes; };		struct new_renamed { u64 total; };
struct old_nothing { u64 a; };			struct new_nothing { u64 b; };
struct old_retyped { u64 a; struct point p; };	struct new_retyped { u64 a; u64 p; };
struct old_nested { struct point p[2]; };	struct new_nested { u32 n; struct point p[2]; };
struct old_pointer { u64 a; void *p; };		struct new_pointer { u64 a; u32 b; void *p; };

#define KEEP(n) const struct n *keep_##n __attribute__((unused))
KEEP(old_same); KEEP(new_same); KEEP(old_wider); KEEP(new_wider); KEEP(old_narrower); KEEP(new_narrower); KEEP(old_sign); KEEP(new_sign);
KEEP(old_moved); KEEP(new_moved); KEEP(old_added); KEEP(new_added); KEEP(old_removed); KEEP(new_removed); KEEP(old_renamed); KEEP(new_renamed);
KEEP(old_nothing); KEEP(new_nothing); KEEP(old_retyped); KEEP(new_retyped); KEEP(old_nested); KEEP(new_nested); KEEP(old_pointer); KEEP(new_pointer);
