// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A record with the kernel's stack for each getpgid() with our mark as its argument.
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define MARK 0x736b6573
#define DEPTH 32

struct context { __u64 common, number, arguments[6]; };
struct event { __u64 kernel[DEPTH]; };
const struct event *unused __attribute__((unused));

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 24); } events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getpgid")
int on_call(struct context *ctx)
{
	struct event *event;

	if ((__u32)ctx->arguments[0] != MARK)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	bpf_get_stack(ctx, event->kernel, sizeof(event->kernel), 0);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
