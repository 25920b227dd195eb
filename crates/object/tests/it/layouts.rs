use std::collections::BTreeMap;
use std::fmt::Write as _;

use skep_object::layout::{FieldAt, LayoutChange, compare, fields};
use skep_object::{Btf, TypeId};

use crate::build::facts;
use crate::forge::{btf, info};

fn version(number: u32) -> (Btf, TypeId) {
    let facts = facts("layouts.c", &[&format!("-DVERSION={number}")]);
    let value = facts.map("map").unwrap().value_type.unwrap();
    (facts.btf.unwrap(), value)
}

fn change(old: u32, new: u32, renames: &[(&str, &str)]) -> LayoutChange {
    let ((old, a), (new, b)) = (version(old), version(new));
    let renames = renames.iter().map(|(n, o)| ((*n).to_owned(), (*o).to_owned())).collect();
    compare(&old, a, &new, b, &renames)
}

fn show(change: &LayoutChange) -> String {
    let LayoutChange::Fields { common, added, removed, blocked } = change else {
        return format!("{change:?}");
    };
    let mut out = String::new();
    for f in common {
        let (o, n) = (f.old, f.new);
        writeln!(
            out,
            "{} {}:{} -> {}:{} x{} number={} signed={}",
            f.name, o.offset, o.width, n.offset, n.width, f.count, f.number, f.signed
        )
        .unwrap();
    }
    writeln!(out, "added {added:?} removed {removed:?}").unwrap();
    for b in blocked {
        writeln!(out, "blocked {}: {}", b.name, b.why).unwrap();
    }
    out
}

