/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types for the golden packages: those of a stock kernel change with each of its updates. Only what the packages
 * use, named as in the kernel; where a field lies makes no difference to an object (CO-RE).
 */
typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 blk_status_t;

enum bpf_map_type { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_RINGBUF = 27 };
enum bpf_update { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };

struct task_struct {
	struct task_struct *real_parent;
	char comm[16];
};

struct trace_event_raw_sched_process_exec {
	__u64 ent;
	__u32 __data_loc_filename;
	__u32 pid;
	__u32 old_pid;
};

struct block_device {
	__u32 bd_dev;
};

struct request {
	struct block_device *part;
};

#ifdef ARM64
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};
struct pt_regs {
	struct user_pt_regs user_regs;
};
#else
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#endif

/* Types that nothing uses are left out by clang. */
struct {
	__u8 a;
	__s8 b;
	__u16 c;
	__s16 d;
	__u32 e;
	__s32 f;
	__u64 g;
	__s64 h;
	__be16 i;
	__be32 j;
	__wsum k;
	blk_status_t l;
	enum bpf_map_type m;
	struct task_struct n;
	struct trace_event_raw_sched_process_exec o;
	struct request p;
	struct pt_regs q;
	enum bpf_update r;
	struct block_device s;
} used;
