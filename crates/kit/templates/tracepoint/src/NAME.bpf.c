// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 only_pid = 0;

struct event {
	__u64 ts;
	__u32 pid;
	char comm[16];
	char path[64];
};

// Keeps the record's type in BTF, where readers find it.
const struct event *unused_event __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} opens SEC(".maps");

static void count(__u32 pid)
{
	__u64 zero = 0, *opened = bpf_map_lookup_elem(&opens, &pid);

	if (!opened) {
		bpf_map_update_elem(&opens, &pid, &zero, BPF_NOEXIST);
		opened = bpf_map_lookup_elem(&opens, &pid);
	}
	if (opened)
		__sync_fetch_and_add(opened, 1);
}

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct trace_event_raw_sys_enter *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct event *event;

	if (only_pid && pid != only_pid)
		return 0;
	count(pid);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->ts = bpf_ktime_get_ns();
	event->pid = pid;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)ctx->args[1]);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
