//! JSON Schemas (draft 2020-12) of the documents that the standard defines, from the types that read them.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::{Arch, Channel, Digest, PackageName, Range, ServiceName, Version, reference};

/// The schema of the names of part 1: a definition each.
#[must_use]
pub fn names() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let goarch: Vec<&str> = Arch::ALL.iter().map(|arch| arch.goarch()).collect();
    let definitions = [
        ("package", "name.package", PackageName::json_schema(&mut generator).to_value()),
        ("service", "name.service", ServiceName::json_schema(&mut generator).to_value()),
        ("channel", "name.channel", Channel::json_schema(&mut generator).to_value()),
        ("version", "name.version", Version::json_schema(&mut generator).to_value()),
        ("range", "name.range", Range::json_schema(&mut generator).to_value()),
        ("digest", "name.digest", Digest::json_schema(&mut generator).to_value()),
        ("architecture", "name.architecture", Arch::json_schema(&mut generator).to_value()),
        ("goarch", "name.architecture", json!({"type": "string", "enum": goarch})),
        ("reference", "name.reference", json!({"type": "string", "pattern": reference::pattern()})),
    ];
    let definitions = definitions.into_iter().map(|(name, code, mut schema)| {
        schema["x-codes"] = json!({"*": code});
        (name.to_owned(), schema)
    });
    let mut names = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": definitions.collect::<serde_json::Map<_, _>>(),
    });
    mark(&mut names, "names", "The names of part 1, a definition each", &[]);
    names
}

/// The schema of a `T`, without references, so that a small evaluator can follow it.
///
/// `codes` gives the code of a refusal by the keyword that refuses, `*` for those it does not name.
#[must_use]
pub fn of<T: JsonSchema>(title: &str, description: &str, codes: &[(&str, &str)]) -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    mark(&mut schema, title, description, codes);
    schema
}

/// Says what a schema is of, and which codes its refusals have.
pub(crate) fn mark(schema: &mut Value, title: &str, description: &str, codes: &[(&str, &str)]) {
    schema["title"] = json!(title);
    schema["description"] = json!(description);
    if !codes.is_empty() {
        let codes = codes.iter().map(|(word, code)| ((*word).to_owned(), json!(code)));
        schema["x-codes"] = Value::Object(codes.collect());
    }
}

/// Gives a type that is written as text its schema.
#[macro_export]
macro_rules! text_schema {
    ($type:ty, $($schema:tt)*) => {
        impl ::schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({"type": "string", $($schema)*})
            }
        }
    };
}
