/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tests of registers that a constant went into, and of which something else may be in them. */
#include "bpf.h"

const volatile u32 verbose = 0;
const volatile s8 below = -1;

#define LOAD "r2 = %[verbose] ll; r1 = *(u32 *)(r2 + 0);"
#define TEST "if r1 == 0 goto 9f; r1 = 10; call 109; 9: r0 = 0;"
#define BODY(before, between, test)                                                             \
	asm volatile(before between test ::[verbose] "i"(&verbose), [below] "i"(&below)         \
		     : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "memory");                     \
	return 0

SEC("raw_tp/a") int off(void *context)
{
	BODY(LOAD, "", TEST);
}

SEC("raw_tp/b") int jumped_into(void *context)
{
	BODY("call 7; if r0 > 5 goto 2f; r1 = 1; goto 3f; 2:", LOAD "3:", TEST);
}

SEC("raw_tp/c") int jumped_into_at_the_load(void *context)
{
	BODY("call 7; r2 = r10; r2 += -8; *(u64 *)(r2 + 0) = r0; if r0 > 5 goto 3f; r2 = %[verbose] ll; 3:",
	     "r1 = *(u32 *)(r2 + 0);", TEST);
}

SEC("raw_tp/d") int fetched(void *context)
{
	BODY("call 7; *(u64 *)(r10 - 8) = r0;", LOAD ".8byte 0x00000001fff81adb;", TEST); /* r1 = atomic_fetch_add((u64 *)(r10 - 8), r1) */
}

SEC("raw_tp/e") int signed_load(void *context)
{
	BODY("r2 = %[below] ll; .8byte 0x2191;", "", /* r1 = *(s8 *)(r2 + 0), which is cpu v4 */
	      "if r1 s> -1 goto 9f; r1 = 10; call 109; 9: r0 = 0;");
}

char LICENSE[] SEC("license") = "GPL";
