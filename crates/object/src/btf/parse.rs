//! BTF from bytes: everything is checked here, so that nothing needs to be checked later.

use super::{
    Array, Btf, Composite, Enum, Enumerator, Int, Kind, Member, Parameter, SectionVariable, Type,
    TypeId,
};
use crate::limits;

/// Why bytes are not BTF.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The magic number is not `0xeb9f` in either byte order.
    #[error("it does not start with BTF's magic number 0xeb9f")]
    Magic,
    /// A version that nobody has defined.
    #[error("it is BTF version {0}; only version 1 is known")]
    Version(u8),
    /// A part reaches beyond the end.
    #[error("{what} is cut off: it needs {needs} bytes, there are {has}")]
    Truncated {
        /// The part.
        what: String,
        /// Bytes from the start of the BTF to the end of the part.
        needs: u64,
        /// Bytes that are there.
        has: u64,
    },
    /// The string table is not text, or does not start and end with NUL.
    #[error("the string table {0}")]
    Strings(&'static str),
    /// A type of a kind that nobody has defined.
    #[error("type {id} has the unknown kind {kind}")]
    Kind {
        /// The type.
        id: u32,
        /// The kind's number.
        kind: u32,
    },
    /// A type refers to what is not there.
    #[error("type {id} refers to {what}, which is not there")]
    Reference {
        /// The type.
        id: u32,
        /// What it refers to.
        what: String,
    },
    /// A part that loaders do not take, so that they would go on without all of it.
    #[error("{0}")]
    Form(&'static str),
    /// Two CO-RE relocations of one instruction.
    #[error("it has two relocations at offset {offset:#x} of section '{}'", crate::shown(section))]
    Twice {
        /// The ELF section.
        section: String,
        /// Bytes into it.
        offset: u32,
    },
    /// More of something than is read.
    #[error("it holds more than {most} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
}

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;

pub(super) fn parse(bytes: &[u8]) -> Result<Btf, BtfError> {
    let big_endian = match bytes.first_chunk() {
        Some(m) if u16::from_le_bytes(*m) == MAGIC => false,
        Some(m) if u16::from_be_bytes(*m) == MAGIC => true,
        _ => return Err(BtfError::Magic),
    };
    let whole = Reader { bytes, at: 0, big_endian };
    let word = |at: usize| Reader { at, ..whole }.u32("the header");
    match bytes.get(2) {
        None | Some(1) => {}
        Some(version) => return Err(BtfError::Version(*version)),
    }
    let header = word(4)?;
    let part = |what: &str, offset: u32, length: u32| {
        let from = u64::from(header) + u64::from(offset);
        let to = from + u64::from(length);
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        range.and_then(|(from, to)| bytes.get(from..to)).ok_or_else(|| BtfError::Truncated {
            what: what.to_owned(),
            needs: to,
            has: bytes.len() as u64,
        })
    };
    if (header as usize) < HEADER {
        return Err(BtfError::Truncated {
            what: "the header".to_owned(),
            needs: HEADER as u64,
            has: u64::from(header),
        });
    }
    let (types_end, strings_start) = (u64::from(word(8)?) + u64::from(word(12)?), word(16)?);
    if word(8)? % 4 != 0 || types_end > strings_start.into() {
        return Err(BtfError::Form("its types are not aligned, or not in front of its strings"));
    }
    let types = part("the type table", word(8)?, word(12)?)?;
    let strings = strings(part("the string table", word(16)?, word(20)?)?)?;
    let reader = Reader { bytes: types, at: 0, big_endian };
    let types = Types { reader, types: vec![], members: 0, index: 0 }.read()?;
    let btf = Btf { types, strings, big_endian };
    check_references(&btf)?;
    Ok(btf)
}

fn strings(bytes: &[u8]) -> Result<Box<str>, BtfError> {
    if bytes.len() > limits::BTF_STRINGS {
        return Err(BtfError::Limit { what: "bytes of strings", most: limits::BTF_STRINGS });
    }
    if bytes.split(|b| *b == 0).any(|string| string.len() > limits::NAME_BYTES) {
        return Err(BtfError::Limit { what: "bytes in a string", most: limits::NAME_BYTES });
    }
    if bytes.first() != Some(&0) || bytes.last() != Some(&0) {
        return Err(BtfError::Strings("does not start and end with NUL"));
    }
    std::str::from_utf8(bytes).map(Into::into).map_err(|_| BtfError::Strings("is not UTF-8"))
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl Reader<'_> {
    fn u32(mut self, what: &str) -> Result<u32, BtfError> {
        self.next(|| what.to_owned())
    }

    fn next(&mut self, what: impl Fn() -> String) -> Result<u32, BtfError> {
        let word = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk());
        let word = word.ok_or_else(|| BtfError::Truncated {
            what: what(),
            needs: self.at as u64 + 4,
            has: self.bytes.len() as u64,
        })?;
        self.at += 4;
        Ok(if self.big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) })
    }
}

