// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A program with one USDT probe at three places, without a C library: for each byte that it reads it passes one of them, and
// writes the byte back. The probe's argument is 7 each time: in a register (r), in memory (m), and a constant (c). The last one
// is passed only while somebody listens, as its semaphore says.

// As sys/sdt.h lays its notes out.
#define PROBE(argument, ...)                                                                                               \
	__asm__ volatile("990: nop\n"                                                                                      \
			 ".pushsection .note.stapsdt,\"\",%%note\n"                                                          \
			 ".balign 4\n"                                                                                     \
			 ".4byte 992f-991f, 994f-993f, 3\n"                                                                \
			 "991: .asciz \"stapsdt\"\n"                                                                       \
			 "992: .balign 4\n"                                                                                \
			 "993: .8byte 990b, _.stapsdt.base, listeners\n"                                                   \
			 ".asciz \"skep\"\n.asciz \"seven\"\n.asciz \"" argument "\"\n"                                    \
			 "994: .balign 4\n"                                                                                \
			 ".popsection\n" __VA_ARGS__)

__asm__(".pushsection .stapsdt.base,\"a\",%progbits\n_.stapsdt.base: .space 1\n.popsection\n");

__attribute__((section(".probes"), used)) volatile unsigned short listeners = 0;

#if defined(__x86_64__)
#define CONSTANT "4@$7"
static long call(long number, long fd, void *bytes, long count)
{
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(fd), "S"(bytes), "d"(count)
			 : "rcx", "r11", "memory");
	return result;
}
#define READ 0
#define WRITE 1
#define EXIT 60
#elif defined(__aarch64__)
#define CONSTANT "4@7"
static long call(long number, long fd, void *bytes, long count)
{
	register long x0 __asm__("x0") = fd, x1 __asm__("x1") = (long)bytes, x2 __asm__("x2") = count;
	register long x8 __asm__("x8") = number;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
	return x0;
}
#define READ 63
#define WRITE 64
#define EXIT 93
#endif

void _start(void)
{
	volatile long memory = 7;
	long seven = memory;
	char byte = 0;

	while (call(READ, 0, &byte, 1) == 1) {
		if (byte == 'r')
			PROBE("8@%0", ::"r"(seven));
		else if (byte == 'm')
			PROBE("8@%0", ::"m"(memory));
		else if (listeners)
			PROBE(CONSTANT, ::);
		call(WRITE, 1, &byte, 1);
	}
	call(EXIT, 0, 0, 0);
}
