/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Jumps to where a table says. Clang of today makes them of a C switch; older ones do not know them, so that they stand as bytes. */
#include "bpf.h"

struct { NUMBER(type, ARRAY); NUMBER(max_entries, 1); TYPE(key, u32); TYPE(value, u64); } added SEC(".maps");
struct { NUMBER(type, ARRAY); NUMBER(max_entries, 1); TYPE(key, u32); TYPE(value, u64); } stored SEC(".maps");

#define GOTOX_R1 ".byte 0x0d, 0x01, 0, 0, 0, 0, 0, 0;"
/* r6 is a value of the map, r7 the number of the way to take. */
#define BEGIN(map)                                                                                 \
	"r7 = *(u32 *)(r1 + 0); *(u32 *)(r10 - 4) = r7; r2 = r10; r2 += -4;"                       \
	"r1 = %[map] ll; call 1; if r0 == 0 goto 9f; r6 = r0; r7 &= 1; r7 <<= 3;"
/* Between the ways stands what no way leads to, but for who takes each instruction for one. */
#define WAYS                                                                                       \
	"1: r1 = 1; lock *(u64 *)(r6 + 0) += r1; goto 9f;"                                         \
	"2: r0 = 2; exit; *(u64 *)(r6 + 0) = r7; 9: r0 = 0; exit;"

/* The table names two of its instructions. */
SEC("raw_tp/a") __attribute__((naked)) int by_table(void *context)
{
	asm volatile(BEGIN(map) "r1 = table ll; r1 += r7; r1 = *(u64 *)(r1 + 0);" GOTOX_R1 WAYS
		     ".pushsection .jumptables, \"\", @progbits;"
		     ".global table; table: .quad 1b - by_table, 2b - by_table; .size table, 16; .type table, @object;"
		     ".popsection;" ::[map] "i"(&added));
}

/* No table names one of its instructions: those that the table names lie further from its section's start. */
SEC("raw_tp/b") __attribute__((naked)) int anywhere(void *context)
{
	asm volatile(BEGIN(map) "r1 = *(u64 *)(r1 + 0);" GOTOX_R1 "*(u64 *)(r6 + 0) = r7; 9: r0 = 0; exit;"
		     ::[map] "i"(&stored));
}
