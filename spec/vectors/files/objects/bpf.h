/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the test objects need of BPF, without any other header. */
#pragma once

typedef signed char s8;
typedef unsigned char u8;
typedef short s16;
typedef unsigned short u16;
typedef int s32;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define NUMBER(field, n) int(*field)[n]
#define TYPE(field, t) typeof(t) *field
#define VALUES(t) typeof(t) *values[]
#define NOINLINE __attribute__((noinline))
#define CORE __attribute__((preserve_access_index))

enum { HASH = 1, ARRAY = 2, PROG_ARRAY = 3, PERF_EVENT_ARRAY = 4, PERCPU_ARRAY = 6, LRU_HASH = 9, ARRAY_OF_MAPS = 12, RINGBUF = 27 };
enum { ANY = 0, NOEXIST = 1 };

static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*delete)(void *map, const void *key) = (void *)3;
static u64 (*ktime)(void) = (void *)5;
static long (*current_comm)(void *to, u32 size) = (void *)16;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static void *(*reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*submit)(void *data, u64 flags) = (void *)132;
static long (*for_each)(void *map, void *callback, void *context, u64 flags) = (void *)164;
static long (*loop)(u32 times, void *callback, void *context, u64 flags) = (void *)181;
