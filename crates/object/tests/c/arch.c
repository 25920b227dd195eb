/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads a register. */
#include "bpf.h"

#ifdef X86
struct pt_regs {
	u64 si;
	u64 di;
};
#define FIRST(context) (((struct pt_regs *)(context))->di)
#else
struct user_pt_regs {
	u64 regs[31];
	u64 pstate;
};
#define FIRST(context) (((struct user_pt_regs *)(context))->regs[0])
#endif

SEC("kprobe/vfs_read")
#ifdef X86
int first(struct pt_regs *context)
#else
int first(struct user_pt_regs *context)
#endif
{
	return FIRST(context) > 3;
}
