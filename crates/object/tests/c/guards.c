/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Code that runs only where the kernel has something, or where a constant is set; slots, stacks and writers. */
#include "bpf.h"

#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define TYPE_EXISTS(type) __builtin_preserve_type_info(*(typeof(type) *)0, 0)
#define WEAK __attribute__((weak))

static void (*trace)(const char *text, u32 size) = (void *)6;
static u64 (*jiffies)(void) = (void *)118;
static u64 (*boot)(void) = (void *)125;
static long (*signal)(u32 number) = (void *)109;
static u64 (*cgroup)(void) = (void *)80;
static long (*write_user)(void *to, const void *from, u32 size) = (void *)36;

struct CORE task_struct {
	long __state;
};
struct CORE only_new {
	int field;
};

struct inner {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, 7);
	TYPE(key, u32);
	TYPE(value, u64);
} first SEC(".maps"), second SEC(".maps");

struct {
	NUMBER(type, ARRAY_OF_MAPS);
	NUMBER(max_entries, 4);
	TYPE(key, u32);
	VALUES(struct inner);
} outer SEC(".maps") = { .values = { [1] = &first, [3] = &second } };

struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 64);
	TYPE(key, u32);
	TYPE(value, u64);
} table SEC(".maps");

extern int bpf_new_kfunc(u64 number) WEAK SEC(".ksyms");
extern const u64 jiffies_of_kernel WEAK SEC(".ksyms");
extern u32 CONFIG_HZ SEC(".kconfig");

const volatile u8 verbose = 0;
const volatile u32 mode = 3;

static NOINLINE int deep(u64 *place)
{
	char text[160];
	__builtin_memset(text, 1, sizeof(text));
	asm volatile("" ::"r"(text) : "memory");
	write_user(place, text, sizeof(text));
	return 0;
}

SEC("raw_tp/sched_switch")
int switched(struct task_struct *task)
{
	u32 key = CONFIG_HZ;
	if (FIELD_EXISTS(task->__state))
		jiffies();
	else
		ktime();
	if (!TYPE_EXISTS(struct only_new))
		boot();
	if (verbose)
		trace("switched", 9);
	if (mode == 3)
		cgroup();
	if (bpf_new_kfunc)
		bpf_new_kfunc(jiffies_of_kernel);
	delete(&table, &key);
	return 0;
}

SEC("lsm/file_open")
int opened(u64 *arguments)
{
	u64 place = 0;
	if (verbose)
		deep(&place);
	if (mode == 9)
		signal(9);
	return 0;
}

static NOINLINE int both(void)
{
	return boot() != 0;
}

SEC("raw_tp/sched_wakeup")
int woken(struct task_struct *task)
{
	/* Either way the clock is read and both() is called. */
	if (FIELD_EXISTS(task->__state))
		return ktime() + both();
	return jiffies() + ktime() + both();
}

char LICENSE[] SEC("license") = "Apache-2.0";
