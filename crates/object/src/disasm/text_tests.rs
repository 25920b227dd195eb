use super::{UNKNOWN, text};

/// Each instruction that LLVM's assembler knows at cpu v4, with what its disassembler prints.
#[test]
#[allow(clippy::too_many_lines, reason = "a table of all instructions")]
fn every_instruction_has_llvms_text() {
    for (bytes, wanted) in [
        ("bf 21 08 00 00 00 00 00", "r1 = (s8)r2"),
        ("bf 21 10 00 00 00 00 00", "r1 = (s16)r2"),
        ("bf 21 20 00 00 00 00 00", "r1 = (s32)r2"),
        ("bc 21 08 00 00 00 00 00", "w1 = (s8)w2"),
        ("bc 21 10 00 00 00 00 00", "w1 = (s16)w2"),
        ("d7 01 00 00 10 00 00 00", "r1 = bswap16 r1"),
        ("d7 01 00 00 20 00 00 00", "r1 = bswap32 r1"),
        ("d7 01 00 00 40 00 00 00", "r1 = bswap64 r1"),
        ("dc 01 00 00 10 00 00 00", "r1 = be16 r1"),
        ("d4 01 00 00 40 00 00 00", "r1 = le64 r1"),
        ("3f 21 01 00 00 00 00 00", "r1 s/= r2"),
        ("97 01 01 00 05 00 00 00", "r1 s%= 0x5"),
        ("3c 21 01 00 00 00 00 00", "w1 s/= w2"),
        ("94 01 01 00 fb ff ff ff", "w1 s%= -0x5"),
        ("87 01 00 00 00 00 00 00", "r1 = -r1"),
        ("84 01 00 00 00 00 00 00", "w1 = -w1"),
        ("c7 01 00 00 03 00 00 00", "r1 s>>= 0x3"),
        ("cc 21 00 00 00 00 00 00", "w1 s>>= w2"),
        ("91 21 01 00 00 00 00 00", "r1 = *(s8 *)(r2 + 0x1)"),
        ("89 21 ff ff 00 00 00 00", "r1 = *(s16 *)(r2 - 0x1)"),
        ("81 21 00 00 00 00 00 00", "r1 = *(s32 *)(r2 + 0x0)"),
        ("61 21 00 00 00 00 00 00", "r1 = *(u32 *)(r2 + 0x0)"),
        ("72 02 00 00 05 00 00 00", "*(u8 *)(r2 + 0x0) = 0x5"),
        ("7a 02 00 00 fb ff ff ff", "*(u64 *)(r2 + 0x0) = -0x5"),
        ("6b 12 00 00 00 00 00 00", "*(u16 *)(r2 + 0x0) = r1"),
        ("06 00 00 00 05 00 00 00", "gotol +0x5"),
        ("05 00 fd ff 00 00 00 00", "goto -0x3"),
        ("05 00 00 00 00 00 00 00", "goto +0x0"),
        ("45 01 03 00 05 00 00 00", "if r1 & 0x5 goto +0x3"),
        ("d6 01 03 00 ff ff ff ff", "if w1 s<= -0x1 goto +0x3"),
        ("7d 21 03 00 00 00 00 00", "if r1 s>= r2 goto +0x3"),
        ("55 01 03 00 ff ff ff 7f", "if r1 != 0x7fffffff goto +0x3"),
        ("25 01 03 00 00 00 00 80", "if r1 > -0x80000000 goto +0x3"),
        ("c3 21 00 00 00 00 00 00", "lock *(u32 *)(r1 + 0x0) += r2"),
        ("db 21 f8 ff 50 00 00 00", "lock *(u64 *)(r1 - 0x8) &= r2"),
        ("db 21 f8 ff 40 00 00 00", "lock *(u64 *)(r1 - 0x8) |= r2"),
        ("db 21 f8 ff a0 00 00 00", "lock *(u64 *)(r1 - 0x8) ^= r2"),
        ("db 21 00 00 01 00 00 00", "r2 = atomic_fetch_add((u64 *)(r1 + 0x0), r2)"),
        ("c3 21 00 00 01 00 00 00", "w2 = atomic_fetch_add((u32 *)(r1 + 0x0), w2)"),
        ("db 21 00 00 51 00 00 00", "r2 = atomic_fetch_and((u64 *)(r1 + 0x0), r2)"),
        ("db 21 00 00 41 00 00 00", "r2 = atomic_fetch_or((u64 *)(r1 + 0x0), r2)"),
        ("db 21 08 00 a1 00 00 00", "r2 = atomic_fetch_xor((u64 *)(r1 + 0x8), r2)"),
        ("db 21 00 00 e1 00 00 00", "r2 = xchg_64(r1 + 0x0, r2)"),
        ("c3 21 00 00 e1 00 00 00", "w2 = xchg32_32(r1 + 0x0, w2)"),
        ("db 21 00 00 f1 00 00 00", "r0 = cmpxchg_64(r1 + 0x0, r0, r2)"),
        ("c3 21 fc ff f1 00 00 00", "w0 = cmpxchg32_32(r1 - 0x4, w0, w2)"),
        ("e5 00 04 00 00 00 00 00", "may_goto +0x4"),
        ("e5 00 fc ff 00 00 00 00", "may_goto -0x4"),
        ("bf 21 01 00 01 00 00 00", "r1 = addr_space_cast(r2, 0x0, 0x1)"),
        ("bf 21 01 00 00 00 01 00", "r1 = addr_space_cast(r2, 0x1, 0x0)"),
        ("20 00 00 00 04 00 00 00", "r0 = *(u32 *)skb[0x4]"),
        ("50 70 00 00 00 00 00 00", "r0 = *(u8 *)skb[r7]"),
        ("28 00 00 00 fc ff ff ff", "r0 = *(u16 *)skb[-0x4]"),
        ("18 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "r1 = 0x0 ll"),
        ("18 01 00 00 ff ff ff ff 00 00 00 00 ff ff ff ff", "r1 = -0x1 ll"),
        ("18 01 00 00 ef cd ab 89 00 00 00 00 67 45 23 01", "r1 = 0x123456789abcdef ll"),
        ("18 01 00 00 00 00 00 00 00 00 00 00 00 00 00 80", "r1 = -0x8000000000000000 ll"),
        ("18 11 00 00 05 00 00 00 00 00 00 00 00 00 00 00", "ld_pseudo r1, 0x1, 0x5"),
        ("18 31 00 00 fb ff ff ff 00 00 00 00 00 00 00 00", "ld_pseudo r1, 0x3, 0xfffffffb"),
        ("8d 03 00 00 00 00 00 00", "callx r3"),
        ("85 00 00 00 05 00 00 00", "call 0x5"),
        ("85 00 00 00 ff ff ff ff", "call -0x1"),
        ("95 00 00 00 00 00 00 00", "exit"),
        // Newer than LLVM 19.
        ("db 21 00 00 00 01 00 00", "r1 = load_acquire((u64 *)(r2 + 0x0))"),
        ("d3 21 04 00 00 01 00 00", "w1 = load_acquire((u8 *)(r2 + 0x4))"),
        ("cb 21 f8 ff 10 01 00 00", "store_release((u16 *)(r1 - 0x8), w2)"),
        ("0d 01 00 00 00 00 00 00", "gotox r1"),
    ] {
        assert_eq!(decoded(bytes), wanted, "{bytes}");
    }
}

#[test]
fn what_means_nothing_is_unknown() {
    for bytes in [
        "0f 1b 00 00 00 00 00 00", // r11
        "0f 21 05 00 00 00 00 00", // an offset in an addition
        "d7 01 00 00 08 00 00 00", // bswap8
        "df 01 00 00 10 00 00 00",
        "bf 21 07 00 00 00 00 00", // (s7)
        "99 21 00 00 00 00 00 00", // *(s64 *)
        "38 00 00 00 04 00 00 00", // *(u64 *)skb
        "d3 21 00 00 00 00 00 00", // lock *(u8 *)
        "db 21 00 00 99 00 00 00",
        "e6 00 00 00 00 00 00 00",
        "18 01 00 00 00 00 00 00", // half an ld_imm64
    ] {
        assert_eq!(decoded(bytes), UNKNOWN, "{bytes}");
    }
}

fn decoded(bytes: &str) -> String {
    let bytes: Vec<u8> =
        bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let mut insns = crate::insn::read(&bytes, false);
    text(insns.next().unwrap(), insns.next())
}
