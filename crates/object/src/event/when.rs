//! Which records of a shared buffer an output takes.

use skep_spec::manifest::{Manifest, Output, OutputKind, When};
use skep_spec::param::{self, Value};

use super::{Decoder, NumberAt, event_type};
use crate::Facts;

/// The records whose field has a value.
#[derive(Clone, Debug)]
pub struct Condition {
    place: NumberAt,
    equals: i128,
}

/// Why an output's `when` says nothing of its records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// The record has no such number.
    #[error("[output.{output}] when.field: its record has no number '{field}'")]
    Field {
        /// The output.
        output: String,
        /// The field.
        field: String,
    },
    /// No field has such a value.
    #[error("[output.{output}] when.equals: '{}' is no integer, true or false", equals.escape_debug())]
    Value {
        /// The output.
        output: String,
        /// What stands there.
        equals: String,
    },
}

impl Condition {
    /// The condition of the output `name`, whose records `decoder` reads.
    ///
    /// # Errors
    /// The record has no such number, or the value is none.
    pub fn new(name: &str, when: &When, decoder: &Decoder) -> Result<Self, WhenError> {
        let value = || WhenError::Value { output: name.to_owned(), equals: when.equals.text() };
        let equals = match &when.equals {
            Value::Int(number) => i128::from(*number),
            Value::Bool(yes) => i128::from(*yes),
            Value::Text(text) => param::parse_integer(text).ok_or_else(value)?,
        };
        let field = || WhenError::Field { output: name.to_owned(), field: when.field.clone() };
        Ok(Self { place: decoder.place(&when.field).ok_or_else(field)?, equals })
    }

    /// Whether it takes a record.
    #[must_use]
    pub fn takes(&self, data: &[u8]) -> bool {
        self.place.number(data) == Some(self.equals)
    }
}

/// Holds `when` of every output of events against the records of the objects.
///
/// # Errors
/// The first that does not fit.
pub fn conditions(manifest: &Manifest, objects: &[Facts]) -> Result<(), WhenError> {
    let events = manifest.output.iter().filter(|(_, output)| output.kind == OutputKind::Event);
    for (name, output) in events {
        let Some(when) = &output.when else { continue };
        for facts in objects.iter().filter(|facts| facts.map(&output.map).is_some()) {
            Condition::new(name, when, &of_output(facts, output))?;
        }
    }
    Ok(())
}

/// Without formats, which change no number.
fn of_output(facts: &Facts, output: &Output) -> Decoder {
    let ty = event_type(facts, &output.map, output.r#struct.as_deref());
    let decoder = ty
        .zip(facts.btf.as_ref())
        .and_then(|(ty, btf)| Decoder::new(btf, ty, &Default::default()).ok());
    decoder.unwrap_or_else(Decoder::raw)
}
