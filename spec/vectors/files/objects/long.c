/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records that show far more than they are: names in many paths, and one array by many names. */
#include "bpf.h"

#define TWICE_(n) n##n
#define TWICE(n) TWICE_(n)
#define LONG(n) TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(n)))))))))
#define EIGHT(n) u64 n##0, n##1, n##2, n##3, n##4, n##5, n##6, n##7

/* Each of nine names of 3,584 bytes is in the paths of all 40 fields. */
struct deep { struct { struct { struct { struct { struct { struct { struct { struct { struct {
	EIGHT(a); EIGHT(b); EIGHT(c); EIGHT(d); EIGHT(e);
} LONG(letters); } LONG(of_many); } LONG(andmore); } LONG(indeed_); } LONG(further); } LONG(deepest); } LONG(lowerst); } LONG(grounds); } LONG(bottoms); };

/* 600 members are the same 2,000 bytes. */
#define TEN(n) n##0[2000], n##1[2000], n##2[2000], n##3[2000], n##4[2000], n##5[2000], n##6[2000], n##7[2000], n##8[2000], n##9[2000]
#define HUNDRED(n) u8 TEN(n##0), TEN(n##1), TEN(n##2), TEN(n##3), TEN(n##4), TEN(n##5), TEN(n##6), TEN(n##7), TEN(n##8), TEN(n##9)
struct wide { union { HUNDRED(a); HUNDRED(b); HUNDRED(c); HUNDRED(d); HUNDRED(e); HUNDRED(f); } one; };

#define KEEP(n) const struct n *keep_##n __attribute__((unused))
KEEP(deep); KEEP(wide);
