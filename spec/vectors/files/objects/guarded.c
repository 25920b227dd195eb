/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Helpers and kernel functions that programs may do without: weak ones, and those behind a question or a constant. */
#include "bpf.h"

struct task_struct { int pid; long __state; } CORE;
enum bpf_func_id___new { BPF_FUNC_get_func_ip___new = 173 };
static long (*jiffies)(void) = (void *)118;
static long (*cgroup)(void) = (void *)80;
static long (*func_ip)(void *) = (void *)173;
extern int bpf_new_kfunc(long) __attribute__((weak)) SEC(".ksyms");
extern int bpf_new_kfunc___two(long, long) __attribute__((weak)) SEC(".ksyms");
extern int bpf_untested(long) __attribute__((weak)) SEC(".ksyms");
extern void bpf_old_kfunc___x(void) SEC(".ksyms");
const volatile char verbose = 0;
const volatile char quiet = 1;

SEC("raw_tp/sched_switch") int plain(void *context)
{
	return 0;
}

SEC("raw_tp/sched_switch") int asks(struct task_struct *task)
{
	long sum = 0;

	if (__builtin_preserve_field_info(task->__state, 2))
		sum += jiffies();
	if (__builtin_preserve_enum_value(*(enum bpf_func_id___new *)BPF_FUNC_get_func_ip___new, 0))
		sum += func_ip(task);
	return sum;
}

SEC("raw_tp/sched_switch") int switched(void *context)
{
	long sum = 0;

	if (verbose)
		sum += cgroup();
	if (quiet)
		sum += ktime();
	return sum;
}

SEC("tp_btf/sched_switch") int weak(u64 *context)
{
	long sum = 0;

	if (bpf_new_kfunc___two)
		sum += bpf_new_kfunc___two(1, 2);
	else if (bpf_new_kfunc)
		sum += bpf_new_kfunc(1);
	sum += bpf_untested(1);
	bpf_old_kfunc___x();
	return sum;
}

SEC("raw_tp/sched_switch") int asks_nothing(void *context)
{
	return jiffies();
}

char LICENSE[] SEC("license") = "GPL";
