/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every kind of question that CO-RE can ask of a kernel's types. */
#include "bpf.h"

struct CORE inner___old {
	u32 low : 3;
	s32 wide : 9;
};
struct CORE outer {
	struct {
		u64 first;
		struct inner___old list[4];
	};
	const char *name;
};
enum choice___new { CHOICE_A, CHOICE_B___new = 7 };
typedef u64 number_t;

#define FIELD(what, kind) __builtin_preserve_field_info(what, kind)
#define TYPE_OF(type, kind) __builtin_preserve_type_info(*(typeof(type) *)0, kind)
#define VALUE_OF(type, value, kind) __builtin_preserve_enum_value(*(typeof(type) *)value, kind)

SEC("raw_tp/asks")
u64 asks(struct outer *outer)
{
	struct inner___old *in = &outer->list[2];
	u64 sum = FIELD(outer->first, 0) + FIELD(outer->first, 1) + FIELD(outer->name, 2);
	sum += FIELD(in->wide, 3) + FIELD(in->low, 4) + FIELD(in->low, 5) + FIELD(in->wide, 2);
	sum += TYPE_OF(struct outer, 0) + TYPE_OF(number_t, 1) + TYPE_OF(enum choice___new, 0);
	sum += VALUE_OF(enum choice___new, CHOICE_B___new, 0) + VALUE_OF(enum choice___new, CHOICE_A, 1);
	return sum + __builtin_btf_type_id(*outer, 0) + __builtin_btf_type_id(*outer, 1);
}
