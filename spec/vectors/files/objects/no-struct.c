/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A map that is a number. */
#include "bpf.h"
int ring SEC(".maps");
