// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A program without a C library that makes one system call, whose argument is MARK, for each byte that it reads, two functions
// deep, and answers with the byte; at the end of its input it ends.

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, GETPGID = 121, EXIT = 60 };
static inline long call(long number, long a, void *b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}
#else
enum { READ = 63, WRITE = 64, GETPGID = 155, EXIT = 93 };
static inline long call(long number, long a, void *b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register void *x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}
#endif

__attribute__((noinline)) long inner_call(void)
{
	long result = call(GETPGID, MARK, 0, 0);
	__asm__ volatile("" : "+r"(result));
	return result;
}

__attribute__((noinline)) long outer_call(void)
{
	long result = inner_call();
	__asm__ volatile("" : "+r"(result));
	return result;
}

__attribute__((noreturn)) void _start(void)
{
	char byte;

	while (call(READ, 0, &byte, 1) == 1) {
		outer_call();
		call(WRITE, 1, &byte, 1);
	}
	for (;;)
		call(EXIT, 0, 0, 0);
}
