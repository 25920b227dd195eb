//! Records as JSON, in order of declaration, through serde.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::format::Beside;
use super::plan::{Field, Shape};
use super::scalar::{Meaning, Scalar};
use super::stacks::Shown;
use crate::limits::JSON_BYTES;

/// A value and its plan, to be serialised.
///
/// 64-bit integers are JSON numbers with all their digits. Character arrays are strings up to the first NUL, bytes
/// that are not UTF-8 written `\xNN`, so that they can be read back; enumerators are names, or numbers where there is none; pointers are hex strings.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    shape: &'a Shape,
    data: &'a [u8],
    around: Around<'a>,
}

/// What a value may need beside its own bytes.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// All of the record.
    pub(super) whole: &'a [u8],
    pub(super) beside: &'a Beside,
}

impl<'a> Record<'a> {
    pub(super) const fn new(shape: &'a Shape, data: &'a [u8], around: Around<'a>) -> Self {
        Self { shape, data, around }
    }

    /// The JSON text on one line; the bytes of a record whose text would have more than [`JSON_BYTES`].
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = Vec::new();
        self.write_json(&mut text);
        String::from_utf8(text).unwrap_or_default() // what serde_json writes is UTF-8
    }

    /// Writes the same behind what `out` has.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let before = out.len();
        if !self.write_within(JSON_BYTES, out) {
            out.truncate(before);
            out.extend_from_slice(format!(r#"{{"bytes":"{}"}}"#, Hex(self.data)).as_bytes());
        }
    }

    /// The JSON text, if it has at most so many bytes.
    pub(super) fn within(&self, most: usize) -> Option<String> {
        let mut text = Vec::new();
        let is_whole = self.write_within(most, &mut text);
        String::from_utf8(text).ok().filter(|_| is_whole)
    }

    /// Whether it has at most so many bytes; else not all of them are written.
    fn write_within(&self, most: usize, out: &mut Vec<u8>) -> bool {
        let most = out.len() + most;
        serde_json::to_writer(Bounded { text: out, most }, self).is_ok()
    }
}

/// Text that ends at a number of bytes: names stand in it as often as a record has elements.
struct Bounded<'a> {
    text: &'a mut Vec<u8>,
    most: usize,
}

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    // JSON comes in pieces of a few bytes.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.text.len() + bytes.len() > self.most {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = self.data;
        match self.shape {
            Shape::Struct(fields) => serialize_fields(fields, *self, serializer),
            Shape::Scalar(scalar) => match scalar.read(data) {
                Some(value) => serialize_number(scalar, value, serializer),
                None => serializer.serialize_none(),
            },
            Shape::Text(size) => serializer.serialize_str(&text(data, *size)),
            Shape::Float { size, big_endian } => match Float::read(data, *size, *big_endian) {
                // Each in its own width: the shortest digits of a float are not those of the same double.
                Some(Float::Single(value)) => serializer.serialize_f32(value),
                Some(Float::Double(value)) => serializer.serialize_f64(value),
                None => serializer.serialize_none(),
            },
            Shape::Array { element, stride, count } => {
                let there = elements(data, *stride, *count);
                let mut list = serializer.serialize_seq(Some(there.len()))?;
                for data in there {
                    list.serialize_element(&Record { shape: element, data, ..*self })?;
                }
                list.end()
            }
            Shape::Address { format, size } => match data.get(..*size) {
                Some(bytes) => serializer.serialize_str(&format.address(bytes)),
                None => serializer.serialize_none(),
            },
            Shape::Bytes { size, big_endian } => match data.get(..*size) {
                Some(bytes) if !bytes.is_empty() => {
                    serializer.serialize_str(&hex(bytes, *big_endian))
                }
                _ => serializer.serialize_none(),
            },
            Shape::Raw => serializer.collect_str(&Hex(data)),
            Shape::Stack(stack) => {
                let Around { whole, beside } = self.around;
                match stack.read(data, whole, beside.stacks.as_deref()) {
                    Some(Shown::Frames(frames)) => serializer.collect_seq(frames),
                    Some(Shown::Id(id)) => serialize_integer(id, serializer),
                    None => serializer.serialize_none(),
                }
            }
        }
    }
}

