//! JSON as bytes: what is decoded can be written back, and nothing else can.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skep_object::event::Decoder;

use crate::build::facts;

fn decoder(ty: &str) -> Decoder {
    let facts = facts("records.c", &[]);
    let btf = facts.btf.as_ref().unwrap();
    Decoder::new(btf, btf.type_by_name(ty).unwrap(), &BTreeMap::new()).unwrap()
}

/// `struct record` of `records.c` as it is read.
fn record() -> Value {
    json!({
        "id": u64::MAX, "balance": i64::MIN, "pid": 77, "tiny": -2, "alive": true, "letter": "R",
        "comm": "b\\xffash", "state": "BROKEN", "wide": 9, "ratio": 0.5, "share": 0.25,
        "address": "0xffff8880deadbeef", "ports": [1, 2, 3], "at": {"x": -1, "y": 5},
        "path": [{"x": 1, "y": 2}, {"x": 3, "y": 4}], "whole": 67_305_985, "parts": [1, 2, 3, 4],
        "either": {"number": 10, "point": {"x": 10, "y": 0}}, "low": 5, "middle": -15,
        "high": 737_894_400_291_u64, "last": 7, "tail": [21, 22],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut record = record();
    record[name] = value;
    record
}

#[test]
fn what_is_decoded_can_be_written_back() {
    let decoder = decoder("record");
    let bytes = decoder.encode("value", &record()).unwrap();
    assert_eq!(bytes.len(), decoder.size());
    let read: Value = serde_json::from_str(&decoder.decode(&bytes).to_json()).unwrap();
    assert_eq!(read, record());
    let escaped = with("comm", json!(r"\x5cx41\xg"));
    let bytes = decoder.encode("value", &escaped).unwrap();
    let read: Value = serde_json::from_str(&decoder.decode(&bytes).to_json()).unwrap();
    assert_eq!(read["comm"], json!(r"\x5cx41\xg"));
}

#[test]
fn of_members_that_share_bytes_one_is_enough_and_two_must_agree() {
    let decoder = decoder("record");
    let whole = decoder.encode("value", &record()).unwrap();
    let mut less = record();
    less.as_object_mut().unwrap().remove("parts");
    assert_eq!(decoder.encode("value", &less).unwrap(), whole);
    assert_eq!(decoder.encode("value", &with("either", json!({"number": 10}))).unwrap(), whole);
    let error = decoder.encode("value", &with("parts", json!([1, 2, 3, 5]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "value.parts[3] says other bytes than a member that shares them: give one of them"
    );
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let decoder = decoder("record");
    let mut text = String::new();
    let mut without = record();
    without.as_object_mut().unwrap().remove("pid");
    for wrong in [
        json!(7),
        without,
        with("pidd", json!(1)),
        with("pid", json!(1_u64 << 32)),
        with("pid", json!(1.5)),
        with("pid", json!("7")),
        with("tiny", json!(-129)),
        with("alive", json!(1)),
        with("comm", json!("much longer than the sixteen bytes that there are")),
        with("comm", json!("a\0b")),
        with("state", json!("BROKE")),
        with("ports", json!([1, 2])),
        with("at", json!({"x": 1})),
        with("low", json!(8)),
        with("middle", json!(-17)),
        with("address", json!("nowhere")),
        with("tail", json!([1])),
        with("ratio", json!("half")),
    ] {
        text += &format!("{}\n", decoder.encode("value", &wrong).unwrap_err());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_has_no_type_is_written_in_hex() {
    let raw = Decoder::raw();
    for same in [json!("00ff10"), json!({"bytes": "00FF10"})] {
        assert_eq!(raw.encode("key", &same).unwrap(), [0, 0xff, 0x10]);
    }
    for wrong in [json!("0"), json!("zz"), json!(7), json!("+1")] {
        raw.encode("key", &wrong).unwrap_err();
    }
}
