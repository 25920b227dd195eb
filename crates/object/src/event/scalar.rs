//! Numbers in memory: integers, booleans, enumerators, pointers, bit fields.

use crate::btf::{Enum, Int};
use crate::{Btf, btf::Kind};

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
    Enum { signed: bool, names: Vec<(i128, Box<str>)> },
}

impl Scalar {
    /// A scalar of a kind; none for what is no number of at most 8 bytes.
    pub(super) fn of(btf: &Btf, kind: &Kind) -> Option<Self> {
        let (size, meaning) = match kind {
            Kind::Int(Int { size, bool: true, .. }) => (*size, Meaning::Bool),
            Kind::Int(Int { size, signed: true, .. }) => (*size, Meaning::Signed),
            Kind::Int(Int { size, .. }) => (*size, Meaning::Unsigned),
            Kind::Pointer(_) => (8, Meaning::Pointer),
            Kind::Enum(e) | Kind::Enum64(e) => (e.size, enumeration(btf, e)),
            _ => return None,
        };
        let bytes = u8::try_from(size).ok().filter(|bytes| (1..=8).contains(bytes))?;
        Some(Self { width: Width::Bytes(bytes), meaning, big_endian: btf.big_endian() })
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
        let at = names.binary_search_by_key(&value, |(v, _)| *v).ok()?;
        names.get(at).map(|(_, name)| &**name)
    }
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
    Meaning::Enum { signed, names }
}
