/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two jumps to where a register says, which may lead to each instruction. Older compilers do not know them, so that they stand as bytes. */

#define GOTOX_R1 ".byte 0x0d, 0x01, 0, 0, 0, 0, 0, 0;"

__attribute__((section("raw_tp/a"), used, naked)) int twice(void *context)
{
	asm volatile("r1 = *(u64 *)(r1 + 0);" GOTOX_R1 GOTOX_R1 "r0 = 0; exit;");
}
