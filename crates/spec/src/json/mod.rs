//! JSON from strangers: a size limit, no key twice in one object, no list where an object should be.
//!
//! `serde_json::Value` keeps the last of two equal keys in silence, so that two readers could see two documents.

mod typed;

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub use self::typed::typed;
use crate::param::is_exact;

/// Why bytes are not JSON that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Too long.
    #[error("it has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// Bytes that it has.
        size: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// Not JSON, nested too deep, or something after the end.
    #[error("it is not JSON as it should be: {0}")]
    Syntax(String),
    /// A key twice in one object.
    #[error("it is not JSON as it should be: the key '{0}' is there twice")]
    Duplicate(String),
    /// A number that readers do not keep exact.
    #[error("it holds the number {0}: write an integer within 2^53 - 1, or text")]
    Number(String),
    /// JSON of another shape.
    #[error("it is not JSON as it should be: {0}")]
    Shape(String),
}

impl JsonError {
    /// The standard's code; `shape` is that of JSON of another shape.
    #[must_use]
    pub const fn code(&self, shape: &'static str) -> &'static str {
        match self {
            Self::TooLarge { .. } => "json.size",
            Self::Syntax(_) => "json.syntax",
            Self::Duplicate(_) => "json.duplicate",
            Self::Number(_) => "json.number",
            Self::Shape(_) => shape,
        }
    }
}

/// Reads a `T` from `bytes`, at most `max` of them.
///
/// # Errors
/// As [`parse`], or when the JSON has another shape.
pub fn read<T: serde::de::DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, JsonError> {
    typed(parse(bytes, max)?)
}

/// Parses `bytes`, at most `max` of them.
///
/// # Errors
/// Too long, not JSON, a key twice in one object, nested deeper than 128.
pub fn parse(bytes: &[u8], max: usize) -> Result<Value, JsonError> {
    if bytes.len() > max {
        return Err(JsonError::TooLarge { size: bytes.len(), max });
    }
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(&twice).deserialize(&mut reader);
    let value = value.map_err(|error| match twice.take() {
        Some(key) => JsonError::Duplicate(key),
        None => JsonError::Syntax(error.to_string()),
    })?;
    reader.end().map_err(|e| JsonError::Syntax(e.to_string()))?;
    Ok(value)
}

/// Parses `bytes` as [`parse`] does, and holds every number to the integers that all readers keep exact.
///
/// # Errors
/// As [`parse`]; a fraction, an exponent, `-0`, or an integer beyond ±(2^53 - 1).
pub fn parse_exact(bytes: &[u8], max: usize) -> Result<Value, JsonError> {
    let value = parse(bytes, max)?;
    match inexact(&value) {
        Some(number) => Err(JsonError::Number(number.to_string())),
        None => Ok(value),
    }
}

/// The bytes of a value as RFC 8785 has them.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    // A value has string keys and finite numbers: nothing in it can fail to serialise.
    serde_json_canonicalizer::to_vec(value).unwrap_or_default()
}

/// The first number of a value that readers do not keep exact.
#[must_use]
pub fn inexact(value: &Value) -> Option<&Number> {
    match value {
        Value::Number(number) => (!number.as_i64().is_some_and(is_exact)).then_some(number),
        Value::Array(items) => items.iter().find_map(inexact),
        Value::Object(members) => members.values().find_map(inexact),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

/// The first key that is there twice goes into the cell: an error of serde is text only.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                *self.0.borrow_mut() = Some(key);
                return Err(serde::de::Error::custom("a key twice"));
            }
            let value = map.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_json_whole() {
        let text = br#"{"a":[1,-2,1.5,"x",true,null],"b":{"c":18446744073709551615}}"#;
        assert_eq!(parse(text, 100).unwrap(), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn refuses_a_key_twice_at_any_depth_and_what_follows_the_end() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            assert!(parse(text.as_bytes(), 100).unwrap_err().to_string().contains("twice"));
        }
        assert!(parse(b"{} {}", 100).is_err());
        for text in ["1.5", "[1e2]", r#"{"a":[-0]}"#, "9007199254740992", "18446744073709551616"] {
            let error = parse_exact(text.as_bytes(), 100).unwrap_err();
            assert!(matches!(error, JsonError::Number(_)), "{text}: {error}");
        }
        assert!(parse_exact(b"[-9007199254740991,0,null]", 100).is_ok());
        assert!(parse(&vec![b'['; 4096], 4096).is_err());
        assert_eq!(parse(b"{}", 1), Err(JsonError::TooLarge { size: 2, max: 1 }));
    }
}
