/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records of every kind of type that C has. */
#include "bpf.h"

enum state { IDLE, BUSY = 5, ALSO_BUSY = 5, BROKEN = -3 };
struct later;
struct point { s16 x; s16 y; };

struct numbers { u8 a; s8 b; u16 c; s16 d; u32 e; s32 f; u64 g; s64 h; };
struct wide { unsigned __int128 w; };
struct others { _Bool yes; char letter; enum state state; float ratio; double share; };
struct texts { char name[8]; char other[4]; };
struct pointers { void *any; struct later *forward; const char *restrict text; int (*call)(int); };
struct nested { struct point at; struct point path[2]; union { u32 whole; u8 parts[4]; }; union { u32 number; struct point point; } either; struct { u8 deep; }; };
struct bits { u32 low : 3; s32 middle : 5; u64 high : 40; };
struct tail { u32 n; u16 list[]; };
struct text_tail { u32 n; char text[]; };
typedef u32 id_t;
struct tagged { const volatile id_t id; int __attribute__((btf_type_tag("user"))) *from; } __attribute__((btf_decl_tag("record")));
struct shown { u64 when; u64 took; u32 address; u8 address6[16]; u8 mac[6]; s32 result; u32 sig; u64 bytes; u8 path[8]; };

#define KEEP(n) const struct n *keep_##n __attribute__((unused))
KEEP(numbers); KEEP(wide); KEEP(others); KEEP(texts); KEEP(pointers); KEEP(nested); KEEP(bits); KEEP(tail); KEEP(text_tail); KEEP(tagged); KEEP(shown);
