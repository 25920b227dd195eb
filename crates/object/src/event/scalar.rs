//! Numbers in memory: integers, booleans, enumerators, pointers, bit fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::btf::{Enum, Int, Kind};
use crate::{Btf, TypeId};

/// A number of at most 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    width: Width,
    pub(super) meaning: Meaning,
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Bytes(u8),
    /// Bits after `skip` bits of the first byte.
    Bits {
        skip: u8,
        bits: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Unsigned,
    Signed,
    Bool,
    Pointer,
    Enum { signed: bool, names: Arc<Names> },
}

/// The names of an enumeration's values, in order of these.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    values: Vec<(i128, Box<str>)>,
    longest: usize,
}

/// The enumerations of a record: many fields may be of one that has many names.
#[derive(Default)]
pub(super) struct Enums {
    known: BTreeMap<TypeId, Meaning>,
}

impl Enums {
    fn meaning(&mut self, btf: &Btf, id: TypeId, list: &Enum) -> Meaning {
        self.known.entry(id).or_insert_with(|| enumeration(btf, list)).clone()
    }
}

impl Scalar {
    /// A scalar of a bare type; none for what is no number of at most 8 bytes.
    pub(super) fn of(btf: &Btf, id: TypeId, enums: &mut Enums) -> Option<Self> {
        let bytes = bytes(btf.kind(id))?;
        let meaning = match btf.kind(id) {
            Kind::Int(Int { bool: true, .. }) => Meaning::Bool,
            Kind::Int(Int { signed: true, .. }) => Meaning::Signed,
            Kind::Pointer(_) => Meaning::Pointer,
            Kind::Enum(list) | Kind::Enum64(list) => enums.meaning(btf, id, list),
            _ => Meaning::Unsigned,
        };
        Some(Self { width: Width::Bytes(bytes), meaning, big_endian: btf.big_endian() })
    }

    /// Bytes of the longest name that it may be shown as.
    pub(super) fn longest_name(&self) -> usize {
        match &self.meaning {
            Meaning::Enum { names, .. } => names.longest,
            _ => 0,
        }
    }

    /// The same number as a bit field.
    pub(super) fn bits(self, skip: u8, bits: u8) -> Self {
        Self { width: Width::Bits { skip: skip % 8, bits: bits.min(64) }, ..self }
    }

    /// Bytes from the first to the last that it touches.
    pub(super) fn size(&self) -> usize {
        match self.width {
            Width::Bytes(bytes) => usize::from(bytes),
            Width::Bits { skip, bits } => (usize::from(skip) + usize::from(bits)).div_ceil(8),
        }
    }

    /// The value at the start of `data`.
    pub(super) fn read(&self, data: &[u8]) -> Option<i128> {
        let bytes = data.get(..self.size())?;
        let mut word = [0; 16];
        let raw = if self.big_endian {
            word.get_mut(16 - bytes.len()..)?.copy_from_slice(bytes);
            u128::from_be_bytes(word)
        } else {
            word.get_mut(..bytes.len())?.copy_from_slice(bytes);
            u128::from_le_bytes(word)
        };
        let (raw, bits) = match self.width {
            Width::Bytes(bytes) => (raw, u32::from(bytes) * 8),
            Width::Bits { skip, bits } => {
                let whole = bytes.len() as u32 * 8;
                let after = whole - u32::from(skip) - u32::from(bits);
                (raw >> if self.big_endian { after } else { u32::from(skip) }, u32::from(bits))
            }
        };
        let unsigned = raw & ((1u128 << bits) - 1);
        let negative = self.is_signed() && bits > 0 && unsigned >> (bits - 1) & 1 == 1;
        Some(unsigned.cast_signed() - if negative { 1i128 << bits } else { 0 })
    }

    pub(super) fn is_signed(&self) -> bool {
        matches!(self.meaning, Meaning::Signed | Meaning::Enum { signed: true, .. })
    }

    /// The enumerator's name for a value.
    pub(super) fn name(&self, value: i128) -> Option<&str> {
        let Meaning::Enum { names, .. } = &self.meaning else { return None };
        let at = names.values.binary_search_by_key(&value, |(v, _)| *v).ok()?;
        names.values.get(at).map(|(_, name)| &**name)
    }
}

/// Whether a kind is a number of at most 8 bytes.
pub(super) fn is_number(kind: &Kind) -> bool {
    bytes(kind).is_some()
}

fn bytes(kind: &Kind) -> Option<u8> {
    let size = match kind {
        Kind::Int(Int { size, .. }) => *size,
        Kind::Pointer(_) => 8,
        Kind::Enum(list) | Kind::Enum64(list) => list.size,
        _ => return None,
    };
    u8::try_from(size).ok().filter(|bytes| (1..=8).contains(bytes))
}

fn enumeration(btf: &Btf, e: &Enum) -> Meaning {
    let wide = e.size == 8 && !e.signed;
    let value = |v: i64| if wide { i128::from(v.cast_unsigned()) } else { i128::from(v) };
    let mut names: Vec<(i128, Box<str>)> =
        e.values.iter().map(|v| (value(v.value), btf.name(v).into())).collect();
    // The first name of a value is the one that counts.
    names.sort_by_key(|(value, _)| *value);
    names.dedup_by_key(|(value, _)| *value);
    // Compilers before `enum` kept its sign in BTF write -1 as 0xffffffff.
    let signed = e.signed || names.iter().any(|(value, _)| *value < 0);
    let longest = names.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
    Meaning::Enum { signed, names: Arc::new(Names { values: names, longest }) }
}
