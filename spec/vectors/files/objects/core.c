/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A CO-RE relocation and a kernel function. */
#include "bpf.h"

struct task_struct___ours { int pid; int tgid; } CORE;
extern void bpf_rcu_read_lock(void) SEC(".ksyms");

SEC("tp_btf/sched_switch")
int on_switch(u64 *context)
{
	struct task_struct___ours *task = (void *)context[1];
	bpf_rcu_read_lock();
	return task->tgid;
}

SEC("tcx/ingress")
int on_skb(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
