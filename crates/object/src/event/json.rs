//! Records as JSON, in order of declaration, through serde.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::plan::{Field, Shape};
use super::scalar::{Meaning, Scalar};

/// A value and its plan, to be serialised.
///
/// 64-bit integers are JSON numbers with all their digits. Character arrays are strings up to the first NUL, bytes
/// that are not UTF-8 written `\xNN`; enumerators are names, or numbers where there is none; pointers are hex strings.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    shape: &'a Shape,
    data: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) const fn new(shape: &'a Shape, data: &'a [u8]) -> Self {
        Self { shape, data }
    }

    /// The JSON text on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned())
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = self.data;
        match self.shape {
            Shape::Struct(fields) => serialize_fields(fields, data, serializer),
            Shape::Scalar(scalar) => match scalar.read(data) {
                Some(value) => serialize_number(scalar, value, serializer),
                None => serializer.serialize_none(),
            },
            Shape::Text(size) => serializer.serialize_str(&text(data, *size)),
            Shape::Float(size) => match float(data, *size) {
                Some(value) => serializer.serialize_f64(value),
                None => serializer.serialize_none(),
            },
            Shape::Array { element, stride, count } => {
                let there = elements(data, *stride, *count);
                let mut list = serializer.serialize_seq(Some(there.len()))?;
                for data in there {
                    list.serialize_element(&Record { shape: element, data })?;
                }
                list.end()
            }
            Shape::Address { format, size } => match data.get(..*size) {
                Some(bytes) => serializer.serialize_str(&format.address(bytes)),
                None => serializer.serialize_none(),
            },
            Shape::Bytes(size) => match data.get(..*size) {
                Some(bytes) if !bytes.is_empty() => serializer.serialize_str(&hex(bytes)),
                _ => serializer.serialize_none(),
            },
            Shape::Raw => serializer.collect_str(&Hex(data)),
        }
    }
}

fn serialize_fields<S: Serializer>(
    fields: &[Field],
    data: &[u8],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for Field { name, offset, shape, .. } in fields {
        let there = data.get(*offset..).filter(|rest| !rest.is_empty() || shape.is_flexible());
        match there {
            Some(data) => map.serialize_entry(&**name, &Record { shape, data })?,
            None => map.serialize_entry(&**name, &())?,
        }
    }
    map.end()
}

/// Bytes in hex, in the order of memory.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn serialize_number<S: Serializer>(
    scalar: &Scalar,
    value: i128,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match &scalar.meaning {
        Meaning::Bool => serializer.serialize_bool(value != 0),
        Meaning::Pointer => serializer.collect_str(&format_args!("{value:#x}")),
        Meaning::Enum { .. } => match scalar.name(value) {
            Some(name) => serializer.serialize_str(name),
            None => serialize_integer(value, serializer),
        },
        Meaning::Signed | Meaning::Unsigned => serialize_integer(value, serializer),
    }
}

fn serialize_integer<S: Serializer>(value: i128, serializer: S) -> Result<S::Ok, S::Error> {
    match u64::try_from(value) {
        Ok(value) => serializer.serialize_u64(value),
        Err(_) => serializer.serialize_i64(i64::try_from(value).unwrap_or(i64::MIN)),
    }
}

/// The whole elements of an array that are there.
pub(super) fn elements(
    data: &[u8],
    stride: usize,
    count: Option<usize>,
) -> std::slice::Chunks<'_, u8> {
    let stride = stride.max(1);
    let whole = data.len() / stride;
    let count = count.map_or(whole, |count| count.min(whole));
    data.get(..count * stride).unwrap_or(&[]).chunks(stride)
}

/// Text up to the first NUL, within `size` bytes, or to the end for size 0.
pub(super) fn text(data: &[u8], size: usize) -> std::borrow::Cow<'_, str> {
    let data = if size == 0 { data } else { data.get(..size).unwrap_or(data) };
    let data = data.split(|b| *b == 0).next().unwrap_or(&[]);
    match std::str::from_utf8(data) {
        Ok(text) => text.into(),
        Err(_) => escaped(data).into(),
    }
}

fn escaped(data: &[u8]) -> String {
    let mut out = String::with_capacity(data.len() + 8);
    for chunk in data.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            _ = write!(out, "\\x{byte:02x}"); // a String takes everything
        }
    }
    out
}

pub(super) fn float(data: &[u8], size: usize) -> Option<f64> {
    match size {
        4 => data.first_chunk().map(|b| f64::from(f32::from_le_bytes(*b))),
        8 => data.first_chunk().map(|b| f64::from_le_bytes(*b)),
        _ => None,
    }
}

/// Bytes as one little-endian number in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 + bytes.len() * 2);
    out.push_str("0x");
    for byte in bytes.iter().rev() {
        _ = write!(out, "{byte:02x}");
    }
    out
}
