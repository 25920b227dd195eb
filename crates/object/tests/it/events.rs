use std::collections::BTreeMap;

use skep_object::event::{
    Clock, Condition, Decoder, DecoderError, Filter, Symbols, WhenError, event_type, unconditioned,
};
use skep_object::{Facts, TypeId};
use skep_spec::manifest::{Field, Manifest, When};
use skep_spec::param::Value;

use crate::build::{facts, long};

fn records() -> Facts {
    facts("records.c", &[])
}

fn decoder(facts: &Facts, ty: &str, formats: &[(&str, Field)]) -> Result<Decoder, DecoderError> {
    let btf = facts.btf.as_ref().unwrap();
    let formats = formats.iter().map(|(name, field)| ((*name).to_owned(), field.clone())).collect();
    Decoder::new(btf, btf.type_by_name(ty).unwrap(), &formats)
}

fn format(name: &str) -> Field {
    Field { format: Some(name.to_owned()), ..Field::default() }
}

/// `struct record` of `records.c` as a BPF program would write it.
fn record() -> Vec<u8> {
    let mut out = vec![0u8; 128];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &u64::MAX.to_le_bytes());
    put(8, &i64::MIN.to_le_bytes());
    put(16, &77u32.to_le_bytes());
    put(20, &[0xfe, 1, b'R']);
    put(23, b"b\xffa\x1bsh\0x");
    put(32, &(-3i32).to_le_bytes());
    put(36, &9u32.to_le_bytes());
    put(40, &0.5f32.to_le_bytes());
    put(48, &0.25f64.to_le_bytes());
    put(56, &0xffff_8880_dead_beefu64.to_le_bytes());
    put(64, &[1, 0, 2, 0, 3, 0]);
    put(70, &[0xff, 0xff, 5, 0]);
    put(74, &[1, 0, 2, 0, 3, 0, 4, 0]);
    put(84, &[1, 2, 3, 4]);
    put(88, &[10, 0, 0, 0]);
    put(92, &[5 | 0b10001 << 3]);
    put(96, &0xab_cdef_0123u64.to_le_bytes());
    put(104, &7u32.to_le_bytes());
    put(108, &[21, 0, 22, 0]);
    out.truncate(112);
    out
}

