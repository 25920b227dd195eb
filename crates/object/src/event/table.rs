//! Records as rows of a table.

use std::collections::BTreeMap;

use skep_spec::manifest;

use crate::shown;

use super::format::{Beside, Format};
use super::json::{Around, Float, Hex, Record, hex, text};
use super::plan::Shape;
use super::scalar::Meaning;
use super::stacks::Shown;

/// Most bytes of a cell that shows a whole array.
const CELL_BYTES: usize = 64 << 10;

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The manifest's name for it, or the path of the field: `a.b`.
    pub name: String,
    /// That path; empty of what is no struct.
    pub path: String,
    /// Whether its cells are numbers, to be aligned at the right.
    pub number: bool,
}

/// A column and the way to its field.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) column: Column,
    /// Index of the field at each level.
    way: Vec<usize>,
}

pub(super) fn leaves(shape: &Shape, formats: &BTreeMap<String, manifest::Field>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    collect(shape, "", &[], None, formats, &mut leaves);
    leaves
}

fn collect(
    shape: &Shape,
    path: &str,
    way: &[usize],
    format: Option<&Format>,
    formats: &BTreeMap<String, manifest::Field>,
    leaves: &mut Vec<Leaf>,
) {
    if let Shape::Struct(fields) = shape {
        for (index, field) in fields.iter().enumerate() {
            let path = if path.is_empty() {
                field.name.to_string()
            } else {
                format!("{path}.{}", field.name)
            };
            let way = [way, &[index]].concat();
            collect(&field.shape, &path, &way, field.format.as_ref(), formats, leaves);
        }
        return;
    }
    let name = match formats.get(path).and_then(|field| field.name.clone()) {
        Some(name) => name,
        None if path.is_empty() => "value".to_owned(),
        None => path.to_owned(),
    };
    let number = match shape {
        Shape::Scalar(scalar) => {
            matches!(scalar.meaning, Meaning::Signed | Meaning::Unsigned)
                && format.is_none_or(|format| format.is_number())
        }
        Shape::Float { .. } => true,
        _ => false,
    };
    let column = Column { name, path: path.to_owned(), number };
    leaves.push(Leaf { column, way: way.to_vec() });
}

impl Leaf {
    pub(super) fn cell(&self, root: &Shape, data: &[u8], beside: &Beside) -> String {
        let around = Around { whole: data, beside };
        let (mut shape, mut data, mut format) = (root, data, None);
        for index in &self.way {
            let Shape::Struct(fields) = shape else { return String::new() };
            let Some(field) = fields.get(*index) else { return String::new() };
            let Some(rest) = data.get(field.offset..) else { return String::new() };
            (shape, data, format) = (&field.shape, rest, field.format.as_ref());
        }
        cell(shape, format, data, around).unwrap_or_default()
    }
}

fn cell(shape: &Shape, format: Option<&Format>, data: &[u8], around: Around<'_>) -> Option<String> {
    let beside = around.beside;
    Some(match shape {
        Shape::Scalar(scalar) => {
            let value = scalar.read(data)?;
            match (format, &scalar.meaning) {
                (Some(format), _) => format.number(value, scalar.is_signed(), beside),
                (None, Meaning::Bool) => (value != 0).to_string(),
                (None, Meaning::Pointer) => format!("{value:#x}"),
                (None, _) => match scalar.name(value) {
                    Some(name) => shown(name).into_owned(),
                    None => value.to_string(),
                },
            }
        }
        Shape::Text(size) => shown(&text(data, *size)).into_owned(),
        Shape::Float { size, big_endian } => Float::read(data, *size, *big_endian)?.to_string(),
        Shape::Address { format, size } => format.address(data.get(..*size)?),
        Shape::Raw => Hex(data).to_string(),
        Shape::Bytes { size, big_endian } => hex(data.get(..*size)?, *big_endian),
        Shape::Array { .. } | Shape::Struct(_) => {
            let json = Record::new(shape, data, around).within(CELL_BYTES);
            shown(&json.unwrap_or_else(|| "…".to_owned())).into_owned()
        }
        Shape::Stack(stack) => match stack.read(data, around.whole, beside.stacks.as_deref())? {
            Shown::Id(id) => id.to_string(),
            Shown::Frames(frames) if frames.is_empty() => "\n".to_owned(),
            Shown::Frames(frames) => frames.iter().map(|frame| format!("\n{frame}")).collect(),
        },
    })
}