#[test]
fn a_field_that_came_at_the_end() {
    insta::assert_snapshot!(show(&change(1, 2, &[])), @r#"
    count 0:8 -> 0:8 x1 number=true signed=false
    added ["bytes"] removed []
    "#);
    insta::assert_snapshot!(show(&change(2, 1, &[])), @r#"
    count 0:8 -> 0:8 x1 number=true signed=false
    added [] removed ["bytes"]
    "#);
}

#[test]
fn the_same_layout_is_equal_whatever_its_names() {
    assert_eq!(change(1, 1, &[]), LayoutChange::Equal);
    assert_eq!(change(3, 3, &[]), LayoutChange::Equal, "with a struct that points to itself");
    assert_eq!(change(1, 8, &[]), LayoutChange::Equal, "qualifiers and typedefs");
    assert_eq!(change(6, 6, &[]), LayoutChange::Equal);
}

#[test]
fn fields_moved_resized_retyped_and_nested() {
    insta::assert_snapshot!(show(&change(3, 4, &[])), @r#"
    small 4:4 -> 0:8 x1 number=true signed=false
    comm 88:16 -> 8:16 x1 number=false signed=false
    slots 8:8 -> 24:8 x4 number=true signed=false
    part.a 40:4 -> 88:4 x1 number=true signed=false
    part.b 48:8 -> 96:8 x1 number=true signed=false
    parts[0].a 56:4 -> 104:4 x1 number=true signed=false
    parts[0].b 64:8 -> 112:8 x1 number=true signed=false
    parts[1].a 72:4 -> 120:4 x1 number=true signed=false
    parts[1].b 80:8 -> 128:8 x1 number=true signed=false
    node.self 144:8 -> 168:8 x1 number=true signed=false
    added [] removed ["gone"]
    blocked sign: it was signed, it is unsigned now
    blocked flag: bit fields cannot be moved
    blocked timer: a bpf_timer belongs to the kernel and cannot be moved
    blocked node.next: a pointer belongs to the kernel and cannot be moved
    "#);
    insta::assert_snapshot!(show(&change(4, 5, &[])), @r#"
    small 0:8 -> 0:8 x1 number=true signed=false
    comm 8:16 -> 8:16 x1 number=false signed=false
    slots 24:8 -> 24:8 x8 number=true signed=false
    part.a 88:4 -> 88:4 x1 number=true signed=false
    part.b 96:8 -> 96:8 x1 number=true signed=false
    parts[0].a 104:4 -> 104:4 x1 number=true signed=false
    parts[0].b 112:8 -> 112:8 x1 number=true signed=false
    parts[1].a 120:4 -> 120:4 x1 number=true signed=false
    parts[1].b 128:8 -> 128:8 x1 number=true signed=false
    sign 136:4 -> 136:4 x1 number=true signed=false
    node.self 168:8 -> 168:8 x1 number=true signed=false
    added ["part.added", "parts[0].added", "parts[1].added"] removed []
    blocked flag: bit fields cannot be moved
    blocked timer: a bpf_timer belongs to the kernel and cannot be moved
    blocked node.next: a pointer belongs to the kernel and cannot be moved
    "#);
}

#[test]
fn narrowing_is_blocked_and_renames_are_followed() {
    insta::assert_snapshot!(show(&change(4, 3, &[("gone", "small")])), @r#"
    part.a 88:4 -> 40:4 x1 number=true signed=false
    part.b 96:8 -> 48:8 x1 number=true signed=false
    parts[0].a 104:4 -> 56:4 x1 number=true signed=false
    parts[0].b 112:8 -> 64:8 x1 number=true signed=false
    parts[1].a 120:4 -> 72:4 x1 number=true signed=false
    parts[1].b 128:8 -> 80:8 x1 number=true signed=false
    comm 8:16 -> 88:16 x1 number=false signed=false
    gone 0:8 -> 128:8 x1 number=true signed=false
    node.self 168:8 -> 144:8 x1 number=true signed=false
    added ["small"] removed []
    blocked slots: it had 8 elements, it has 4 now
    blocked sign: it was unsigned, it is signed now
    blocked flag: bit fields cannot be moved
    blocked timer: a bpf_timer belongs to the kernel and cannot be moved
    blocked node.next: a pointer belongs to the kernel and cannot be moved
    "#);
}

#[test]
fn numbers_and_structs() {
    insta::assert_snapshot!(show(&change(7, 6, &[])), @r"
     0:4 -> 0:8 x1 number=true signed=false
    added [] removed []
    ");
    insta::assert_snapshot!(show(&change(6, 7, &[])), @r#"Incompatible("the value: it had 8 bytes, it has 4 now")"#);
    insta::assert_snapshot!(show(&change(6, 1, &[])), @r#"Incompatible("the value was value_t, it is struct value now")"#);
    insta::assert_snapshot!(show(&change(1, 3, &[])), @r#"Incompatible("no field is in both versions")"#);
}

#[test]
fn a_type_that_is_not_there_compares_to_nothing() {
    let (old, value) = version(1);
    let change = compare(&old, value, &old, TypeId(0), &BTreeMap::new());
    assert!(matches!(change, LayoutChange::Incompatible(_)));
}

fn classes(old: u32, new: u32) -> String {
    let ((old, a), (new, b)) = (version(old), version(new));
    let mut out = String::new();
    for change in fields(&old, a, &new, b, &BTreeMap::new()).unwrap() {
        let at = |field: &Option<FieldAt>| {
            field.as_ref().map_or("-".to_owned(), |f| format!("{}:{} {}", f.offset, f.size, f.ty))
        };
        let (old, new) = (at(&change.old), at(&change.new));
        writeln!(out, "{} {}: {old} -> {new}", change.name, change.class).unwrap();
    }
    out
}

#[test]
fn every_field_has_a_word_for_what_became_of_it() {
    insta::assert_snapshot!(classes(3, 4), @r"
    small widened: 4:4 u32 -> 0:8 u64
    comm moved: 88:16 char[16] -> 8:16 char[16]
    slots widened: 8:32 unsigned long long[4] -> 24:64 unsigned long long[8]
    part.a moved: 40:4 u32 -> 88:4 u32
    part.b moved: 48:8 u64 -> 96:8 u64
    parts[0].a moved: 56:4 u32 -> 104:4 u32
    parts[0].b moved: 64:8 u64 -> 112:8 u64
    parts[1].a moved: 72:4 u32 -> 120:4 u32
    parts[1].b moved: 80:8 u64 -> 128:8 u64
    sign retyped: 104:4 s32 -> 136:4 u32
    flag moved: 108:4 u32 -> 140:4 u32
    timer moved: 112:16 struct bpf_timer -> 144:16 struct bpf_timer
    node.next moved: 136:8 struct node* -> 160:8 struct node*
    node.self moved: 144:8 u64 -> 168:8 u64
    gone removed: 128:8 u64 -> -
    ");
    insta::assert_snapshot!(classes(4, 3), @r"
    small narrowed: 0:8 u64 -> 4:4 u32
    slots narrowed: 24:64 unsigned long long[8] -> 8:32 unsigned long long[4]
    part.a moved: 88:4 u32 -> 40:4 u32
    part.b moved: 96:8 u64 -> 48:8 u64
    parts[0].a moved: 104:4 u32 -> 56:4 u32
    parts[0].b moved: 112:8 u64 -> 64:8 u64
    parts[1].a moved: 120:4 u32 -> 72:4 u32
    parts[1].b moved: 128:8 u64 -> 80:8 u64
    comm moved: 8:16 char[16] -> 88:16 char[16]
    sign retyped: 136:4 u32 -> 104:4 s32
    flag moved: 140:4 u32 -> 108:4 u32
    timer moved: 144:16 struct bpf_timer -> 112:16 struct bpf_timer
    gone added: - -> 128:8 u64
    node.next moved: 160:8 struct node* -> 136:8 struct node*
    node.self moved: 168:8 u64 -> 144:8 u64
    ");
    insta::assert_snapshot!(classes(1, 2), @r"
    count same: 0:8 u64 -> 0:8 u64
    bytes added: - -> 8:8 u64
    ");
    insta::assert_snapshot!(classes(7, 6), @" widened: 0:4 value_t -> 0:8 value_t");
}

/// A struct of as many structs `{ u64 n…; }`, and one number more where told; the name has so many bytes.
fn repeated(elements: u32, length: usize, more: bool) -> (Btf, TypeId) {
    let name = "n".repeat(length);
    let strings = format!("\0u64\0a\0b\0{name}\0");
    let types = [
        vec![1, info(1, 0), 8, 64],
        vec![0, info(4, 1), 8, 9, 1, 0],
        vec![0, info(3, 0), 0, 2, 1, elements],
        vec![0, info(4, 1 + u32::from(more)), (elements + 1) * 8, 5, 3, 0],
        if more { vec![7, 1, elements * 64] } else { vec![] },
    ];
    (Btf::parse(&btf(&types.concat(), strings.as_bytes())).unwrap(), TypeId(4))
}

#[test]
fn paths_have_a_limit_together() {
    // `a`, `b`, and for each of 256 elements `a[N]` and `a[N].nnn…`.
    const MOST: usize = 1 << 20;
    let places: usize = (0..256).map(|n| format!("a[{n}]").len()).sum();
    let length = (MOST - 2 - 2 * places - 256) / 256;
    let compared = |length| {
        let ((old, a), (new, b)) = (repeated(256, length, false), repeated(256, length, true));
        let found = fields(&old, a, &new, b, &BTreeMap::new());
        (compare(&old, a, &new, b, &BTreeMap::new()), found.map(|fields| fields.len()))
    };
    let (change, found) = compared(length);
    assert!(matches!(change, LayoutChange::Fields { .. }) && found == Some(257), "{found:?}");
    let (change, found) = compared(length + 1);
    let LayoutChange::Incompatible(why) = change else { panic!("{found:?}") };
    assert_eq!((why.as_str(), found), ("struct {…} has too many fields to compare", None));
}

#[test]
fn long_names_are_cut_off_in_messages() {
    let (types, _) = repeated(1, 4000, false);
    assert_eq!(types.describe(TypeId(1)), "u64");
    let name = "é".repeat(2000);
    let types = btf(&[1, info(4, 0), 8], format!("\0{name}\0").as_bytes());
    let text = Btf::parse(&types).unwrap().describe(TypeId(1));
    assert_eq!(text, format!("struct {}…", "é".repeat(64)));
}
