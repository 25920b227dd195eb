/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The code behind spec/examples/observation.toml. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct event { __u64 ts; __u32 kind; __u32 bytes; char comm[16]; __u64 lat_ns; };

const volatile __u64 min_ns = 0;
const volatile __u32 targ_dev = 0;
const volatile _Bool filter_dev = 0;

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u64); __type(value, __u64); } inflight SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

const struct event *unused_event __attribute__((unused));
extern void seen(__u64 took, __u32 bytes);

static int start(__u64 request)
{
	__u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&inflight, &request, &now, BPF_ANY);
	return 0;
}

SEC("fentry/blk_account_io_start") int BPF_PROG(on_start_fentry, struct request *rq) { return start((__u64)rq); }
SEC("kprobe/blk_account_io_start") int BPF_KPROBE(on_start_kprobe, struct request *rq) { return start((__u64)rq); }

SEC("tp_btf/block_rq_complete") int BPF_PROG(block_rq_complete, struct request *rq, blk_status_t error, unsigned int bytes)
{
	__u64 key = (__u64)rq, *began = bpf_map_lookup_elem(&inflight, &key), took;
	struct event *event;

	if (!began)
		return 0;
	took = bpf_ktime_get_ns() - *began;
	bpf_map_delete_elem(&inflight, &key);
	if (took < min_ns || (filter_dev && BPF_CORE_READ(rq, part, bd_dev) != targ_dev))
		return 0;
	seen(took, bytes);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->ts = bpf_ktime_get_ns();
	event->kind = 1;
	event->bytes = bytes;
	event->lat_ns = took;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