#[test]
fn every_kind_of_field_becomes_json_in_order() {
    let facts = records();
    let decoder = decoder(&facts, "record", &[]).unwrap();
    assert_eq!(decoder.size(), 112);
    insta::assert_snapshot!(decoder.decode(&record()).to_json(), @r#"{"id":18446744073709551615,"balance":-9223372036854775808,"pid":77,"tiny":-2,"alive":true,"letter":"R","comm":"b\\xffa\u001bsh","state":"BROKEN","wide":9,"ratio":0.5,"share":0.25,"address":"0xffff8880deadbeef","ports":[1,2,3],"at":{"x":-1,"y":5},"path":[{"x":1,"y":2},{"x":3,"y":4}],"whole":67305985,"parts":[1,2,3,4],"either":{"number":10,"point":{"x":10,"y":0}},"low":5,"middle":-15,"high":737894400291,"last":7,"tail":[21,22]}"#);
}

#[test]
fn what_a_short_record_lacks_is_null() {
    let facts = records();
    let decoder = decoder(&facts, "record", &[]).unwrap();
    insta::assert_snapshot!(decoder.decode(&record()[..67]).to_json(), @r#"{"id":18446744073709551615,"balance":-9223372036854775808,"pid":77,"tiny":-2,"alive":true,"letter":"R","comm":"b\\xffa\u001bsh","state":"BROKEN","wide":9,"ratio":0.5,"share":0.25,"address":"0xffff8880deadbeef","ports":[1],"at":null,"path":null,"whole":null,"parts":null,"either":null,"low":null,"middle":null,"high":null,"last":null,"tail":null}"#);
    let row = decoder.row(&record()[..20]);
    assert_eq!(row[..4], ["18446744073709551615", "-9223372036854775808", "77", ""]);
    for length in 0..record().len() {
        let json = decoder.decode(&record()[..length]).to_json();
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
        assert_eq!(decoder.row(&record()[..length]).len(), decoder.columns().count());
    }
}

#[test]
fn a_table_flattens_structs() {
    let facts = records();
    let decoder = decoder(&facts, "record", &[]).unwrap();
    let row = decoder.row(&record());
    let lines: Vec<String> = decoder
        .columns()
        .zip(row)
        .map(|(c, cell)| format!("{}{} = {cell}", c.name, if c.number { " #" } else { "" }))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    id # = 18446744073709551615
    balance # = -9223372036854775808
    pid # = 77
    tiny # = -2
    alive = true
    letter = R
    comm = b\xffa\u{1b}sh
    state = BROKEN
    wide = 9
    ratio # = 0.5
    share # = 0.25
    address = 0xffff8880deadbeef
    ports = [1,2,3]
    at.x # = -1
    at.y # = 5
    path = [{"x":1,"y":2},{"x":3,"y":4}]
    whole # = 67305985
    parts = [1,2,3,4]
    either.number # = 10
    either.point.x # = 10
    either.point.y # = 0
    low # = 5
    middle # = -15
    high # = 737894400291
    last # = 7
    tail = [21,22]
    "#);
}

#[test]
fn formats_show_what_numbers_mean() {
    let facts = records();
    let unit = |name: &str, unit: &str| Field { unit: Some(unit.into()), ..format(name) };
    let named = Field { name: Some("latency".into()), ..unit("duration", "us") };
    let formats = [
        ("when", format("ktime")),
        ("took", named),
        ("address", format("ip")),
        ("address6", format("ip")),
        ("mac", format("mac")),
        ("result", format("errno")),
        ("error", format("errno")),
        ("signal", format("signal")),
        ("bytes", unit("size", "KiB")),
        ("path", format("path")),
        ("flag", format("bool")),
        ("mask", format("hex")),
    ];
    let decoder = decoder(&facts, "shown", &formats).unwrap();
    let mut data = Vec::new();
    data.extend(1_234_567_890_123u64.to_le_bytes());
    data.extend(1_500u64.to_le_bytes());
    data.extend([10, 1, 2, 3]);
    data.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    data.extend([2, 0, 0, 0xaa, 0xbb, 0xcc]);
    data.resize(44, 0); // padding before result
    data.splice(42..44, [0, 0]);
    data.extend((-2i32).to_le_bytes());
    data.extend(13u32.to_le_bytes());
    data.extend(9u32.to_le_bytes());
    data.extend(1536u64.to_le_bytes());
    data.extend(*b"/etc/passwd\0\0\0\0\0");
    data.extend(1u32.to_le_bytes());
    data.extend(0xff00u32.to_le_bytes());
    let show = |decoder: &Decoder| {
        let row = decoder.row(&data);
        let cells = decoder.columns().zip(row).map(|(c, cell)| format!("{}={cell}", c.name));
        cells.collect::<Vec<_>>().join(" ")
    };
    let json = decoder.decode(&data).to_json();
    let clock = Clock { unix_ns_at_zero: 86_400_000_000_000 * 365, offset_seconds: 3600 };
    let lines = [show(&decoder), show(&decoder.with_clock(clock)), json];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    when=1234.567890 latency=1.50ms address=10.1.2.3 address6=2001:db8::1 mac=02:00:00:aa:bb:cc result=-ENOENT error=EACCES signal=SIGKILL bytes=1.50MiB path=/etc/passwd flag=true mask=0xff00
    when=01:20:34.567890 latency=1.50ms address=10.1.2.3 address6=2001:db8::1 mac=02:00:00:aa:bb:cc result=-ENOENT error=EACCES signal=SIGKILL bytes=1.50MiB path=/etc/passwd flag=true mask=0xff00
    {"when":1234567890123,"took":1500,"address":"10.1.2.3","address6":"2001:db8::1","mac":"02:00:00:aa:bb:cc","result":-2,"error":13,"signal":9,"bytes":1536,"path":"/etc/passwd","flag":1,"mask":65280}
    "#);
}

#[test]
fn formats_that_need_a_table_have_it() {
    let facts = records();
    let unit = |name: &str, unit: &str| Field { unit: Some(unit.into()), ..format(name) };
    let formats = [
        ("when", unit("time", "us")),
        ("took", format("ksym")),
        ("address", format("device")),
        ("result", unit("enum", "state")),
        ("error", format("syscall")),
        ("flag", unit("flags", "access")),
        ("mask", unit("flags", "enum access")),
    ];
    let decoder = decoder(&facts, "shown", &formats).unwrap();
    assert!(decoder.has_addresses());
    let mut data = vec![0; decoder.size()];
    let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &1_764_398_096_000_001u64.to_le_bytes());
    put(8, &0xffff_ffff_8100_0010u64.to_le_bytes());
    put(16, &(8u32 << 20 | 17).to_le_bytes());
    put(44, &(-3i32).to_le_bytes());
    put(48, &9999u32.to_le_bytes());
    put(80, &0u32.to_le_bytes());
    put(84, &0x43u32.to_le_bytes());
    let show = |decoder: &Decoder| {
        let row = decoder.row(&data);
        let cells = decoder.columns().zip(row);
        let wanted = cells.filter(|(c, _)| formats.iter().any(|(name, _)| *name == c.name));
        wanted.map(|(c, cell)| format!("{}={cell}", c.name)).collect::<Vec<_>>().join(" ")
    };
    let symbols = Symbols::parse("ffffffff81000000 T _text\nffffffff81000100 T next\n");
    let lines = [show(&decoder), show(&decoder.clone().with_symbols(symbols.into()))];
    insta::assert_snapshot!(lines.join("\n"), @r"
    when=2025-11-29 06:34:56.000001 took=0xffffffff81000010 address=8:17 result=BROKEN error=9999 flag=0 mask=READS|WRITES|0x40
    when=2025-11-29 06:34:56.000001 took=_text+0x10 address=8:17 result=BROKEN error=9999 flag=0 mask=READS|WRITES|0x40
    ");
}

fn takes(decoder: &Decoder, data: &[u8], text: &str) -> Result<bool, String> {
    let filter = Filter::parse(text).map_err(|error| error.to_string())?;
    let bound = filter.bind(decoder).map_err(|error| error.to_string())?;
    Ok(bound.takes(data))
}

#[test]
fn a_condition_asks_of_every_kind_of_field() {
    let facts = records();
    let decoder = decoder(&facts, "record", &[]).unwrap();
    let data = record();
    for holds in [
        "pid == 77",
        "pid",
        "!wide || pid >= 0x4d && pid <= 77",
        "(pid == 1 || pid == 77) && tiny < 0",
        "id == 18446744073709551615 && balance < 0",
        "alive == true && alive",
        "letter == R",
        "state == BROKEN && state != BUSY",
        "address == 0xffff8880deadbeef",
        "at.x == -1 && low == 5 && middle < -10",
        "ratio > 0.25 && share == 0.25",
        r#"comm == "b\xffash" || comm != other"#,
        "comm",
    ] {
        assert_eq!(takes(&decoder, &data, holds), Ok(true), "{holds}");
        assert_eq!(takes(&decoder, &data, &format!("!({holds})")), Ok(false), "{holds}");
    }
    for not in ["pid == 78", "pid < 77", "!pid", "alive != true", "low > 5"] {
        assert_eq!(takes(&decoder, &data, not), Ok(false), "{not}");
    }
    for absent in ["last == 7", "last != 7", "last", "comm == x"] {
        assert_eq!(takes(&decoder, &data[..16], absent), Ok(false), "{absent}");
    }
}

#[test]
fn a_condition_has_the_units_and_names_of_formats() {
    let facts = records();
    let unit = |name: &str, unit: &str| Field { unit: Some(unit.into()), ..format(name) };
    let named = Field { name: Some("latency".into()), ..unit("duration", "us") };
    let decoder = decoder(
        &facts,
        "shown",
        &[
            ("took", named),
            ("address", format("ip")),
            ("mac", format("mac")),
            ("result", unit("enum", "state")),
            ("error", format("errno")),
            ("signal", format("signal")),
            ("bytes", unit("size", "KiB")),
            ("path", format("path")),
            ("flag", format("syscall")),
        ],
    );
    let decoder = decoder.unwrap();
    let mut data = vec![0; decoder.size()];
    let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
    put(8, &1500u64.to_le_bytes());
    put(16, &[10, 0, 0, 1, 0]);
    put(36, &[2, 0, 0, 0, 0, 0xff]);
    put(44, &(-3i32).to_le_bytes());
    put(48, &2u32.to_le_bytes());
    put(52, &9u32.to_le_bytes());
    put(56, &64u64.to_le_bytes());
    put(64, b"/etc/passwd");
    for holds in [
        "latency > 1ms && latency < 1.6ms && latency == 1500",
        "took == 1.5ms",
        "address == 10.0.0.1 && address != 10.0.0.2",
        "mac == 02:00:00:00:00:ff",
        "result == BROKEN",
        "error == ENOENT && signal == SIGKILL && signal > SIGHUP",
        "bytes == 64KiB && bytes >= 64 && bytes < 1MiB",
        "path == /etc/passwd",
    ] {
        assert_eq!(takes(&decoder, &data, holds), Ok(true), "{holds}");
    }
}

#[test]
fn what_is_no_condition_is_refused_with_what_would_be() {
    let facts = records();
    let decoder = decoder(&facts, "record", &[("pid", format("signal"))]).unwrap();
    let long = format!("pid{}", " || pid".repeat(64));
    let deep = format!("{}pid{}", "(".repeat(40), ")".repeat(40));
    let mut text = String::new();
    for wrong in [
        "",
        "pid ==",
        "pid = 7",
        "pid == 7 &",
        "(pid == 7",
        "pid == 7)",
        r#"comm == "x"#,
        "&& pid",
        "pidd == 7",
        "at.z == 1",
        "pid == SIGKIL",
        "alive == 2x",
        "comm < a",
        "ports == 1",
        "at == 1",
        "ratio == half",
        "state == BROKE",
        "id == 1ms",
        &long,
        &deep,
        &"x".repeat(5000),
    ] {
        let error = takes(&decoder, &record(), wrong).unwrap_err();
        text += &format!("{}: {error}\n", &wrong[..wrong.len().min(20)]);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn fields_that_are_wanted_stay_as_they_were() {
    let facts = records();
    let only = |fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        decoder(&facts, "record", &[]).unwrap().only(&fields)
    };
    let some = only(&["comm", "pid", "at.y", "either.point"]).unwrap();
    assert_eq!(
        some.decode(&record()).to_json(),
        r#"{"pid":77,"comm":"b\\xffa\u001bsh","at":{"y":5},"either":{"point":{"x":10,"y":0}}}"#
    );
    assert_eq!(
        some.columns().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["pid", "comm", "at.y", "either.point.x", "either.point.y"]
    );
    let error = only(&["pid", "com"]).unwrap_err().to_string();
    assert!(error.starts_with("there is no field 'com', did you mean 'comm'?"), "{error}");
}

#[test]
fn formats_that_do_not_fit_are_refused() {
    let facts = records();
    let refused =
        |field: &str, f: Field| decoder(&facts, "record", &[(field, f)]).unwrap_err().to_string();
    let unit = Field { unit: Some("h".into()), ..format("duration") };
    let all = [
        refused("idd", format("hex")),
        refused("id", format("colour")),
        refused("id", format("mac")),
        refused("comm", format("hex")),
        refused("id", unit),
        decoder(&facts, "record", &[("at.z", format("hex"))]).unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    there is no field 'idd' in struct record; it has id, balance, pid, tiny, alive, letter, comm, state, wide, ratio, share, address, ports, at.x, at.y, path, whole, parts, either.number, either.point.x, either.point.y, low, middle, high, last, tail
    field 'id': there is no format 'colour'; use one of ktime, comm, duration, hex, ip, mac, errno, signal, size, path, bool, device, ksym, syscall, enum, flags, time, kstack, ustack
    field 'id' is a u64: format 'mac' takes 6 bytes
    field 'comm' is a char[8]: format 'hex' takes a number
    field 'id': there is no unit 'h' for duration; use ns, us, ms or s
    there is no field 'at.z' in struct record; it has id, balance, pid, tiny, alive, letter, comm, state, wide, ratio, share, address, ports, at.x, at.y, path, whole, parts, either.number, either.point.x, either.point.y, low, middle, high, last, tail
    ");
    assert!(decoder(&facts, "record", &[("at.x", format("hex"))]).is_ok());
}

#[test]
fn numbers_are_found_by_path() {
    let facts = records();
    let decoder = decoder(&facts, "record", &[]).unwrap();
    let data = record();
    assert_eq!(decoder.number("id", &data), Some(i128::from(u64::MAX)));
    assert_eq!(decoder.number("at.x", &data), Some(-1));
    assert_eq!(decoder.number("middle", &data), Some(-15));
    assert_eq!(decoder.number("comm", &data), None);
    assert_eq!(decoder.number("id", &data[..4]), None);
    let place = decoder.place("pid").unwrap();
    assert_eq!(place.number(&data), Some(77));
}

#[test]
fn values_of_maps_may_be_plain_numbers() {
    let facts = records();
    let decoder = decoder(&facts, "u64", &[]).unwrap();
    assert_eq!(decoder.decode(&5u64.to_le_bytes()).to_json(), "5");
    assert_eq!(decoder.number("", &5u64.to_le_bytes()), Some(5));
    assert_eq!(decoder.columns().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["value"]);
    assert_eq!(decoder.row(&5u64.to_le_bytes()), ["5"]);
}

#[test]
fn records_of_unknown_type_are_shown_in_hex() {
    let decoder = Decoder::raw();
    assert_eq!(decoder.decode(&[1, 0xab]).to_json(), r#"{"bytes":"01ab"}"#);
    assert_eq!(decoder.row(&[1, 0xab]), ["01ab"]);
}

#[test]
fn the_type_of_records_is_found_in_a_fixed_order() {
    let facts = records();
    let name = |ty: Option<TypeId>| ty.map(|ty| facts.btf.as_ref().unwrap().describe(ty));
    assert_eq!(name(event_type(&facts, "typed", Some("point"))).as_deref(), Some("struct point"));
    assert_eq!(
        name(event_type(&facts, "typed", Some("struct point"))).as_deref(),
        Some("struct point")
    );
    assert_eq!(event_type(&facts, "typed", Some("absent")), None);
    assert_eq!(name(event_type(&facts, "typed", None)).as_deref(), Some("struct shown"));
    assert_eq!(name(event_type(&facts, "untyped", None)).as_deref(), Some("struct record"));
    let other = crate::build::facts("facts.c", &[]);
    assert_eq!(event_type(&other, "ring", None), None);
}

#[test]
fn a_type_without_size_is_refused() {
    let facts = records();
    let btf = facts.btf.as_ref().unwrap();
    let error = Decoder::new(btf, TypeId(0), &BTreeMap::new()).unwrap_err();
    insta::assert_snapshot!(error, @"a record cannot be a void: it has no size");
}

fn conditioned(field: &str, equals: &str) -> Result<(), WhenError> {
    let manifest = format!(
        r#"{{"objects":{{}},"output":{{"seen":{{"kind":"event","map":"untyped","when":{{"equals":{equals},"field":"{field}"}}}}}},
        "package":{{"license":"MIT","name":"a/b","version":"1.0.0"}},"spec":"1.0"}}"#
    );
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    unconditioned(&manifest, &[&records()]).next().map_or(Ok(()), Err)
}

#[test]
fn a_condition_is_of_a_number_of_the_record() {
    for (field, equals) in [
        ("pid", "77"),
        ("pid", r#""0x4d""#),
        ("alive", "true"),
        ("state", "1"),
        ("at.x", r#""-1""#),
    ] {
        assert_eq!(conditioned(field, equals), Ok(()), "{field} = {equals}");
    }
    insta::assert_snapshot!(conditioned("nobody", "1").unwrap_err(), @"[output.seen] when.field: its record has no number 'nobody'");
    insta::assert_snapshot!(conditioned("comm", "1").unwrap_err(), @"[output.seen] when.field: its record has no number 'comm'");
    insta::assert_snapshot!(conditioned("pdi", "1").unwrap_err(), @"[output.seen] when.field: its record has no number 'pdi'; did you mean 'pid'?");
    insta::assert_snapshot!(conditioned("pid", r#""seven""#).unwrap_err(), @"[output.seen] when.equals: 'seven' is no integer, true or false");
}

#[test]
fn a_condition_takes_the_records_with_its_value() {
    let facts = records();
    let decoder = decoder(&facts, "record", &[]).unwrap();
    let takes = |field: &str, equals| {
        let when = When { field: field.to_owned(), equals };
        Condition::new("seen", &when, &decoder).unwrap().takes(&record())
    };
    assert!(takes("pid", Value::Int(77)) && !takes("pid", Value::Int(78)));
    assert!(takes("alive", Value::Bool(true)) && !takes("alive", Value::Bool(false)));
    assert!(takes("id", Value::Text("18446744073709551615".to_owned())));
}

#[test]
fn a_map_that_is_only_an_s_and_a_union_are_told_apart() {
    let mut bytes = crate::build::object("../../../../spec/vectors/files/objects/letter.c", &[]);
    let chosen = |bytes: &[u8], map: &str| {
        let facts = Facts::parse(bytes).unwrap();
        let btf = facts.btf.as_ref().unwrap();
        event_type(&facts, map, None).map(|ty| btf.describe(ty))
    };
    assert_eq!(chosen(&bytes, "s").as_deref(), Some("struct s_event"));
    assert_eq!(chosen(&bytes, "x").as_deref(), Some("struct s_event"));
    // `unused` points to a union, which counts as the value of a map only; as a struct it would be taken.
    let union = u32::to_le_bytes(5 << 24 | 2);
    let at = bytes.windows(4).position(|word| word == union).unwrap();
    bytes[at + 3] = 4;
    assert_eq!(chosen(&bytes, "x").as_deref(), Some("struct either"));
}

#[test]
fn a_record_whose_json_would_be_too_long_is_shown_as_bytes() {
    let facts = long();
    let decoder = decoder(&facts, "wide", &[]).unwrap();
    let json = |record: &[u8]| decoder.decode(record).to_json();
    assert_eq!(json(&[255; 2000]), format!(r#"{{"bytes":"{}"}}"#, "ff".repeat(2000)));
    let part = json(&[7; 2000]);
    assert!(part.starts_with(r#"{"one":{"a00":[7,7,"#) && part.len() < 4 << 20, "{}", part.len());
    let row = decoder.row(&[7; 2000]);
    let bytes = row.iter().map(String::len).sum::<usize>();
    assert!(row.len() == 600 && bytes < 5 << 20, "{} cells, {bytes} bytes", row.len());
    let row = decoder.row(&[255; 2000]);
    assert_eq!(row.last().unwrap(), "…", "beyond what a row may have");
}

#[test]
fn paths_that_are_too_long_make_no_columns() {
    let error = decoder(&long(), "deep", &[]).unwrap_err();
    let said = "a struct deep has more than 1048576 bytes in the paths of its fields";
    assert_eq!(error.to_string(), said);
}