struct Types<'a> {
    reader: Reader<'a>,
    types: Vec<Type>,
    members: usize,
    /// The largest id that an array has for its index.
    index: u32,
}

impl Types<'_> {
    fn read(mut self) -> Result<Vec<Type>, BtfError> {
        const SMALLEST: usize = 12;
        let most = self.reader.bytes.len() / SMALLEST + 1;
        self.types.reserve_exact(most.min(limits::BTF_TYPES + 1));
        self.types.push(Type { name: 0, kind: Kind::Void });
        while self.reader.at < self.reader.bytes.len() {
            if self.types.len() > limits::BTF_TYPES {
                return Err(BtfError::Limit { what: "types", most: limits::BTF_TYPES });
            }
            let name = self.word()?;
            let info = self.word()?;
            let size_or_type = self.word()?;
            let kind = self.kind(info, size_or_type)?;
            self.types.push(Type { name, kind });
        }
        if self.index as usize >= self.types.len() {
            return Err(BtfError::Form("an array's index is of a type that is not there"));
        }
        Ok(self.types)
    }

    fn word(&mut self) -> Result<u32, BtfError> {
        let id = self.types.len();
        self.reader.next(|| format!("type {id}"))
    }

    fn kind(&mut self, info: u32, size_or_type: u32) -> Result<Kind, BtfError> {
        let (kind, flag, count) = (info >> 24 & 0x1f, info >> 31 != 0, (info & 0xffff) as usize);
        let (size, ty) = (size_or_type, TypeId(size_or_type));
        self.members += count;
        if self.members > limits::BTF_MEMBERS {
            return Err(BtfError::Limit { what: "members", most: limits::BTF_MEMBERS });
        }
        Ok(match kind {
            1 => Kind::Int(self.int(size)?),
            2 => Kind::Pointer(ty),
            3 => {
                let element = TypeId(self.word()?);
                self.index = self.index.max(self.word()?);
                Kind::Array(Array { element, count: self.word()? })
            }
            4 => Kind::Struct(Composite { size, members: self.members(flag, count)? }),
            5 => Kind::Union(Composite { size, members: self.members(flag, count)? }),
            6 => Kind::Enum(Enum { size, signed: flag, values: self.enumerators(flag, count)? }),
            7 => Kind::Forward { union: flag },
            8 => Kind::Typedef(ty),
            9 => Kind::Volatile(ty),
            10 => Kind::Const(ty),
            11 => Kind::Restrict(ty),
            12 => Kind::Function { proto: ty, linkage: info & 0xffff },
            13 => Kind::FunctionProto { returns: ty, parameters: self.parameters(count)? },
            14 => Kind::Variable { ty, linkage: self.word()? },
            15 => Kind::DataSection { size, variables: self.variables(count)? },
            16 => Kind::Float { size },
            17 => Kind::DeclTag { ty, component: self.word()?.cast_signed() },
            18 => Kind::TypeTag(ty),
            19 => Kind::Enum64(Enum { size, signed: flag, values: self.enumerators64(count)? }),
            kind => return Err(BtfError::Kind { id: self.id(), kind }),
        })
    }

    fn id(&self) -> u32 {
        u32::try_from(self.types.len()).unwrap_or(u32::MAX)
    }

    /// Zig writes its `anyopaque` as an integer of no bytes.
    fn int(&mut self, size: u32) -> Result<Int, BtfError> {
        let [bits, _, bit_offset, encoding] = self.word()?.to_le_bytes();
        if size > 16 {
            let what = format!("an integer of {size} bytes");
            return Err(BtfError::Reference { id: self.id(), what });
        }
        let bit = |n: u8| encoding >> n & 1 != 0;
        Ok(Int { size, bits, bit_offset, signed: bit(0), bool: bit(2) })
    }

    fn members(&mut self, with_bits: bool, count: usize) -> Result<Vec<Member>, BtfError> {
        self.list(count, |types| {
            let (name, ty, offset) = (types.word()?, TypeId(types.word()?), types.word()?);
            let [_, _, _, bits] = offset.to_le_bytes();
            Ok(if with_bits {
                Member { name, ty, bit_offset: offset & 0xff_ffff, bits }
            } else {
                Member { name, ty, bit_offset: offset, bits: 0 }
            })
        })
    }

    fn enumerators(&mut self, signed: bool, count: usize) -> Result<Vec<Enumerator>, BtfError> {
        self.list(count, |types| {
            let (name, value) = (types.word()?, types.word()?);
            let value = if signed { i64::from(value.cast_signed()) } else { i64::from(value) };
            Ok(Enumerator { name, value })
        })
    }

    fn enumerators64(&mut self, count: usize) -> Result<Vec<Enumerator>, BtfError> {
        self.list(count, |types| {
            let (name, low, high) = (types.word()?, types.word()?, types.word()?);
            let value = (u64::from(high) << 32 | u64::from(low)).cast_signed();
            Ok(Enumerator { name, value })
        })
    }

    fn parameters(&mut self, count: usize) -> Result<Vec<Parameter>, BtfError> {
        self.list(count, |types| Ok(Parameter { name: types.word()?, ty: TypeId(types.word()?) }))
    }

    fn variables(&mut self, count: usize) -> Result<Vec<SectionVariable>, BtfError> {
        self.list(count, |types| {
            let (ty, offset, size) = (TypeId(types.word()?), types.word()?, types.word()?);
            Ok(SectionVariable { ty, offset, size })
        })
    }

    fn list<T>(
        &mut self,
        count: usize,
        one: impl Fn(&mut Self) -> Result<T, BtfError>,
    ) -> Result<Vec<T>, BtfError> {
        // Each takes four bytes and more: a count beyond the end reserves nothing.
        let left = self.reader.bytes.len().saturating_sub(self.reader.at) / 4;
        let mut list = Vec::with_capacity(count.min(left));
        for _ in 0..count {
            list.push(one(self)?);
        }
        Ok(list)
    }
}

