//! JSON as the bytes of a type: [`Decoder::decode`] backwards.
//!
//! Every byte of a value is said: a member that is left out is refused, unless others of its union say its bytes.

use serde_json::{Map, Value};
use skep_spec::nearest::nearest;

use super::Decoder;
use super::plan::{Field, Shape, join};
use super::scalar::{Meaning, Scalar};

/// Why a JSON value is none of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is of another kind, or too large.
    #[error("{path} takes {takes}, not {found}")]
    Takes {
        /// Which part of the value.
        path: String,
        /// What fits.
        takes: String,
        /// What was given.
        found: String,
    },
    /// A struct has no such member.
    #[error("{path} has no field '{field}'{}; it has {}", near.as_ref().map(|near| format!(", did you mean '{near}'?")).unwrap_or_default(), super::error::named(fields))]
    NoField {
        /// The struct.
        path: String,
        /// What was given.
        field: String,
        /// The nearest that there is.
        near: Option<String>,
        /// What there is.
        fields: String,
    },
    /// A member is left out.
    #[error("{path} is not given: say all of a value")]
    Missing {
        /// The member.
        path: String,
    },
    /// Two members of a union say different bytes.
    #[error("{path} says other bytes than a member that shares them: give one of them")]
    Contradicts {
        /// The later one.
        path: String,
    },
}

impl Decoder {
    /// The bytes of a JSON value, as [`Self::decode`] writes it; `what` names it in errors ("key"). What has no type is
    /// hexadecimal text, in the order of memory.
    ///
    /// # Errors
    /// It is none of this type, or does not say all of its bytes.
    pub fn encode(&self, what: &str, value: &Value) -> Result<Vec<u8>, EncodeError> {
        if !self.is_typed {
            let text = value.as_str().or_else(|| value.get("bytes")?.as_str());
            let takes = || takes(what, "hexadecimal digits, since nobody knows its type", value);
            return text.and_then(from_hex).ok_or_else(takes);
        }
        let mut made = Made { bytes: vec![0; self.size], said: vec![0; self.size] };
        made.put(&self.shape, value, 0, what)?;
        Ok(made.bytes)
    }
}

/// A value in the making.
struct Made {
    bytes: Vec<u8>,
    /// Its bits that were said.
    said: Vec<u8>,
}

impl Made {
    fn put(
        &mut self,
        shape: &Shape,
        value: &Value,
        at: usize,
        path: &str,
    ) -> Result<(), EncodeError> {
        match shape {
            Shape::Struct(fields) => match value {
                Value::Object(members) => self.members(fields, members, at, path),
                _ => Err(takes(path, "an object", value)),
            },
            Shape::Array { element, stride, count } => {
                let count = self.count(*count, *stride, at);
                let list = value.as_array().filter(|list| list.len() == count);
                let list = list.ok_or_else(|| takes(path, &format!("a list of {count}"), value))?;
                list.iter().enumerate().try_for_each(|(n, value)| {
                    self.put(element, value, at + n * stride, &format!("{path}[{n}]"))
                })
            }
            Shape::Scalar(scalar) => {
                let number = number(scalar, value, path)?;
                let (bytes, mask) = scalar.bytes_of(number);
                self.set(at, &bytes, &mask, path)
            }
            Shape::Text(size) => {
                let size = size.unwrap_or_else(|| self.rest(at));
                let bytes = value.as_str().map(unescaped);
                let fits = |bytes: &Vec<u8>| bytes.len() <= size && !bytes.contains(&0);
                let most = || {
                    takes(path, &format!("a text of at most {size} bytes, none of them NUL"), value)
                };
                let mut bytes = bytes.filter(fits).ok_or_else(most)?;
                bytes.resize(size, 0);
                self.set_all(at, &bytes, path)
            }
            Shape::Float { size, big_endian } => {
                let bytes = value.as_f64().and_then(|float| float_bytes(float, *size, *big_endian));
                let bytes = bytes.ok_or_else(|| takes(path, "a number", value))?;
                self.set_all(at, &bytes, path)
            }
            Shape::Bytes { size, big_endian } => {
                let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
                let bytes = digits.and_then(from_hex).filter(|bytes| bytes.len() == *size);
                let needs = || format!("0x and {} hexadecimal digits", size * 2);
                let mut bytes = bytes.ok_or_else(|| takes(path, &needs(), value))?;
                if !big_endian {
                    bytes.reverse();
                }
                self.set_all(at, &bytes, path)
            }
            Shape::Address { .. } | Shape::Raw | Shape::Stack(_) => {
                Err(takes(path, "nothing that can be written", value))
            }
        }
    }

    fn members(
        &mut self,
        fields: &[Field],
        members: &Map<String, Value>,
        at: usize,
        path: &str,
    ) -> Result<(), EncodeError> {
        let names = || fields.iter().map(|field| &*field.name);
        if let Some(field) = members.keys().find(|name| !names().any(|known| known == *name)) {
            return Err(EncodeError::NoField {
                path: path.to_owned(),
                field: field.clone(),
                near: nearest(field, names()).map(str::to_owned),
                fields: names().collect::<Vec<_>>().join(", "),
            });
        }
        for field in fields {
            if let Some(value) = members.get(&*field.name) {
                self.put(&field.shape, value, at + field.offset, &join(path, &field.name))?;
            }
        }
        let untold = fields.iter().find(|field| {
            !members.contains_key(&*field.name) && !self.is_said(&field.shape, at + field.offset)
        });
        match untold {
            Some(field) => Err(EncodeError::Missing { path: join(path, &field.name) }),
            None => Ok(()),
        }
    }

