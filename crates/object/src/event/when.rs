//! Which records of a shared buffer an output takes.

use skep_spec::manifest::{Manifest, Output, OutputKind, When};
use skep_spec::nearest::nearest;
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
    #[error("[output.{output}] when.field: its record has no number '{field}'{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean '{near}'?")))]
    Field {
        /// The output.
        output: String,
        /// The field.
        field: String,
        /// The nearest number that there is.
        near: Option<String>,
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

impl WhenError {
    /// Where the manifest says it: keys from the outside in.
    #[must_use]
    pub fn key(&self) -> Vec<String> {
        let (output, word) = match self {
            Self::Field { output, .. } => (output, "field"),
            Self::Value { output, .. } => (output, "equals"),
        };
        ["output", output, "when", word].map(str::to_owned).into()
    }
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
        let field = || WhenError::Field {
            output: name.to_owned(),
            field: when.field.clone(),
            near: nearest(&when.field, decoder.numbers().iter().map(String::as_str))
                .map(str::to_owned),
        };
        Ok(Self { place: decoder.place(&when.field).ok_or_else(field)?, equals })
    }

    /// Whether it takes a record.
    #[must_use]
    pub fn takes(&self, data: &[u8]) -> bool {
        self.place.number(data) == Some(self.equals)
    }
}

/// Each `when` of an output of events that says nothing of an object's records.
pub fn unconditioned(manifest: &Manifest, objects: &[&Facts]) -> impl Iterator<Item = WhenError> {
    let events = manifest.output.iter().filter(|(_, output)| output.kind == OutputKind::Event);
    let told = events.filter_map(|(name, output)| Some((name, output, output.when.as_ref()?)));
    told.flat_map(move |(name, output, when)| {
        let holders = objects.iter().filter(|facts| facts.map(&output.map).is_some());
        holders.filter_map(move |facts| Condition::new(name, when, &of_output(facts, output)).err())
    })
}

/// Without formats, which change no number.
fn of_output(facts: &Facts, output: &Output) -> Decoder {
    let ty = event_type(facts, &output.map, output.r#struct.as_deref());
    let decoder = ty
        .zip(facts.btf.as_ref())
        .and_then(|(ty, btf)| Decoder::new(btf, ty, &Default::default()).ok());
    decoder.unwrap_or_else(Decoder::raw)
}
