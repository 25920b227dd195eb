//! JSON Schemas (draft 2020-12) of `skep.toml` and `manifest.json`, from the tables that the reader itself goes by.
//!
//! A schema library would derive them from the types, which know less: which words a key takes, which keys the source form
//! adds, what a text looks like. So these few lines write them.

use serde_json::{Map, Value as Json, json};

use super::schema::{MANIFEST, TOP};
use super::shape::{Form, Key, Said, Shape};
use crate::param::MAX_EXACT;

/// The schema of `skep.toml`, which editors complete and check by.
#[must_use]
pub fn source_schema() -> Json {
    let mut schema = table(&TOP, true);
    schema.insert("patternProperties".to_owned(), json!({"^x-": {}}));
    document("skep.toml", "The source form of a skep package", schema)
}

/// The schema of `manifest.json`; keys that it does not have are allowed, and ignored.
#[must_use]
pub fn manifest_schema() -> Json {
    document("manifest.json", "The resolved manifest of a skep package", table(&MANIFEST, false))
}

/// The codes of [`super::Code`], by the keyword that finds the mistake.
const CODES: &[(&str, &str)] = &[
    ("type", "manifest.type"),
    ("required", "manifest.missing"),
    ("additionalProperties", "manifest.unknown-key"),
    ("*", "manifest.value"),
];

fn document(title: &str, description: &str, schema: Map<String, Json>) -> Json {
    let mut whole = Json::Object(schema);
    whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    crate::schema::mark(&mut whole, title, description, CODES);
    whole
}

fn table(keys: &'static [Key], closed: bool) -> Map<String, Json> {
    let members = keys.iter().map(|key| (key.name.to_owned(), value(&key.shape, closed)));
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Json::Object(members.collect()));
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    if closed {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    schema
}

fn value(shape: &'static Shape, closed: bool) -> Json {
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Count => json!({"type": "integer", "minimum": 0, "maximum": MAX_EXACT}),
        Shape::Scalar => json!({"type": ["boolean", "integer", "string"]}),
        Shape::Text(form) => text(form),
        Shape::Word(words) => json!({"type": "string", "enum": words}),
        Shape::List(inner) => json!({"type": "array", "items": value(inner, closed)}),
        Shape::Table(keys) => Json::Object(table(keys, closed)),
        Shape::Named(form, inner) => json!({
            "type": "object",
            "propertyNames": text(form),
            "additionalProperties": value(inner, closed),
        }),
    }
}

fn text(form: &'static Form) -> Json {
    match form.said {
        Said::Pattern("") => json!({"type": "string"}),
        Said::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
        Said::Format(format) => json!({"type": "string", "format": format}),
    }
}
