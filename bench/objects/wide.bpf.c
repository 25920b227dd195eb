// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Some 400 KB of object: 164 programs that read the kernel's structures, count and report.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct event {
	__u64 when;
	__u32 pid;
	__u32 flags;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
	__type(value, struct event);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct task_struct {
	int pid;
	int tgid;
	unsigned int flags;
	struct task_struct *real_parent;
} __attribute__((preserve_access_index));

const volatile int verbose = 0;

#define PROGRAM(n)                                                             \
	SEC("kprobe/wide_" #n)                                                 \
	int wide_##n(void *context)                                            \
	{                                                                      \
		struct task_struct *task = (void *)bpf_get_current_task();     \
		__u32 pid = BPF_CORE_READ(task, real_parent, tgid);            \
		__u64 one = 1, *count = bpf_map_lookup_elem(&counts, &pid);    \
		if (count)                                                     \
			__sync_fetch_and_add(count, 1);                        \
		else                                                           \
			bpf_map_update_elem(&counts, &pid, &one, BPF_NOEXIST); \
		if (verbose)                                                   \
			bpf_printk("wide %d", pid);                            \
		struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0); \
		if (!event)                                                    \
			return 0;                                              \
		event->when = bpf_ktime_get_ns();                              \
		event->pid = pid;                                              \
		event->flags = BPF_CORE_READ(task, flags);                     \
		bpf_get_current_comm(event->comm, sizeof(event->comm));        \
		bpf_ringbuf_submit(event, 0);                                  \
		return 0;                                                      \
	}

#define FOUR(n) PROGRAM(n##0) PROGRAM(n##1) PROGRAM(n##2) PROGRAM(n##3)
#define SIXTEEN(n) FOUR(n##0) FOUR(n##1) FOUR(n##2) FOUR(n##3)
#define MANY(n) SIXTEEN(n##0) SIXTEEN(n##1) SIXTEEN(n##2) SIXTEEN(n##3)

MANY(0) MANY(1) SIXTEEN(20) SIXTEEN(21) FOUR(220)
