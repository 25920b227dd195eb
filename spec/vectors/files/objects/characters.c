/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
// Compiled by GCC 12, which marks unsigned char and signed char as characters too:
// bpf-gcc -gbtf -O2 -c characters.c
typedef unsigned char u8;
#define SEC(n) __attribute__((section(n), used))
struct ev { u8 bytes[4]; char text[4]; signed char small[4]; u8 one; char letter; };
struct ev seen SEC(".data.seen") = {{65, 66, 0, 1}, "ab", {1, 2, 3, 4}, 65, 66};
SEC("xdp") int count(void *ctx) { seen.one++; return 2; }
char licence[] SEC("license") = "GPL";
