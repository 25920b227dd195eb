/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Texts, and arrays of the same bytes by another name, in two versions: old_X and new_X are compared. */
#include "bpf.h"

struct old_bytes { char name[8]; u32 n; };		struct new_bytes { signed char name[12]; u64 n; };
struct old_text { signed char name[8]; u32 n; };	struct new_text { char name[8]; u64 n; };
struct old_shorter { char name[8]; u32 n; };		struct new_shorter { signed char name[7]; u64 n; };
struct old_sign { char name[8]; u32 n; };		struct new_sign { unsigned char name[8]; u64 n; };

#define KEEP(n) const struct n *keep_##n __attribute__((unused))
KEEP(old_bytes); KEEP(new_bytes); KEEP(old_text); KEEP(new_text); KEEP(old_shorter); KEEP(new_shorter); KEEP(old_sign); KEEP(new_sign);