    /// The elements of an array: without a length, as many as the value has room for.
    fn count(&self, count: Option<usize>, stride: usize, at: usize) -> usize {
        let room = self.rest(at).checked_div(stride).unwrap_or(0);
        count.map_or(room, |count| count.min(room))
    }

    fn rest(&self, at: usize) -> usize {
        self.bytes.len().saturating_sub(at)
    }

    fn set_all(&mut self, at: usize, bytes: &[u8], path: &str) -> Result<(), EncodeError> {
        self.set(at, bytes, &vec![0xff; bytes.len()], path)
    }

    fn set(&mut self, at: usize, bytes: &[u8], mask: &[u8], path: &str) -> Result<(), EncodeError> {
        let places = self.bytes.iter_mut().zip(&mut self.said).skip(at);
        for ((byte, said), (new, mask)) in places.zip(bytes.iter().zip(mask)) {
            if (*byte ^ new) & *said & mask != 0 {
                return Err(EncodeError::Contradicts { path: path.to_owned() });
            }
            *byte |= new & mask;
            *said |= mask;
        }
        Ok(())
    }

    /// Whether others said all that a member of this shape would.
    fn is_said(&self, shape: &Shape, at: usize) -> bool {
        let whole = |size: usize| {
            self.said.get(at..at + size).is_some_and(|said| said.iter().all(|bits| *bits == 0xff))
        };
        match shape {
            Shape::Struct(fields) => {
                fields.iter().all(|field| self.is_said(&field.shape, at + field.offset))
            }
            Shape::Array { element, stride, count } => {
                let count = self.count(*count, *stride, at);
                (0..count).all(|n| self.is_said(element, at + n * stride))
            }
            Shape::Scalar(scalar) => {
                let (_, mask) = scalar.bytes_of(0);
                let said = self.said.get(at..).unwrap_or_default();
                said.len() >= mask.len()
                    && said.iter().zip(&mask).all(|(said, bits)| said & bits == *bits)
            }
            Shape::Text(size) => whole(size.unwrap_or_else(|| self.rest(at))),
            Shape::Float { size, .. } | Shape::Bytes { size, .. } | Shape::Address { size, .. } => {
                whole(*size)
            }
            Shape::Raw | Shape::Stack(_) => true,
        }
    }
}

/// The number that a value stands for.
fn number(scalar: &Scalar, value: &Value, path: &str) -> Result<i128, EncodeError> {
    let (least, most) = scalar.range();
    let integer = match value {
        Value::Number(number) => {
            number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))
        }
        _ => None,
    };
    let text = value.as_str();
    let (found, needs) = match &scalar.meaning {
        Meaning::Bool => (value.as_bool().map(i128::from), "true or false".to_owned()),
        Meaning::Pointer => {
            let digits = text.and_then(|text| text.strip_prefix("0x"));
            let pointer = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            (pointer.map(i128::from).or(integer), "a pointer, such as \"0xffff\"".to_owned())
        }
        Meaning::Enum { .. } => {
            let named = text.and_then(|name| scalar.value_of(name));
            let near = text.and_then(|name| nearest(name, scalar.names()));
            let near = near.map(|near| format!(" (did you mean '{near}'?)")).unwrap_or_default();
            let names = scalar.names().take(16).collect::<Vec<_>>().join(", ");
            (named.or(integer), format!("one of {names}, or a number{near}"))
        }
        Meaning::Signed | Meaning::Unsigned => {
            (integer, format!("an integer from {least} to {most}"))
        }
    };
    found.filter(|number| (least..=most).contains(number)).ok_or_else(|| takes(path, &needs, value))
}

fn takes(path: &str, takes: &str, found: &Value) -> EncodeError {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.len() <= 64 => format!("'{}'", text.escape_debug()),
        Value::String(text) => format!("a text of {} bytes", text.len()),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".to_owned(),
    };
    EncodeError::Takes { path: path.to_owned(), takes: takes.to_owned(), found }
}

/// Bytes of a text of hexadecimal digits, two each; none where it is another.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let digits =
        text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| text.as_bytes().chunks(2).map(pair).collect())?
}

/// The bytes of a text in which those that are no UTF-8 are written `\xNN`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(r"\x") {
        let (before, found) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let digits = found.as_bytes().get(2..4).unwrap_or_default();
        let is_escape = digits.len() == 2
            && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_escape);
        let taken = match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                4
            }
            None => {
                out.push(b'\\');
                1
            }
        };
        rest = &found[taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn float_bytes(value: f64, size: usize, big_endian: bool) -> Option<Vec<u8>> {
    Some(match (size, big_endian) {
        (4, false) => (value as f32).to_le_bytes().to_vec(),
        (4, true) => (value as f32).to_be_bytes().to_vec(),
        (8, false) => value.to_le_bytes().to_vec(),
        (8, true) => value.to_be_bytes().to_vec(),
        _ => return None,
    })
}
