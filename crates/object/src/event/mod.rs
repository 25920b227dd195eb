//! Records of ring and perf buffers, and keys and values of maps, read through BTF.
//!
//! A [`Decoder`] is compiled once from a type; decoding then walks a flat plan over the bytes. JSON comes out
//! through [`serde::Serialize`] in the order of declaration, straight into the writer, because a
//! `serde_json::Map` would sort the fields and cost an allocation for each.

mod choose;
mod encode;
mod error;
mod filter;
mod format;
mod json;
mod label;
mod names;
mod plan;
mod scalar;
mod stacks;
mod symbols;
mod syscalls;
mod table;
mod when;

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_spec::manifest;

use crate::{Btf, Facts, MapKind, TypeId, limits};

pub use choose::{event_type, namesakes};
pub use encode::{EncodeError, from_hex};
pub use error::DecoderError;
pub use filter::{Bound, Filter, FilterError};
pub use format::{Clock, Format};
pub use json::Record;
pub use label::{KEY, Labels};
pub use stacks::{Frame, MOST_FRAMES, Of, Stacks};
pub use symbols::{Symbol, Symbols};
pub use table::Column;
pub use when::{Condition, WhenError, unconditioned};

use format::Beside;
use json::Around;
use plan::Shape;

/// Reads values of one type.
#[derive(Clone, Debug)]
pub struct Decoder {
    shape: Shape,
    size: usize,
    columns: Vec<table::Leaf>,
    beside: Beside,
    is_typed: bool,
    /// The first field that is a time.
    time: Option<TimeAt>,
}

