// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Every program that starts: one record each, and a count per parent, root's apart.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define COMM 16
#define PATH 64
#define PIDS (1 << 22) // the kernel's highest pid_max

struct event {
	__u64 ts;
	__u32 pid;
	__u32 uid;
	char comm[COMM];
	char parent[COMM];
	char path[PATH];
};

// Keeps the record's type in BTF, where readers find it.
const struct event *unused_event __attribute__((unused));

struct parent {
	char comm[COMM];
};

struct count {
	__u64 execs;
	__u64 root; // of them by root
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct parent);
	__type(value, struct count);
} execs SEC(".maps");

// A bit per process id that was seen: what lets a test prove that an upgrade lost nothing.
// Per CPU, because a bit is set by a plain "or" (an atomic one needs Linux 5.12).
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PIDS / 64);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static void mark(__u32 pid)
{
	__u32 word = pid / 64;
	__u64 *bits = bpf_map_lookup_elem(&seen, &word);

	if (bits)
		*bits |= 1ULL << (pid % 64);
}

static void count(const struct parent *parent, __u32 uid)
{
	struct count zero = {}, *count = bpf_map_lookup_elem(&execs, parent);

	if (!count) {
		bpf_map_update_elem(&execs, parent, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&execs, parent);
	}
	if (!count)
		return;
	__sync_fetch_and_add(&count->execs, 1);
	if (uid == 0)
		__sync_fetch_and_add(&count->root, 1);
}

SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 pid = bpf_get_current_pid_tgid() >> 32, uid = bpf_get_current_uid_gid();
	struct parent parent = {};
	struct event *event;

	BPF_CORE_READ_STR_INTO(&parent.comm, task, real_parent, comm);
	mark(pid);
	count(&parent, uid);

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->ts = bpf_ktime_get_ns();
	event->pid = pid;
	event->uid = uid;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	__builtin_memcpy(event->parent, parent.comm, sizeof(event->parent));
	bpf_probe_read_kernel_str(event->path, sizeof(event->path),
				  (void *)ctx + (ctx->__data_loc_filename & 0xffff));
	bpf_ringbuf_submit(event, 0);
	return 0;
}
