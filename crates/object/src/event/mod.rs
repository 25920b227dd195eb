//! Records of ring and perf buffers, and keys and values of maps, read through BTF.
//!
//! A [`Decoder`] is compiled once from a type; decoding then walks a flat plan over the bytes. JSON comes out
//! through [`serde::Serialize`] in the order of declaration, straight into the writer, because a
//! `serde_json::Map` would sort the fields and cost an allocation for each.

mod choose;
mod format;
mod json;
mod names;
mod plan;
mod scalar;
mod table;
mod when;

use std::collections::BTreeMap;

use skep_spec::manifest;

use crate::{Btf, TypeId, limits};

pub use choose::{event_type, namesakes};
pub use format::{Clock, Format};
pub use json::Record;
pub use table::Column;
pub use when::{Condition, WhenError, conditions};

use plan::Shape;

/// Reads values of one type.
#[derive(Clone, Debug)]
pub struct Decoder {
    shape: Shape,
    size: usize,
    columns: Vec<table::Leaf>,
    clock: Option<Clock>,
    is_typed: bool,
}

/// Why no decoder can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecoderError {
    /// The type has no size.
    #[error("a record cannot be a {ty}: it has no size")]
    NoSize {
        /// The type as C writes it.
        ty: String,
    },
    /// A member lies outside of its struct: no compiler makes that.
    #[error("field '{field}' reaches beyond its {ty}")]
    Beyond {
        /// The field.
        field: String,
        /// The struct.
        ty: String,
    },
    /// Too many fields, too deep, or names that are too long.
    #[error("a {ty} has more than {most} {what}")]
    Limit {
        /// The type.
        ty: String,
        /// Fields, levels, or bytes of paths.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// The manifest formats a field that is not there.
    #[error("there is no field '{field}' in {ty}; it has {fields}")]
    NoField {
        /// The field.
        field: String,
        /// The type.
        ty: String,
        /// What there is.
        fields: String,
    },
    /// The manifest counts a field that is no number, or not there.
    #[error("there is no number '{field}' in {ty}; it has {fields}")]
    NoNumber {
        /// The field.
        field: String,
        /// The type.
        ty: String,
        /// What numbers there are.
        fields: String,
    },
    /// The manifest names a format that nobody knows.
    #[error("field '{field}': there is no format '{format}'; use one of {}", Format::NAMES.join(", "))]
    NoFormat {
        /// The field.
        field: String,
        /// The format.
        format: String,
    },
    /// The format is for other types.
    #[error("field '{field}' is a {ty}: format '{format}' takes {takes}")]
    Mismatch {
        /// The field.
        field: String,
        /// Its type.
        ty: String,
        /// The format.
        format: String,
        /// What the format is for.
        takes: &'static str,
    },
    /// A unit that nobody knows.
    #[error("field '{field}': there is no unit '{unit}' for {format}; use {known}")]
    Unit {
        /// The field.
        field: String,
        /// The unit.
        unit: String,
        /// The format.
        format: String,
        /// What there is.
        known: &'static str,
    },
}

impl Decoder {
    /// Compiles a type; `fields` are the formats of `[output.X.fields]`, by path (`a.b` for nested fields).
    ///
    /// # Errors
    /// A type without size, or a format that does not fit.
    pub fn new(
        btf: &Btf,
        ty: TypeId,
        fields: &BTreeMap<String, manifest::Field>,
    ) -> Result<Self, DecoderError> {
        let size = btf.size_of(ty).and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or_else(|| DecoderError::NoSize { ty: btf.describe(ty) })?;
        let shape = plan::compile(btf, ty, fields)?;
        let columns = table::leaves(&shape, fields);
        Ok(Self { shape, size, columns, clock: None, is_typed: true })
    }

    /// Shows records of an unknown type: one field `bytes`, in hex, in the order of memory.
    #[must_use]
    pub fn raw() -> Self {
        let shape = plan::raw();
        let columns = table::leaves(&shape, &BTreeMap::new());
        Self { shape, size: 0, columns, clock: None, is_typed: false }
    }

    /// Why it shows the records of `output` as bytes, and how to make their type known; none where it knows the type.
    #[must_use]
    pub fn untyped(&self, output: &str) -> Option<String> {
        (!self.is_typed).then(|| {
            format!(
                "the records of '{output}' are shown as bytes: the object does not say which struct they are. \
                 Name it with struct = \"…\" in an [output] of skep.toml, or keep it in the object's types: \
                 in C, const struct event *unused __attribute__((unused));"
            )
        })
    }

    /// Shows `ktime` fields as the time of day.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Bytes of a whole value; records may be shorter, or longer by a flexible array.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// A value to be serialised. Fields beyond the end of `data` are null.
    #[must_use]
    pub const fn decode<'a>(&'a self, data: &'a [u8]) -> Record<'a> {
        Record::new(&self.shape, data)
    }

    /// The number at a path such as `seq` or `a.b`; none for other types and beyond the end of `data`.
    #[must_use]
    pub fn number(&self, path: &str, data: &[u8]) -> Option<i128> {
        self.place(path)?.number(data)
    }

    /// The place of a number, for readers of many records.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<NumberAt> {
        let mut shape = &self.shape;
        let mut offset = 0;
        for name in path.split('.').filter(|name| !name.is_empty()) {
            let Shape::Struct(fields) = shape else { return None };
            let field = fields.iter().find(|f| *f.name == *name)?;
            offset += field.offset;
            shape = &field.shape;
        }
        match shape {
            Shape::Scalar(scalar) => Some(NumberAt { offset, scalar: scalar.clone() }),
            _ => None,
        }
    }

    /// That there is a number at a path of this type.
    ///
    /// # Errors
    /// [`DecoderError::NoNumber`].
    pub fn needs_number(&self, path: &str, ty: &str) -> Result<(), DecoderError> {
        if self.place(path).is_some() {
            return Ok(());
        }
        let numbers =
            plan::paths(&self.shape).into_iter().filter(|path| self.place(path).is_some());
        let fields = match numbers.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "no fields that are numbers: leave value out".to_owned(),
            fields => fields,
        };
        Err(DecoderError::NoNumber { field: path.to_owned(), ty: ty.to_owned(), fields })
    }

    /// The columns of a table: nested structs are flattened, arrays are one column.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().map(|leaf| &leaf.column)
    }

    /// The cells of a table, one for each column; empty beyond the end of `data`, `…` where they are too long together.
    ///
    /// Control characters are escaped, so that a record cannot speak to the terminal.
    #[must_use]
    pub fn row(&self, data: &[u8]) -> Vec<String> {
        let mut bytes = 0;
        let cell = |leaf: &table::Leaf| {
            if bytes > limits::JSON_BYTES {
                return "…".to_owned();
            }
            let cell = leaf.cell(&self.shape, data, self.clock);
            bytes += cell.len();
            cell
        };
        self.columns.iter().map(cell).collect()
    }
}

/// Where a number stands in a record.
#[derive(Clone, Debug)]
pub struct NumberAt {
    offset: usize,
    scalar: scalar::Scalar,
}

impl NumberAt {
    /// The number; none beyond the end of `data`.
    #[must_use]
    pub fn number(&self, data: &[u8]) -> Option<i128> {
        self.scalar.read(data.get(self.offset..)?)
    }
}
