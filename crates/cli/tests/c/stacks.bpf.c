/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The stacks of whoever asks for the process group MARK, which nobody is. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define DEPTH 16

struct event { __u32 tgid; char comm[16]; __s32 kernel_id; __s32 user_id; __u64 kernel[DEPTH]; __u64 user[DEPTH]; };
struct whose { __u32 tgid; __s32 kernel_id; __s32 user_id; };
const struct event *unused __attribute__((unused));

struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024); __uint(key_size, 4); __uint(value_size, DEPTH * 8); } traces SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct whose); __type(value, __u64); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getpgid")
int on_call(struct trace_event_raw_sys_enter *ctx)
{
	struct whose key = {};
	struct event *event;
	__u64 one = 1, *count;

	if ((__u32)ctx->args[0] != MARK)
		return 0;
	key.tgid = bpf_get_current_pid_tgid() >> 32;
	key.kernel_id = bpf_get_stackid(ctx, &traces, 0);
	key.user_id = bpf_get_stackid(ctx, &traces, BPF_F_USER_STACK);
	count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->tgid = key.tgid;
	event->kernel_id = key.kernel_id;
	event->user_id = key.user_id;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_get_stack(ctx, event->kernel, sizeof(event->kernel), 0);
	bpf_get_stack(ctx, event->user, sizeof(event->user), BPF_F_USER_STACK);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
