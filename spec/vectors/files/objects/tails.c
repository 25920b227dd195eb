/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Arrays without a length, in the middle and at the end of records. */
#include "bpf.h"

struct middle { u32 n; u16 none[0]; u32 after; char text[0]; u8 last; };
struct inner { u8 n; u8 list[]; };
struct outer { u32 a; struct inner in; };
struct unions { u32 n; union { u16 words[0]; u8 bytes[0]; }; };
struct early { struct inner in; u16 after; };
struct padded { u64 a; u8 b; u8 rest[]; };
struct parts { u32 n; u16 list[4]; char text[4]; u32 after; };

#define KEEP(n) const struct n *keep_##n __attribute__((unused))
KEEP(middle); KEEP(outer); KEEP(unions); KEEP(early); KEEP(padded); KEEP(parts);
