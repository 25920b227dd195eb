//! BTF that the installed clang does not write, by hand.

use std::collections::BTreeMap;

use skep_object::btf::{Btf, BtfError, Kind};
use skep_object::event::{Decoder, DecoderError};
use skep_object::{TypeId, limits};

/// Puts BTF together, word by word.
#[derive(Default)]
pub struct Builder {
    types: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    pub fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// Adds a type: name, kind, flag, number of members, size or type, and the words that follow.
    pub fn ty(
        &mut self,
        name: &str,
        kind: u32,
        flag: bool,
        n: u32,
        size: u32,
        rest: &[u32],
    ) -> u32 {
        let name = if name.is_empty() { 0 } else { self.name(name) };
        self.types.extend([name, (kind << 24) | (u32::from(flag) << 31) | n, size]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    pub fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.ty(name, 1, false, 0, size, &[(encoding << 24) | (size * 8)])
    }

    pub fn bytes(&self, big_endian: bool) -> Vec<u8> {
        let word = |w: u32| if big_endian { w.to_be_bytes() } else { w.to_le_bytes() };
        let types = self.types.len() as u32 * 4;
        let strings = if self.strings.is_empty() { vec![0] } else { self.strings.clone() };
        let mut out = if big_endian { vec![0xeb, 0x9f, 1, 0] } else { vec![0x9f, 0xeb, 1, 0] };
        for w in [24, 0, types, types, strings.len() as u32] {
            out.extend(word(w));
        }
        self.types.iter().for_each(|w| out.extend(word(*w)));
        out.extend(strings);
        out
    }

    pub fn build(&self) -> Btf {
        Btf::parse(&self.bytes(false)).unwrap()
    }
}

#[test]
fn enum64_keeps_all_its_bits() {
    for big_endian in [false, true] {
        let mut b = Builder::default();
        let (low, top) = (b.name("LOW"), b.name("TOP"));
        let e = b.ty("wide", 19, false, 2, 8, &[low, 1, 0, top, 0xffff_ffff, 0xffff_ffff]);
        let minus = b.name("MINUS");
        let s = b.ty("signed", 19, true, 1, 8, &[minus, 0xffff_fffe, 0xffff_ffff]);
        let btf = Btf::parse(&b.bytes(big_endian)).unwrap();
        let show = |ty: u32, value: u64| {
            let bytes = if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            let decoder = Decoder::new(&btf, TypeId(ty), &BTreeMap::new()).unwrap();
            decoder.decode(&bytes).to_json()
        };
        assert_eq!(show(e, u64::MAX), r#""TOP""#);
        assert_eq!(show(e, 1), r#""LOW""#);
        assert_eq!(show(e, u64::MAX - 1), "18446744073709551614");
        assert_eq!(show(s, u64::MAX - 1), r#""MINUS""#);
        assert_eq!(show(s, u64::MAX), "-1");
    }
}

#[test]
fn big_endian_bit_fields_count_from_the_highest_bit() {
    let mut b = Builder::default();
    let int = b.int("unsigned int", 4, 0);
    let (x, y) = (b.name("x"), b.name("y"));
    let s = b.ty("s", 4, true, 2, 4, &[x, int, 3 << 24, y, int, 9 << 24 | 3]);
    let btf = Btf::parse(&b.bytes(true)).unwrap();
    let decoder = Decoder::new(&btf, TypeId(s), &BTreeMap::new()).unwrap();
    let word = (0b101u32 << 29 | 0b1_0000_0001 << 20).to_be_bytes();
    assert_eq!(decoder.decode(&word).to_json(), r#"{"x":5,"y":257}"#);
}

#[test]
fn bit_fields_of_old_compilers_stand_in_their_type() {
    let mut b = Builder::default();
    let low = b.ty("unsigned int", 1, false, 0, 4, &[3]);
    let high = b.ty("unsigned int", 1, false, 0, 4, &[5]);
    let (x, y) = (b.name("x"), b.name("y"));
    let s = b.ty("s", 4, false, 2, 4, &[x, low, 0, y, high, 3]);
    let btf = b.build();
    let decoder = Decoder::new(&btf, TypeId(s), &BTreeMap::new()).unwrap();
    assert_eq!(decoder.decode(&[0b1000_1101, 0, 0, 0]).to_json(), r#"{"x":5,"y":17}"#);
}

#[test]
fn wide_integers_are_hex() {
    let mut b = Builder::default();
    let wide = b.int("__int128", 16, 0);
    let btf = b.build();
    let decoder = Decoder::new(&btf, TypeId(wide), &BTreeMap::new()).unwrap();
    let json = decoder.decode(&(1u128 << 100).to_le_bytes()).to_json();
    assert_eq!(json, r#""0x00000010000000000000000000000000""#);
}

#[test]
fn types_that_go_in_circles_end() {
    let mut b = Builder::default();
    b.ty("a", 8, false, 0, 2, &[]); // typedef b a
    b.ty("b", 8, false, 0, 1, &[]); // typedef a b
    b.ty("", 3, false, 0, 0, &[3, 3, 2]); // an array of itself
    let inner = b.name("inner");
    b.ty("loop", 4, false, 1, 4, &[inner, 4, 0]); // a struct in itself
    let btf = b.build();
    for id in 1..=4 {
        let id = TypeId(id);
        _ = btf.size_of(id);
        _ = btf.describe(id);
        assert!(btf.layout_eq(id, &btf, id) || btf.size_of(id).is_none());
        let decoder = Decoder::new(&btf, id, &BTreeMap::new());
        assert!(
            matches!(decoder, Err(DecoderError::NoSize { .. } | DecoderError::Limit { .. })),
            "{id:?} {decoder:?}"
        );
    }
    assert_eq!(btf.kind(btf.skip_modifiers(TypeId(1))), &Kind::Void);
}

#[test]
fn empty_structs_in_huge_arrays_end() {
    let mut b = Builder::default();
    let empty = b.ty("empty", 4, false, 0, 0, &[]);
    let array = b.ty("", 3, false, 0, 0, &[empty, empty, u32::MAX]);
    let f = b.name("f");
    let s = b.ty("s", 4, false, 1, 0, &[f, array, 0]);
    let btf = b.build();
    let decoder = Decoder::new(&btf, TypeId(s), &BTreeMap::new()).unwrap();
    assert_eq!(decoder.decode(&[1, 2, 3]).to_json(), r#"{"f":[]}"#);
    assert_eq!(decoder.decode(&[]).to_json(), r#"{"f":[]}"#);
    let change =
        skep_object::layout::compare(&btf, TypeId(s), &btf, TypeId(empty), &BTreeMap::new());
    assert!(matches!(change, skep_object::layout::LayoutChange::Incompatible(_)));
}

#[test]
fn a_member_beyond_its_struct_is_refused() {
    let mut b = Builder::default();
    let int = b.int("int", 4, 1);
    let f = b.name("f");
    let s = b.ty("s", 4, false, 1, 4, &[f, int, 32]);
    let error = Decoder::new(&b.build(), TypeId(s), &BTreeMap::new()).unwrap_err();
    assert_eq!(error.to_string(), "field 'f' reaches beyond its struct s");
}

#[test]
fn broken_btf_is_named() {
    let refused = |bytes: &[u8]| Btf::parse(bytes).unwrap_err();
    let mut b = Builder::default();
    b.ty("p", 2, false, 0, 9, &[]);
    let dangling = b.bytes(false);
    let mut b = Builder::default();
    b.ty("", 31, false, 0, 0, &[]);
    let unknown = b.bytes(false);
    let mut b = Builder::default();
    b.int("int", 4, 0);
    let whole = b.bytes(false);
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let mut b = Builder::default();
    b.ty("", 4, false, 9, 4, &[]);
    let short = b.bytes(false);
    let all = [
        refused(b"BTF"),
        refused(&changed(2, 2)),
        refused(&whole[..20]),
        refused(&whole[..whole.len() - 1]),
        refused(&changed(24, 99)),
        refused(&changed(whole.len() - 1, b'x')),
        refused(&changed(whole.len() - 2, 0xff)),
        refused(&changed(32, 99)),
        refused(&dangling),
        refused(&unknown),
        refused(&short),
    ];
    let text: Vec<String> = all.iter().map(BtfError::to_string).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    it does not start with BTF's magic number 0xeb9f
    it is BTF version 2; only version 1 is known
    the type table is cut off: it needs 40 bytes, there are 20
    the string table is cut off: it needs 45 bytes, there are 44
    type 1 refers to the name at 99, which is not there
    the string table does not start and end with NUL
    the string table is not UTF-8
    type 1 refers to an integer of 99 bytes, which is not there
    type 1 refers to type 9, which is not there
    type 1 has the unknown kind 31
    type 1 is cut off: it needs 16 bytes, there are 12
    ");
}

#[test]
fn more_types_than_are_read_are_refused() {
    let mut b = Builder::default();
    for _ in 0..=limits::BTF_TYPES {
        b.ty("", 7, false, 0, 0, &[]);
    }
    let error = Btf::parse(&b.bytes(false)).unwrap_err();
    assert_eq!(error.to_string(), "it holds more than 300000 types");
}

#[test]
fn names_that_a_record_repeats_have_a_limit() {
    let decoder = |length: usize, elements: u32| {
        let mut b = Builder::default();
        let byte = b.ty("u8", 1, false, 0, 1, &[8]);
        let name = b.name(&"n".repeat(length));
        let inner = b.ty("inner", 4, false, 1, 1, &[name, byte, 0]);
        let array = b.ty("", 3, false, 0, 0, &[inner, byte, elements]);
        let name = b.name("m");
        let record = b.ty("record", 4, false, 1, elements, &[name, array, 0]);
        Decoder::new(&b.build(), TypeId(record), &BTreeMap::new())
    };
    const MOST: usize = 1 << 20;
    assert!(decoder(1023, 1024).is_ok(), "{MOST} less 1023 bytes");
    assert!(decoder(15, 0).is_ok(), "64 KiB of elements");
    for (length, elements) in [(1024, 1024), (3000, 1000), (16, 0), (4000, u32::MAX)] {
        let refused = decoder(length, elements).unwrap_err();
        let DecoderError::Limit { what, most, .. } = refused else { panic!("{refused:?}") };
        assert_eq!((what, most), ("bytes of names in a record", MOST), "{length} {elements}");
    }
}