fn serialize_fields<S: Serializer>(
    fields: &[Field],
    record: Record<'_>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for Field { name, offset, shape, .. } in fields {
        let there = record.data.get(*offset..).filter(|rest| !rest.is_empty() || shape.is_empty());
        match there {
            Some(data) => map.serialize_entry(&**name, &Record { shape, data, ..record })?,
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

/// The whole elements of an array that are there; of such without bytes none, or there would be any number.
pub(super) fn elements(
    data: &[u8],
    stride: usize,
    count: Option<usize>,
) -> std::slice::Chunks<'_, u8> {
    let whole = data.len().checked_div(stride).unwrap_or(0);
    let count = count.map_or(whole, |count| count.min(whole));
    data.get(..count * stride).unwrap_or(&[]).chunks(stride.max(1))
}

/// Text up to the first NUL, within `size` bytes, or to the end.
pub(super) fn text(data: &[u8], size: Option<usize>) -> std::borrow::Cow<'_, str> {
    let data = size.and_then(|size| data.get(..size)).unwrap_or(data);
    let data = data.split(|b| *b == 0).next().unwrap_or(&[]);
    match std::str::from_utf8(data) {
        Ok(text) if !text.contains(r"\x") => text.into(),
        _ => escaped(data).into(),
    }
}

/// Bytes that are no UTF-8 as `\xNN`, and a backslash before what would read as that as `\x5c`.
fn escaped(data: &[u8]) -> String {
    let mut out = String::with_capacity(data.len() + 8);
    for chunk in data.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(r"\x") {
            let (before, found) = rest.split_at(at);
            out.push_str(before);
            out.push_str(if is_escape(found) { r"\x5c" } else { r"\" });
            rest = &found[1..];
        }
        out.push_str(rest);
        for byte in chunk.invalid() {
            _ = write!(out, "\\x{byte:02x}"); // a String takes everything
        }
    }
    out
}

/// Whether a text that begins with `\x` goes on with two hexadecimal digits, as we write them.
fn is_escape(text: &str) -> bool {
    let digits = text.as_bytes().get(2..4).unwrap_or_default();
    digits.len() == 2 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// A number with a fraction, in the width that it has.
#[derive(Clone, Copy)]
pub(super) enum Float {
    Single(f32),
    Double(f64),
}

impl Float {
    pub(super) fn read(data: &[u8], size: usize, big_endian: bool) -> Option<Self> {
        Some(match (size, big_endian) {
            (4, false) => Self::Single(f32::from_le_bytes(*data.first_chunk()?)),
            (4, true) => Self::Single(f32::from_be_bytes(*data.first_chunk()?)),
            (8, false) => Self::Double(f64::from_le_bytes(*data.first_chunk()?)),
            (8, true) => Self::Double(f64::from_be_bytes(*data.first_chunk()?)),
            _ => return None,
        })
    }
}

impl Float {
    /// With the precision of a double.
    pub(super) fn wide(self) -> f64 {
        match self {
            Self::Single(value) => value.into(),
            Self::Double(value) => value,
        }
    }
}

impl std::fmt::Display for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Single(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
        }
    }
}

/// Bytes as one number in hex.
pub(super) fn hex(bytes: &[u8], big_endian: bool) -> String {
    let mut out = String::with_capacity(2 + bytes.len() * 2);
    out.push_str("0x");
    for at in 0..bytes.len() {
        let at = if big_endian { at } else { bytes.len() - 1 - at };
        _ = write!(out, "{:02x}", bytes.get(at).copied().unwrap_or_default());
    }
    out
}
