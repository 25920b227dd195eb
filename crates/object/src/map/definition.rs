//! Maps that an object defines: by types in `.maps`, or by numbers in the older `maps`.

use super::{MapFacts, MapKind, MapOrigin, few};
use crate::btf::{Composite, Kind};
use crate::elf::{Elf, Symbol, SymbolKind};
use crate::place::places;
use crate::slot::slots;
use crate::texts::Texts;
use crate::{Btf, ObjectError, TypeId};

/// What `.maps` defines.
pub(super) fn of_btf(
    elf: &Elf<'_>,
    btf: &Btf,
    texts: &mut Texts,
) -> Result<Vec<MapFacts>, ObjectError> {
    let mut maps = Vec::new();
    for place in places(elf, btf)? {
        let name = place.name.to_owned();
        let Some(definition) = btf.composite(place.ty) else {
            return Err(ObjectError::Map {
                map: name,
                why: "its definition is not a struct".into(),
            });
        };
        let mut map = definition_of(btf, name, definition, 0)?;
        if let Some(values) = definition.members.iter().find(|m| btf.name(*m) == "values") {
            let start = place.start.saturating_add(u64::from(values.bit_offset / 8));
            if let Some((_, section)) = elf.section(".maps") {
                map.slots = slots(elf, section, start..place.end, texts)?;
            }
        }
        maps.push(map);
        few(maps.len())?;
    }
    Ok(maps)
}

fn definition_of(
    btf: &Btf,
    name: String,
    definition: &Composite,
    depth: usize,
) -> Result<MapFacts, ObjectError> {
    let mut map = MapFacts::empty(name.clone(), MapOrigin::Btf);
    for member in &definition.members {
        let what = btf.name(member);
        let number = || {
            number_of(btf, member.ty).ok_or_else(|| ObjectError::Map {
                map: name.clone(),
                why: format!("its {what} is not a number from 0 to 2^32 - 1"),
            })
        };
        match what {
            "type" => map.kind = MapKind::from(number()?),
            "max_entries" => map.max_entries = number()?,
            "map_flags" => map.flags = number()?,
            "key_size" => map.key_size = number()?,
            "value_size" => map.value_size = number()?,
            "pinning" => map.pinned = number()? == 1,
            "key" => (map.key_type, map.key_size) = pointed(btf, &map.name, "key", member.ty)?,
            "value" => {
                (map.value_type, map.value_size) = pointed(btf, &map.name, "value", member.ty)?;
            }
            "values" => {
                if let Some(inner) = inner_definition(btf, member.ty).filter(|_| depth == 0) {
                    let name = format!("{}.inner", map.name);
                    map.inner = Some(Box::new(definition_of(btf, name, inner, depth + 1)?));
                }
                // Maps of maps and prog arrays hold file descriptors.
                map.value_size = 4;
                map.key_size = map.key_size.max(4);
            }
            _ => {}
        }
    }
    Ok(map)
}

/// `__uint(name, N)` is a pointer to an array of N ints, `__ulong` an enumeration with one value.
pub(crate) fn number_of(btf: &Btf, ty: TypeId) -> Option<u32> {
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Pointer(to) => match btf.kind(btf.skip_modifiers(*to)) {
            Kind::Array(array) => Some(array.count),
            _ => None,
        },
        Kind::Enum(e) | Kind::Enum64(e) => e.values.first().and_then(|v| v.value.try_into().ok()),
        _ => None,
    }
}

/// `__type(name, T)` is a pointer to T.
fn pointed(
    btf: &Btf,
    map: &str,
    what: &str,
    ty: TypeId,
) -> Result<(Option<TypeId>, u32), ObjectError> {
    let Kind::Pointer(to) = btf.kind(btf.skip_modifiers(ty)) else {
        let why = format!("its {what} is not declared with __type()");
        return Err(ObjectError::Map { map: map.to_owned(), why });
    };
    let size = btf.size_of(*to).and_then(|size| u32::try_from(size).ok());
    let size = size.ok_or_else(|| ObjectError::Map {
        map: map.to_owned(),
        why: format!("the size of its {what}, {}, is unknown", btf.describe(*to)),
    })?;
    Ok((Some(*to), size))
}

/// `__array(values, struct …)` is a flexible array of pointers to the inner definition.
fn inner_definition(btf: &Btf, ty: TypeId) -> Option<&Composite> {
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Array(array) => btf.composite(btf.pointee(array.element)),
        _ => None,
    }
}

/// What `maps` defines, which libbpf 1.x no longer takes.
pub(super) fn of_older(elf: &Elf<'_>) -> Result<Vec<MapFacts>, ObjectError> {
    // Where the word is, in definitions that have it.
    const PINNING: usize = 24;
    const WITH_PINNING: u64 = 28;
    let Some((index, section)) = elf.section("maps") else { return Ok(Vec::new()) };
    let is_map = |symbol: &&Symbol<'_>| {
        let is_named = !symbol.name.is_empty() && symbol.kind != SymbolKind::Section;
        symbol.section == Some(index) && is_named
    };
    let mut maps = Vec::new();
    for symbol in elf.symbols.iter().filter(is_map) {
        let at = usize::try_from(symbol.value).unwrap_or(usize::MAX);
        let Some(bytes) = section.data.get(at..).and_then(|rest| rest.first_chunk::<20>()) else {
            let why = "its definition reaches beyond the section 'maps'".to_owned();
            return Err(ObjectError::Map { map: symbol.name.to_string(), why });
        };
        let number = |w: &[u8; 4]| match elf.big_endian {
            true => u32::from_be_bytes(*w),
            false => u32::from_le_bytes(*w),
        };
        let mut words = bytes.as_chunks::<4>().0.iter().map(number);
        let mut word = || words.next().unwrap_or(0);
        let pinning = section.data[at..].get(PINNING..).and_then(|rest| rest.first_chunk());
        let pinned = symbol.size >= WITH_PINNING && pinning.map(number) == Some(1);
        maps.push(MapFacts {
            kind: MapKind::from(word()),
            key_size: word(),
            value_size: word(),
            max_entries: word(),
            flags: word(),
            pinned,
            ..MapFacts::empty(symbol.name.to_string(), MapOrigin::Legacy)
        });
        few(maps.len())?;
    }
    Ok(maps)
}