/// Where a record says when it was made.
#[derive(Clone, Debug)]
struct TimeAt {
    at: NumberAt,
    /// Of a time since 1970 the nanoseconds of its unit; without it is one of the monotonic clock.
    unit: Option<u64>,
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
        Self::of(plan::compile(btf, ty, fields)?, size, fields, &btf.describe(ty))
    }

    /// The same for the key or value of a map by the BTF that the kernel has of it: a data section's value has the variables as
    /// its members.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_kernel(btf: &Btf, ty: TypeId) -> Result<Self, DecoderError> {
        let size = btf.size_of(ty).and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or_else(|| DecoderError::NoSize { ty: btf.describe(ty) })?;
        let shape = plan::compile_section(btf, ty)?;
        Self::of(shape, size, &BTreeMap::new(), &btf.describe(ty))
    }

    /// The same of a type as the only member, `name`, of a struct, so that `fields` can give it a format though it is none.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_one(
        btf: &Btf,
        ty: TypeId,
        name: &str,
        fields: &BTreeMap<String, manifest::Field>,
    ) -> Result<Self, DecoderError> {
        let size = btf.size_of(ty).and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or_else(|| DecoderError::NoSize { ty: btf.describe(ty) })?;
        Self::of(plan::compile_as(btf, ty, name, fields)?, size, fields, &btf.describe(ty))
    }

    /// That the ids of stacks are of maps of stacks, where it is told which.
    ///
    /// # Errors
    /// [`DecoderError::Unit`]: the object has no such map, or of another kind.
    pub fn has_maps_of_stacks(
        facts: &Facts,
        fields: &BTreeMap<String, manifest::Field>,
    ) -> Result<(), DecoderError> {
        for (path, field) in fields {
            let format =
                field.format.as_deref().filter(|name| matches!(*name, "kstack" | "ustack"));
            let (Some(format), Some(unit)) = (format, &field.unit) else { continue };
            if facts.map(unit).is_none_or(|map| map.kind != MapKind::StackTrace) {
                return Err(DecoderError::Unit {
                    field: path.clone(),
                    unit: unit.clone(),
                    format: format.to_owned(),
                    known: "the name of a map of stack traces of the object",
                });
            }
        }
        Ok(())
    }

    fn of(
        shape: Shape,
        size: usize,
        fields: &BTreeMap<String, manifest::Field>,
        ty: &str,
    ) -> Result<Self, DecoderError> {
        let columns = table::leaves(&shape, fields);
        let time = plan::time(&shape, "");
        let beside = Beside::default();
        let mut made = Self { shape, size, columns, beside, is_typed: true, time: None };
        made.time = time.and_then(|(path, unit)| Some(TimeAt { at: made.place(&path)?, unit }));
        if made.has_stacks() {
            let mut shape = made.shape.clone();
            plan::name_processes(&mut shape, "", &|path| made.process(path, fields, ty))?;
            made.shape = shape;
        }
        Ok(made)
    }

    /// The number of the process that a stack is of: the field that `process` names, or `tgid` or `pid`.
    fn process(
        &self,
        path: &str,
        fields: &BTreeMap<String, manifest::Field>,
        ty: &str,
    ) -> Result<Option<NumberAt>, DecoderError> {
        match fields.get(path).and_then(|field| field.process.as_deref()) {
            Some(told) => {
                self.needs_number(told, ty)?;
                Ok(self.place(told))
            }
            None => Ok(self.place("tgid").or_else(|| self.place("pid"))),
        }
    }

    /// The key of a map of stacks: an id.
    #[must_use]
    pub fn of_ids() -> Self {
        Self::of_shape(Shape::Scalar(scalar::Scalar::id()), 4)
    }

    /// The value of a map of stacks: addresses of the kernel, or of a process that nobody knows.
    #[must_use]
    pub fn of_addresses() -> Self {
        let big_endian = cfg!(target_endian = "big");
        let addresses = stacks::Addresses::Here { count: None, big_endian };
        let stack = stacks::Stack { side: stacks::Side::Either, addresses, process: None };
        Self::of_shape(Shape::Stack(Box::new(stack)), 0)
    }

    fn of_shape(shape: Shape, size: usize) -> Self {
        let columns = table::leaves(&shape, &BTreeMap::new());
        Self { shape, size, columns, beside: Beside::default(), is_typed: true, time: None }
    }

    /// When a record was made, in nanoseconds since 1970, by its first field that the manifest calls a time.
    #[must_use]
    pub fn time(&self, data: &[u8], clock: Clock) -> Option<u64> {
        let TimeAt { at, unit } = self.time.as_ref()?;
        let told = u64::try_from(at.number(data)?).ok().filter(|told| *told > 0)?;
        match unit {
            Some(unit) => told.checked_mul(*unit),
            None => told.checked_add(clock.unix_ns_at_zero),
        }
    }

    /// Whether it has a field of this path.
    #[must_use]
    pub fn has_field(&self, path: &str) -> bool {
        self.at(path).is_some()
    }

    /// Shows records of an unknown type: one field `bytes`, in hex, in the order of memory.
    #[must_use]
    pub fn raw() -> Self {
        let shape = plan::raw();
        let columns = table::leaves(&shape, &BTreeMap::new());
        Self { shape, size: 0, columns, beside: Beside::default(), is_typed: false, time: None }
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

    /// Whether it knows the type: else values are shown as bytes.
    #[must_use]
    pub const fn is_typed(&self) -> bool {
        self.is_typed
    }

    /// Shows `ktime` fields as the time of day.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.beside.clock = Some(clock);
        self
    }

    /// Whether a field is an address of the kernel, which needs its symbols to be shown by name.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        plan::has_addresses(&self.shape)
    }

    /// Shows `ksym` fields by these names.
    #[must_use]
    pub fn with_symbols(mut self, symbols: Arc<Symbols>) -> Self {
        self.beside.symbols = Some(symbols);
        self
    }

    /// Whether a field is a stack, which needs a node to be shown by names.
    #[must_use]
    pub fn has_stacks(&self) -> bool {
        plan::has_stacks(&self.shape)
    }

    /// Shows stacks by what this knows of them.
    #[must_use]
    pub fn with_stacks(mut self, stacks: Arc<dyn Stacks>) -> Self {
        self.beside.stacks = Some(stacks);
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
        Record::new(&self.shape, data, Around { whole: data, beside: &self.beside })
    }

    /// The number at a path such as `seq` or `a.b`; none for other types and beyond the end of `data`.
    #[must_use]
    pub fn number(&self, path: &str, data: &[u8]) -> Option<i128> {
        self.place(path)?.number(data)
    }

    /// The same with these fields alone, in their own order; `a.b` is one inside another, and a struct all that it has. They may
    /// be called as their columns are.
    ///
    /// # Errors
    /// There is no such field.
    pub fn only(&self, fields: &[String]) -> Result<Self, FilterError> {
        let paths: Result<Vec<String>, FilterError> =
            fields.iter().map(|field| filter::path_of(self, field)).collect();
        let paths = paths?;
        let wanted =
            |path: &str| paths.iter().any(|wanted| path == wanted || plan::is_inside(path, wanted));
        let shape = plan::only(&self.shape, "", &wanted);
        let names = self.columns().map(|column| (column.path.clone(), column.name.clone()));
        let named =
            |(path, name)| (path, manifest::Field { name: Some(name), ..Default::default() });
        let columns = table::leaves(&shape, &names.map(named).collect());
        Ok(Self { shape, columns, ..self.clone() })
    }

    /// The place of a number, for readers of many records.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<NumberAt> {
        match self.at(path)? {
            (offset, Shape::Scalar(scalar)) => Some(NumberAt { offset, scalar: scalar.clone() }),
            _ => None,
        }
    }

    /// The offset and the shape at a path; of the empty one the whole.
    fn at(&self, path: &str) -> Option<(usize, &Shape)> {
        let (mut shape, mut offset) = (&self.shape, 0);
        for name in path.split('.').filter(|name| !name.is_empty()) {
            let Shape::Struct(fields) = shape else { return None };
            let field = fields.iter().find(|f| *f.name == *name)?;
            offset += field.offset;
            shape = &field.shape;
        }
        Some((offset, shape))
    }

    /// That there is an array of integers at a path of this type, or that it is one (an empty path).
    ///
    /// # Errors
    /// [`DecoderError::NoCounts`].
    pub fn needs_counts(&self, path: &str, ty: &str) -> Result<(), DecoderError> {
        if self.has_counts(path) {
            return Ok(());
        }
        let fields = match self.counts().join(", ") {
            none if none.is_empty() && self.has_counts("") => {
                "no fields, and is one itself: leave value out".to_owned()
            }
            none if none.is_empty() => "none".to_owned(),
            fields => fields,
        };
        Err(DecoderError::NoCounts { field: path.to_owned(), ty: ty.to_owned(), fields })
    }

    /// The paths of all arrays of integers; the empty one where it is such an array itself.
    #[must_use]
    pub fn counts(&self) -> Vec<String> {
        if self.has_counts("") {
            return vec![String::new()];
        }
        plan::paths(&self.shape).into_iter().filter(|path| self.has_counts(path)).collect()
    }

    fn has_counts(&self, path: &str) -> bool {
        let Some((_, Shape::Array { element, .. })) = self.at(path) else { return false };
        matches!(&**element, Shape::Scalar(_))
    }

    /// That there is a number at a path of this type.
    ///
    /// # Errors
    /// [`DecoderError::NoNumber`].
    pub fn needs_number(&self, path: &str, ty: &str) -> Result<(), DecoderError> {
        if self.place(path).is_some() {
            return Ok(());
        }
        let fields = match self.numbers().join(", ") {
            none if none.is_empty() => "no fields that are numbers: leave value out".to_owned(),
            fields => fields,
        };
        Err(DecoderError::NoNumber { field: path.to_owned(), ty: ty.to_owned(), fields })
    }

    /// The paths of all numbers.
    fn numbers(&self) -> Vec<String> {
        let paths = plan::paths(&self.shape).into_iter();
        paths.filter(|path| self.place(path).is_some()).collect()
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
            let cell = leaf.cell(&self.shape, data, &self.beside);
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
