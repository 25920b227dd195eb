/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The code behind spec/examples/acceleration.toml. */
#include "bpf.h"

struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct network { u32 prefix; u8 address[4]; };
struct drops { u64 packets; };
struct sample { u8 source[4]; u32 ifindex; };

u32 sample_every = 64;

struct { NUMBER(type, 11); NUMBER(map_flags, 1); NUMBER(max_entries, 1024); TYPE(key, struct network); TYPE(value, u8); } networks SEC(".maps");
struct { NUMBER(type, 1); NUMBER(max_entries, 64); TYPE(key, u32); TYPE(value, struct drops); } drops SEC(".maps");
struct { NUMBER(type, 27); NUMBER(max_entries, 262144); } samples SEC(".maps");


const struct sample *unused_sample __attribute__((unused));

static NOINLINE int decide(u32 ifindex, u32 source)
{
	struct network network = { 32 };
	struct drops *count;
	struct sample *sample;
	u64 before;

	__builtin_memcpy(network.address, &source, 4);
	if (!lookup(&networks, &network))
		return 2;
	count = lookup(&drops, &ifindex);
	if (!count)
		return 1;
	before = __sync_fetch_and_add(&count->packets, 1);
	if (sample_every && before % sample_every == 0) {
		sample = reserve(&samples, sizeof(*sample), 0);
		if (sample) {
			__builtin_memcpy(sample->source, &source, 4);
			sample->ifindex = ifindex;
			submit(sample, 0);
		}
	}
	return 1;
}

SEC("xdp.frags") int drop_frags(struct xdp_md *ctx)
{
	return decide(ctx->ingress_ifindex, ctx->rx_queue_index);
}

SEC("xdp") int drop_linear(struct xdp_md *ctx)
{
	return decide(ctx->ingress_ifindex, ctx->rx_queue_index);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
