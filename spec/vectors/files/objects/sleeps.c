/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sections whose kind has a suffix, and kinds that need the kernel's types. */
#include "bpf.h"

#define PROGRAM(name, section) SEC(section) int name(void *context) { return 0; }

PROGRAM(enters, "fentry.s/do_nanosleep")
PROGRAM(iterates, "iter.s/task")
PROGRAM(modifies, "fmod_ret/bpf_modify_return_test")
PROGRAM(opens, "lsm.s/file_open")
PROGRAM(leaves, "uretprobe.multi.s//bin/true:main*")
PROGRAM(meets, "kprobe.session/vfs_*")
PROGRAM(probes, "kprobe.multi/vfs_*")
PROGRAM(wraps, "uprobe.session//bin/true:main")
PROGRAM(writes, "raw_tp.w/nbd_send_request")

char LICENSE[] SEC("license") = "GPL";
