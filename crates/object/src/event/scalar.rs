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
pub struct Names {
    values: Vec<(i128, Box<str>)>,
    longest: usize,
}

impl Names {
    /// The name of a field's value, which may have another sign than the enumeration: compilers before `enum` kept its sign in
    /// BTF write -1 as 0xffffffff.
    pub(super) fn name_of(&self, value: i128) -> Option<&str> {
        let word = 1i128 << 32;
        let other = if value < 0 { value + word } else { value - word };
        let is_word = (-(word / 2)..word).contains(&value);
        self.name(value).or_else(|| self.name(other).filter(|_| is_word))
    }

    /// The name of a value.
    pub(super) fn name(&self, value: i128) -> Option<&str> {
        // The first name of a value is the one that counts.
        let at = self.values.partition_point(|(v, _)| *v < value);
        self.values.get(at).filter(|(v, _)| *v == value).map(|(_, name)| &**name)
    }

    /// All names, by their values.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(_, name)| &**name)
    }

    /// The value that a name stands for.
    pub(super) fn value(&self, name: &str) -> Option<i128> {
        self.values.iter().find(|(_, known)| **known == *name).map(|(value, _)| *value)
    }

    /// The names of single bits.
    pub(super) fn bits(&self) -> impl Iterator<Item = (u64, &str)> {
        let firsts = self.values.chunk_by(|(one, _), (next, _)| one == next);
        let firsts = firsts.filter_map(<[_]>::first);
        let bits = firsts.map(|(value, name)| (value.cast_unsigned() as u64, &**name));
        bits.filter(|(value, _)| value.is_power_of_two())
    }
}

/// The names of an enumeration, in whatever it is wrapped.
pub(super) fn names_of(btf: &Btf, ty: TypeId) -> Option<Arc<Names>> {
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Enum(list) | Kind::Enum64(list) => match enumeration(btf, list) {
            Meaning::Enum { names, .. } => Some(names),
            _ => None,
        },
        _ => None,
    }
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

    /// A word of this machine's: an id.
    pub(super) const fn id() -> Self {
        let big_endian = cfg!(target_endian = "big");
        Self { width: Width::Bytes(4), meaning: Meaning::Unsigned, big_endian }
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
        let bits = self.bit_count();
        let unsigned = (raw >> self.shift()) & ((1u128 << bits) - 1);
        let negative = self.is_signed() && bits > 0 && unsigned >> (bits - 1) & 1 == 1;
        Some(unsigned.cast_signed() - if negative { 1i128 << bits } else { 0 })
    }

    /// The least and the largest number that it holds.
    pub(super) fn range(&self) -> (i128, i128) {
        let bits = self.bit_count();
        match self.is_signed() && bits > 0 {
            true => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            false => (0, (1 << bits) - 1),
        }
    }

    /// Bits below it in its bytes.
    fn shift(&self) -> u32 {
        match self.width {
            Width::Bytes(_) => 0,
            Width::Bits { skip, bits } if self.big_endian => {
                self.size() as u32 * 8 - u32::from(skip) - u32::from(bits)
            }
            Width::Bits { skip, .. } => u32::from(skip),
        }
    }

    fn bit_count(&self) -> u32 {
        match self.width {
            Width::Bytes(bytes) => u32::from(bytes) * 8,
            Width::Bits { bits, .. } => u32::from(bits),
        }
    }

    /// A number that means the same bits, within the range.
    pub(super) fn wrapped(&self, value: i128) -> i128 {
        let (least, most) = self.range();
        let all = most - least + 1;
        if value > most && value - all >= least {
            return value - all;
        }
        if value < least && value + all <= most { value + all } else { value }
    }

    /// A number as it stands in memory, and which bits of these bytes are its own.
    pub(super) fn bytes_of(&self, value: i128) -> (Vec<u8>, Vec<u8>) {
        let own = (1u128 << self.bit_count()) - 1;
        let shift = self.shift();
        let bytes = |word: u128| match self.big_endian {
            true => word.to_be_bytes()[16 - self.size()..].to_vec(),
            false => word.to_le_bytes()[..self.size()].to_vec(),
        };
        (bytes((value.cast_unsigned() & own) << shift), bytes(own << shift))
    }

    /// The names of its enumeration, by their values.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let names = match &self.meaning {
            Meaning::Enum { names, .. } => Some(names),
            _ => None,
        };
        names.into_iter().flat_map(|names| names.all())
    }

    /// The value that an enumerator's name stands for.
    pub(super) fn value_of(&self, name: &str) -> Option<i128> {
        let Meaning::Enum { names, .. } = &self.meaning else { return None };
        names.value(name)
    }

    pub(super) fn is_signed(&self) -> bool {
        matches!(self.meaning, Meaning::Signed | Meaning::Enum { signed: true, .. })
    }

    /// The enumerator's name for a value.
    pub(super) fn name(&self, value: i128) -> Option<&str> {
        let Meaning::Enum { names, .. } = &self.meaning else { return None };
        names.name(value)
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
    names.sort_by_key(|(value, _)| *value); // stable: those of one value stay in their order
    // Compilers before `enum` kept its sign in BTF write -1 as 0xffffffff.
    let signed = e.signed || names.iter().any(|(value, _)| *value < 0);
    let longest = names.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
    Meaning::Enum { signed, names: Arc::new(Names { values: names, longest }) }
}
