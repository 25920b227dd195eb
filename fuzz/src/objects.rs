//! Parts 4 to 7: ELF, types, code and records.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use skep_object::btf::Btf;
use skep_object::btf_ext::BtfExt;
use skep_object::difference::Difference;
use skep_object::event::{Decoder, Filter, event_type};
use skep_object::{Facts, TypeId, carve, disasm, gpl, layout, permissions, usdt};
use skep_spec::manifest::{Field, Permissions};

use crate::forge;

/// Types of one object at most that are asked for one by one, so that an input stays a matter of milliseconds.
const ASKED: usize = 64;

/// A whole ELF.
pub(crate) fn object(data: &[u8]) {
    assert!(carve::objects(data).iter().all(|range| range.end <= data.len()));
    _ = disasm::list(data, None, |_| {});
    if let Some(defined) = skep_adapt::older::by_types(data) {
        _ = Facts::parse(&defined);
    }
    let Ok(facts) = Facts::parse(data) else { return };
    _ = permissions::derive(&facts);
    _ = permissions::reasons(&facts);
    _ = permissions::uncovered(&Permissions::default(), &facts);
    _ = gpl::uses(&facts);
    _ = skep_adapt::need::of_object(&facts);
    let difference = Difference::between(&facts, &facts);
    assert!(!difference.is_wider(), "an object is not wider than itself");
    for map in facts.maps.iter().take(ASKED) {
        _ = facts.writers(&map.name);
        _ = map.memory();
        let ty = event_type(&facts, &map.name, None).or(map.value_type);
        if let (Some(btf), Some(ty)) = (&facts.btf, ty) {
            records(btf, ty);
        }
    }
}

/// A `.BTF` section.
pub(crate) fn btf(data: &[u8]) {
    let Ok(btf) = Btf::parse(data) else { return };
    for (id, _) in btf.types().take(ASKED) {
        _ = btf.describe(id);
        _ = btf.layout_eq(id, &btf, id);
        _ = layout::compare(&btf, id, &btf, TypeId(1), &BTreeMap::new());
        records(&btf, id);
    }
}

/// The length of a `.BTF` section in 4 bytes, it, and a `.BTF.ext` section.
pub(crate) fn btf_ext(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<4>() else { return };
    let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (types, ext) = rest.split_at(length);
    let Ok(types) = Btf::parse(types) else { return };
    let Ok(ext) = BtfExt::parse(ext, &types) else { return };
    for (name, section) in ext.sections() {
        assert!(ext.section(name).is_some());
        for at in 0..8 {
            _ = section.line(0, at * 8);
            _ = section.relocation(at * 8);
        }
    }
}

/// Instructions, the first byte says which hook's.
pub(crate) fn code(data: &[u8]) {
    const SECTIONS: [&str; 4] = ["xdp", "kprobe/f", "?fentry/f", "cgroup_skb/egress"];
    let Some((hook, code)) = data.split_first() else { return };
    let section = SECTIONS[usize::from(*hook) % SECTIONS.len()];
    object(&forge::object(section, "main", code, &[]));
}

/// A binary with notes of probes, or the notes alone.
pub(crate) fn usdt(data: &[u8]) {
    for binary in [data, &probes(data)] {
        let Ok(notes) = usdt::notes(binary) else { continue };
        assert!(
            notes.iter().all(|note| !note.provider.contains('\0') && !note.name.contains('\0'))
        );
    }
}

/// A binary that has these notes, of what is loaded from its beginning.
pub(crate) fn probes(notes: &[u8]) -> Vec<u8> {
    let mut elf = forge::elf(&[forge::part(".note.stapsdt", 7, 0, notes.to_vec())]);
    let at = elf.len() as u64;
    let segment = [0x5_0000_0001, 0, 0, 0, 0x1000, 0x1000, 0x1000_u64];
    elf.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    elf[32..40].copy_from_slice(&at.to_le_bytes());
    elf[54..56].copy_from_slice(&56_u16.to_le_bytes());
    elf[56..58].copy_from_slice(&1_u16.to_le_bytes());
    elf
}

/// A note of a probe with arguments and a semaphore.
pub(crate) fn note() -> Vec<u8> {
    let texts = b"libc\0setjmp\08@%rdi -4@%esi\0";
    let desc: Vec<u8> = [0x20_u64, 0, 0x80].iter().flat_map(|word| word.to_le_bytes()).collect();
    let desc = [&desc, &texts[..]].concat();
    let words = [8, desc.len() as u32, 3];
    let head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut note = [&head, &b"stapsdt\0"[..], &desc].concat();
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// A record: a byte chooses its type, one the format of its fields, the rest is the record.
pub(crate) fn event(data: &[u8]) {
    let [ty, format, record @ ..] = data else { return };
    let Some((btf, ty, plain)) = typed(*ty) else { return };
    shown(&plain, record);
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    for column in plain.columns() {
        let field = Field { format: Some(format.to_owned()), ..Field::default() };
        if let Ok(decoder) = Decoder::new(btf, ty, &BTreeMap::from([(column.name.clone(), field)]))
        {
            shown(&decoder, record);
        }
    }
}

/// A condition on records, the first byte chooses their type.
pub(crate) fn condition(data: &[u8]) {
    let Some((ty, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (Ok(filter), Some((_, _, decoder))) = (Filter::parse(text), typed(*ty)) else { return };
    let Ok(bound) = filter.bind(&decoder) else { return };
    for record in [&[0xa5; 96][..], &[0xff; 40], &[0; 200], &[]] {
        let negated = Filter::parse(&format!("!({text})")).ok();
        let negated = negated.and_then(|filter| filter.bind(&decoder).ok());
        assert!(negated.is_none_or(|not| not.takes(record) != bound.takes(record)), "{text}");
    }
}

/// A type of ours, and what reads its records.
fn typed(number: u8) -> Option<(&'static Btf, TypeId, Decoder)> {
    static TYPES: LazyLock<Option<Facts>> = LazyLock::new(|| {
        Facts::parse(include_bytes!("../../spec/vectors/files/objects/types.o")).ok()
    });
    let btf = TYPES.as_ref()?.btf.as_ref()?;
    let ids: Vec<TypeId> =
        btf.types().map(|(id, _)| id).filter(|id| btf.size_of(*id).is_some()).collect();
    let ty = *ids.get(usize::from(number) % ids.len().max(1))?;
    Some((btf, ty, Decoder::new(btf, ty, &BTreeMap::new()).ok()?))
}

const FORMATS: [&str; 11] =
    ["ktime", "comm", "duration", "hex", "ip", "mac", "errno", "signal", "size", "path", "bool"];

fn records(btf: &Btf, ty: TypeId) {
    if let Ok(decoder) = Decoder::new(btf, ty, &BTreeMap::new()) {
        shown(&decoder, &[0xa5; 96]);
        shown(&decoder, &[0xff; 40]);
    }
}

fn shown(decoder: &Decoder, record: &[u8]) {
    let json = decoder.decode(record).to_json();
    let read = serde_json::from_str::<serde_json::Value>(&json);
    assert!(read.is_ok() && !json.contains(['\n', '\u{1b}']), "a record is one line of JSON");
    assert_eq!(decoder.row(record).len(), decoder.columns().count());
}
