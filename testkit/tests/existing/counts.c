/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An event for each program that starts, and a count for each process: by clang, by GCC, and with maps as they were defined
 * before types (OLDER), which is also how Aya's #[map] lays them out. */
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))

#ifdef __clang__
#define HELPER(type, name, number, ...) static type (*name)(__VA_ARGS__) = (void *)number
#else
#define HELPER(type, name, number, ...) extern type name(__VA_ARGS__) __attribute__((kernel_helper(number)))
#endif
HELPER(void *, lookup, 1, void *, const void *);
HELPER(long, update, 2, void *, const void *, const void *, u64);
HELPER(u64, pid_tgid, 14, void);
HELPER(long, comm, 16, void *, u32);
HELPER(long, output, 130, void *, void *, u64, u64);

struct event {
	u32 pid;
	char comm[16];
};

#ifdef OLDER
struct definition {
	u32 type, key_size, value_size, max_entries, map_flags, id, pinning;
};
struct definition SEC("maps") counts = { 1, 4, 8, 64 };
struct definition SEC("maps") events = { 27, 0, 0, 4096 };
#else
struct {
	int (*type)[27];
	int (*max_entries)[4096];
	struct event *value;
} events SEC(".maps");
struct {
	int (*type)[1];
	int (*max_entries)[64];
	u32 *key;
	u64 *value;
} counts SEC(".maps");
#endif

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *context)
{
	struct event event = {};
	u64 one = 1, *count;

	event.pid = pid_tgid() >> 32;
	comm(&event.comm, sizeof(event.comm));
	count = lookup(&counts, &event.pid);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		update(&counts, &event.pid, &one, 0);
	output(&events, &event, sizeof(event), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
