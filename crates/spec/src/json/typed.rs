//! Types read from JSON as the schemas have them: what serde derives reads a struct from a list too, member after
//! member, and so would take what every reader by the schema refuses.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Error, Value};

use super::JsonError;

/// Reads a `T` from a value; a struct only from an object, a word only from a text.
///
/// # Errors
/// JSON of another shape.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, JsonError> {
    T::deserialize(Typed(value)).map_err(|error| JsonError::Shape(error.to_string()))
}

struct Typed(Value);

impl IntoDeserializer<'_, Error> for Typed {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Typed {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Typed));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Object(members) => {
                let members = members.into_iter().map(|(key, value)| (key, Typed(value)));
                let mut members = MapDeserializer::new(members);
                let value = visitor.visit_map(&mut members)?;
                members.end().map(|()| value)
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(_) => Err(Error::invalid_type(Unexpected::Map, &visitor)),
            value => value.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        inner: Vec<Inner>,
        pair: Option<(u8, String)>,
        #[serde(default)]
        rest: Value,
        #[serde(default)]
        texts: BTreeMap<String, String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        #[serde(default)]
        word: Word,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    enum Word {
        #[default]
        A,
    }

    #[test]
    fn reads_what_the_derived_reader_reads() {
        let value = json!({"inner": [{"word": "A"}, {}], "pair": [1, "x"], "more": [{}],
                           "rest": {"a": [1.5, -1, null, true]}, "texts": {"k": "v"}});
        assert_eq!(
            typed::<Outer>(value.clone()).unwrap(),
            serde_json::from_value::<Outer>(value).unwrap()
        );
        assert!(typed::<Outer>(json!({"inner": [], "pair": null})).unwrap().pair.is_none());
        assert!(typed::<Outer>(json!({"inner": [], "pair": [1, "x", 2]})).is_err());
    }

    #[test]
    fn a_list_is_no_struct_and_an_object_no_word() {
        for value in [
            json!([[]]),
            json!({"inner": [[]]}),
            json!({"inner": [["A"]]}),
            json!({"inner": [{"word": {"A": null}}]}),
        ] {
            serde_json::from_value::<Outer>(value.clone())
                .map_or_else(|error| assert!(value.is_array(), "{error}"), |_| ());
            assert!(matches!(typed::<Outer>(value), Err(JsonError::Shape(_))));
        }
    }
}