/// Every id and name that a type holds must be there.
fn check_references(btf: &Btf) -> Result<(), BtfError> {
    for (id, ty) in btf.types() {
        let check_type = |to: TypeId| match (to.0 as usize) < btf.types.len() {
            true => Ok(()),
            false => Err(BtfError::Reference { id: id.0, what: format!("type {}", to.0) }),
        };
        let check_name = |at: u32| match btf.strings.is_char_boundary(at as usize)
            && (at as usize) < btf.strings.len()
        {
            true => Ok(()),
            false => Err(BtfError::Reference { id: id.0, what: format!("the name at {at}") }),
        };
        check_name(ty.name)?;
        match &ty.kind {
            Kind::Void | Kind::Int(_) | Kind::Forward { .. } | Kind::Float { .. } => {}
            Kind::Pointer(to)
            | Kind::Typedef(to)
            | Kind::Volatile(to)
            | Kind::Const(to)
            | Kind::Restrict(to)
            | Kind::TypeTag(to)
            | Kind::Variable { ty: to, .. }
            | Kind::DeclTag { ty: to, .. }
            | Kind::Array(Array { element: to, .. }) => check_type(*to)?,
            Kind::Function { proto, .. } => {
                check_type(*proto)?;
                if !matches!(btf.kind(*proto), Kind::FunctionProto { .. }) {
                    return Err(BtfError::Form("a function is of a type that is no function's"));
                }
            }
            Kind::Struct(c) | Kind::Union(c) => {
                for member in &c.members {
                    check_name(member.name)?;
                    check_type(member.ty)?;
                }
            }
            Kind::Enum(e) | Kind::Enum64(e) => {
                e.values.iter().try_for_each(|v| check_name(v.name))?;
            }
            Kind::FunctionProto { returns, parameters } => {
                check_type(*returns)?;
                for parameter in parameters {
                    check_name(parameter.name)?;
                    check_type(parameter.ty)?;
                }
            }
            Kind::DataSection { variables, .. } => {
                variables.iter().try_for_each(|v| check_type(v.ty))?;
            }
        }
    }
    Ok(())
}
