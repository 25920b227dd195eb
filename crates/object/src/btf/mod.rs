//! BTF: the types of an object or of a kernel (`Documentation/bpf/btf.rst`).

mod equal;
mod parse;
mod size;

use serde::{Deserialize, Serialize};

pub(crate) use equal::Same;
pub use parse::BtfError;

/// The number of a type; 0 is `void`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TypeId(pub u32);

/// The types of one object or kernel. Every id inside is in range, every name is inside the string table.
#[derive(Clone, Debug)]
pub struct Btf {
    types: Vec<Type>,
    strings: Box<str>,
    big_endian: bool,
}

/// One type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    name: u32,
    /// What it is.
    pub kind: Kind,
}

/// What a type is: all nineteen kinds, and `void`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the kernel's documentation
pub enum Kind {
    Void,
    Int(Int),
    Pointer(TypeId),
    Array(Array),
    Struct(Composite),
    Union(Composite),
    Enum(Enum),
    Enum64(Enum),
    Forward { union: bool },
    Typedef(TypeId),
    Volatile(TypeId),
    Const(TypeId),
    Restrict(TypeId),
    Function { proto: TypeId, linkage: u32 },
    FunctionProto { returns: TypeId, parameters: Vec<Parameter> },
    Variable { ty: TypeId, linkage: u32 },
    DataSection { size: u32, variables: Vec<SectionVariable> },
    Float { size: u32 },
    DeclTag { ty: TypeId, component: i32 },
    TypeTag(TypeId),
}

/// An integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Bytes.
    pub size: u32,
    /// Bits that hold the value; fewer than 8 × `size` only for bit fields of old compilers.
    pub bits: u8,
    /// Bits before the value, for the same.
    pub bit_offset: u8,
    /// Signed.
    pub signed: bool,
    /// `_Bool`.
    pub bool: bool,
}

/// An array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// The element's type.
    pub element: TypeId,
    /// How many; 0 for a flexible array.
    pub count: u32,
}

/// A struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composite {
    /// Bytes.
    pub size: u32,
    /// In order of declaration.
    pub members: Vec<Member>,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    name: u32,
    /// Its type.
    pub ty: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Bits of a bit field, otherwise 0.
    pub bits: u8,
}

/// An enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    /// Bytes of a variable.
    pub size: u32,
    /// Whether values are signed.
    pub signed: bool,
    /// Names and values; an unsigned 64-bit value is kept bit by bit.
    pub values: Vec<Enumerator>,
}

/// A name of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumerator {
    name: u32,
    /// The value; of an unsigned 64-bit enumeration its bits.
    pub value: i64,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    name: u32,
    /// Its type.
    pub ty: TypeId,
}

/// A variable's place in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionVariable {
    /// A [`Kind::Variable`], or a [`Kind::Function`] in `.ksyms`.
    pub ty: TypeId,
    /// Bytes from the start of the section; 0 until linked, so use the ELF symbol.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// Anything that carries a name.
pub trait Named {
    /// Offset in the string table.
    #[doc(hidden)]
    fn name_offset(&self) -> u32;
}

macro_rules! named {
    ($($ty:ty),*) => { $(impl Named for $ty { fn name_offset(&self) -> u32 { self.name } })* };
}
named!(Type, Member, Enumerator, Parameter);

impl Btf {
    /// Reads a `.BTF` section or a kernel's `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// Anything that is out of range, cut off or beyond [`crate::limits`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        parse::parse(bytes)
    }

    /// How many types there are, `void` included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is no type but `void`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// Whether values are stored with the highest byte first.
    #[must_use]
    pub const fn big_endian(&self) -> bool {
        self.big_endian
    }

    /// The type of an id; `void` for an id that another BTF gave.
    #[must_use]
    pub fn ty(&self, id: TypeId) -> &Type {
        const VOID: &Type = &Type { name: 0, kind: Kind::Void };
        self.types.get(id.0 as usize).unwrap_or(VOID)
    }

    /// The kind of an id.
    #[must_use]
    pub fn kind(&self, id: TypeId) -> &Kind {
        &self.ty(id).kind
    }

    /// The name of a type, member, enumerator or parameter; empty for none.
    #[must_use]
    pub fn name(&self, of: &impl Named) -> &str {
        self.string(of.name_offset())
    }

    /// The string at an offset of the string table; empty where there is none.
    #[must_use]
    pub fn string(&self, offset: u32) -> &str {
        self.strings.get(offset as usize..).and_then(|s| s.split('\0').next()).unwrap_or("")
    }

    /// All types with their ids, in order, without `void`.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0..).map(TypeId).zip(&self.types).skip(1)
    }

    /// The first type of this name that `wanted` takes. Looks at every type.
    pub fn find(&self, name: &str, wanted: impl Fn(&Kind) -> bool) -> Option<TypeId> {
        self.types().find(|(_, t)| wanted(&t.kind) && self.name(*t) == name).map(|(id, _)| id)
    }

    /// A struct, union, enumeration, typedef, integer or float of this name, in that order of preference.
    #[must_use]
    pub fn type_by_name(&self, name: &str) -> Option<TypeId> {
        let name = name.trim();
        let bare = ["struct ", "union ", "enum "]
            .iter()
            .find_map(|tag| name.strip_prefix(tag))
            .map_or(name, str::trim_start);
        self.find(bare, |k| matches!(k, Kind::Struct(_)))
            .or_else(|| self.find(bare, |k| matches!(k, Kind::Union(_))))
            .or_else(|| self.find(bare, |k| matches!(k, Kind::Enum(_) | Kind::Enum64(_))))
            .or_else(|| self.find(bare, |k| matches!(k, Kind::Typedef(_))))
            .or_else(|| self.find(bare, |k| matches!(k, Kind::Int(_) | Kind::Float { .. })))
    }

    /// The names of all variables, those of other objects too.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let is_variable = |ty: &&Type| matches!(ty.kind, Kind::Variable { .. });
        self.types.iter().filter(is_variable).map(|ty| self.name(ty))
    }

    /// The variables of a data section, such as `.maps`.
    #[must_use]
    pub fn data_section(&self, name: &str) -> &[SectionVariable] {
        let id = self.find(name, |k| matches!(k, Kind::DataSection { .. }));
        match id.map(|id| self.kind(id)) {
            Some(Kind::DataSection { variables, .. }) => variables,
            _ => &[],
        }
    }
}
