// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A program with the probes of a Java machine that collects garbage, which it passes ten times. Without a C library: a guest has none.

// As sys/sdt.h lays its notes out.
#define PROBE(name)                                                                                                        \
	__asm__ volatile("990: nop\n"                                                                                      \
			 ".pushsection .note.stapsdt,\"\",%note\n"                                                           \
			 ".balign 4\n"                                                                                     \
			 ".4byte 992f-991f, 994f-993f, 3\n"                                                                \
			 "991: .asciz \"stapsdt\"\n"                                                                       \
			 "992: .balign 4\n"                                                                                \
			 "993: .8byte 990b, _.stapsdt.base, 0\n"                                                           \
			 ".asciz \"hotspot\"\n.asciz \"" name "\"\n.asciz \"\"\n"                                            \
			 "994: .balign 4\n"                                                                                \
			 ".popsection\n")

__asm__(".pushsection .stapsdt.base,\"a\",%progbits\n_.stapsdt.base: .space 1\n.popsection\n");

struct pause {
	long seconds, nanoseconds;
};

static long call(long number, const void *first, void *second)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
	return result;
}

__attribute__((force_align_arg_pointer)) void _start(void)
{
	enum { NANOSLEEP = 35, EXIT = 60 };
	struct pause millisecond = { 0, 1000000 };

#pragma clang loop unroll(disable)
	for (int i = 0; i < 10; i++) {
		PROBE("gc__begin");
		PROBE("mem__pool__gc__begin");
		call(NANOSLEEP, &millisecond, 0);
		PROBE("mem__pool__gc__end");
		PROBE("gc__end");
	}
	call(EXIT, 0, 0);
}
