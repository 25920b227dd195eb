// SPDX-License-Identifier: Apache-2.0
// A bare consumer: load, attach, count ring records for some seconds, print the count.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <bpf/libbpf.h>

static unsigned long long records;

static int count(void *ctx, void *data, size_t size)
{
	records++;
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int bare_ring(const char *object, const char *ring, const char *seconds)
{
	struct bpf_object *o = bpf_object__open(object);
	struct bpf_program *p;
	struct ring_buffer *rb;
	double end;

	if (!o || bpf_object__load(o))
		return 1;
	bpf_object__for_each_program(p, o)
		if (!bpf_program__attach(p))
			return 1;
	rb = ring_buffer__new(bpf_object__find_map_fd_by_name(o, ring), count, NULL, NULL);
	if (!rb)
		return 1;
	puts("attached");
	fflush(stdout);
	for (end = now() + atof(seconds); now() < end;)
		ring_buffer__consume(rb);
	printf("%llu\n", records);
	return 0;
}
