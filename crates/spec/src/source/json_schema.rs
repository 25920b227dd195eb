//! JSON Schemas (draft 2020-12) of `skep.toml` and `manifest.json`, from the tables that the reader itself goes by.
//!
//! A schema library would derive them from the types, which know less: which words a key takes, which keys the source form
//! adds, what a text looks like. So these few lines write them; what a key means is said by the types' comments.

use serde_json::{Map, Value as Json, json};

use super::Source;
use super::schema::{MANIFEST, TOP};
use super::shape::{Form, Key, Said, Shape};
use crate::Manifest;
use crate::param::MAX_EXACT;

/// The schema of `skep.toml`, which editors complete and check by.
#[must_use]
pub fn source_schema() -> Json {
    let mut schema = table(&TOP, true);
    schema.insert("patternProperties".to_owned(), json!({"^x-": {}}));
    let mut schema = document("skep.toml", "The source form of a skep package", schema);
    for (place, more) in together() {
        extend(&mut schema, place, more);
    }
    describe_members(&mut schema, &crate::schema::of::<Source>("", "", &[]));
    schema
}

/// The schema of `manifest.json`; keys that it does not have are allowed, and ignored.
#[must_use]
pub fn manifest_schema() -> Json {
    let schema = table(&MANIFEST, false);
    let mut schema = document("manifest.json", "The resolved manifest of a skep package", schema);
    for (place, filled_in) in [
        ("/properties/program/additionalProperties/properties/optional", json!(false)),
        ("/properties/alternatives/additionalProperties/properties/otherwise", json!("refuse")),
    ] {
        extend(&mut schema, place, json!({"default": filled_in}));
    }
    describe_members(&mut schema, &crate::schema::of::<Manifest>("", "", &[]));
    schema
}

/// What [`super::check`] looks for, in a schema's words: which keys go together, and which tables a text names. By the
/// place in the schema.
fn together() -> impl Iterator<Item = (&'static str, Json)> {
    objects()
        .into_iter()
        .chain(params())
        .chain(maps())
        .chain(programs())
        .chain(outputs())
        .chain(others())
}

fn objects() -> [(&'static str, Json); 3] {
    let has = |keys: &[&str]| {
        json!({"required": keys, "properties": {
            "sources": {"minItems": 1}, "file": {"minProperties": 1},
        }})
    };
    [
        ("/properties/object", json!({"minProperties": 1})),
        (
            "/properties/object/additionalProperties",
            json!({
                "anyOf": [given("sources"), given("file")],
                "not": {"anyOf": [has(&["sources", "file"]), has(&["arch", "file"])]},
            }),
        ),
        ("/properties/object/additionalProperties/properties/arch", json!({"minItems": 1})),
    ]
}

fn params() -> [(&'static str, Json); 1] {
    let unwritable = ["cidr", "cpus"];
    [(
        "/properties/param/additionalProperties",
        json!({"not": {"anyOf": [
            {"required": ["rodata", "data"]},
            with("rodata", "type", &unwritable),
            with("data", "type", &unwritable),
            without("unit", "type", &["duration"]),
        ]}}),
    )]
}

fn maps() -> [(&'static str, Json); 2] {
    let stays = ["keep", "reset"];
    [
        (
            "/properties/map/additionalProperties",
            json!({"not": {"anyOf": [
                with("fields", "upgrade", &stays),
                with("rename", "upgrade", &stays),
                without("key", "role", &["config"]),
            ]}}),
        ),
        (
            "/properties/map/additionalProperties/properties/max_entries",
            json!({"format": "skep-entries", "x-refers": of_params()}),
        ),
    ]
}

fn programs() -> [(&'static str, Json); 8] {
    let of_kind = |key: &str, kinds: &str| {
        // What parameters choose is not held.
        let other = format!(r"^(?![^/.:]*\$\{{)(?!({kinds})([/.:]|$))");
        json!({"required": [key, "target"], "properties": {"target": {"pattern": other}}})
    };
    [
        (
            "/properties/program/additionalProperties",
            json!({"not": {"anyOf": [
                of_kind("pid", "u(ret)?probe|usdt|perf_event"),
                of_kind("exclusive", "xdp"),
            ]}}),
        ),
        (
            "/properties/program/additionalProperties/properties/object",
            json!({"x-refers": whole("object")}),
        ),
        (
            "/properties/program/additionalProperties/properties/requires-param",
            json!({"x-refers": whole("param")}),
        ),
        (
            "/properties/program/additionalProperties/properties/pid",
            json!({"x-refers": of_params()}),
        ),
        (
            "/properties/program/additionalProperties/properties/target",
            json!({"x-refers": of_params()}),
        ),
        ("/properties/alternatives/additionalProperties/properties/try", json!({"minItems": 1})),
        (
            "/properties/alternatives/additionalProperties/properties/try/items",
            json!({"minItems": 1}),
        ),
        (
            "/properties/alternatives/additionalProperties/properties/try/items/items",
            json!({"x-refers": whole("program")}),
        ),
    ]
}

fn outputs() -> [(&'static str, Json); 2] {
    [
        (
            "/properties/output/additionalProperties",
            json!({"not": {"anyOf": [
                without("struct", "kind", &["event"]),
                without("when", "kind", &["event"]),
                without("buckets", "kind", &["histogram"]),
                with("value", "kind", &["event"]),
                with("labels", "kind", &["event"]),
            ]}}),
        ),
        (
            "/properties/output/additionalProperties/properties/fields/additionalProperties",
            json!({"not": without("process", "format", &["ustack"])}),
        ),
    ]
}

fn others() -> [(&'static str, Json); 2] {
    [
        (
            "/properties/health/properties/conditions/items",
            json!({"x-refers": {
                r"^(?:attached\((?!all\))|runs\(|time\()([^)]*)": [["program"], ["alternatives"]],
                r"^(?:events|lost)\(([^)]*)": [["output", "event"]],
                r"^value\(([^)]*)": [["output", "counter", "gauge"]],
            }}),
        ),
        (
            "/properties/test/items/properties/expect/properties/output",
            json!({"x-refers": whole("output")}),
        ),
    ]
}

/// That a text is the name of a table.
fn whole(table: &str) -> Json {
    json!({"^(.*)$": [[table]]})
}

/// That a text has references to parameters.
fn of_params() -> Json {
    json!({r"\$\{param\.([^}]*)\}": [["param"]]})
}

/// That a key is there and not empty, and another one is none of some words.
fn without(key: &str, other: &str, words: &[&str]) -> Json {
    let mut shape = given(key);
    shape["not"] = json!({"required": [other], "properties": {other: {"enum": words}}});
    shape
}

/// That a key is there and not empty.
fn given(key: &str) -> Json {
    json!({"required": [key], "properties": {key: {"minItems": 1, "minProperties": 1}}})
}

/// The same, where another key is one of some words.
fn with(key: &str, other: &str, words: &[&str]) -> Json {
    let mut shape = given(key);
    shape["properties"][other] = json!({"enum": words});
    shape
}

/// Adds words to the schema at a place.
fn extend(schema: &mut Json, place: &str, more: Json) {
    if let (Some(Json::Object(schema)), Json::Object(more)) = (schema.pointer_mut(place), more) {
        schema.extend(more);
    }
}

/// Gives a schema, and each key in it, the description that the type has: editors show it.
fn describe(schema: &mut Json, typed: &Json) {
    if let Some(text) = typed.get("description").and_then(Json::as_str) {
        schema["description"] = json!(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    describe_members(schema, typed);
}

fn describe_members(schema: &mut Json, typed: &Json) {
    // What is optional is "this, or null" in a type's schema.
    let typed = typed.pointer("/anyOf/0").unwrap_or(typed);
    if let Some(Json::Object(keys)) = schema.get_mut("properties") {
        for (key, schema) in keys {
            describe(schema, &typed["properties"][key]);
        }
    }
    // Names that the author chooses are a pattern where their type has one.
    let named = typed["patternProperties"].as_object().and_then(|named| named.values().next());
    let named = named.unwrap_or(&typed["additionalProperties"]);
    for (inner, typed) in [("additionalProperties", named), ("items", &typed["items"])] {
        if let Some(schema @ Json::Object(_)) = schema.get_mut(inner) {
            describe(schema, typed);
        }
    }
}

/// The codes of [`super::Code`], by the keyword that finds the mistake.
const CODES: &[(&str, &str)] = &[
    ("type", "manifest.type"),
    ("required", "manifest.missing"),
    ("minProperties", "manifest.missing"),
    ("anyOf", "manifest.missing"),
    ("not", "manifest.conflict"),
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
        Shape::Pair(inner) => json!({
            "type": "array", "items": value(inner, closed), "minItems": 2, "maxItems": 2,
        }),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys without a sentence, below `path`.
    fn silent(path: &str, schema: &Json) -> Vec<String> {
        let keys = schema["properties"].as_object().into_iter().flatten();
        let mut found: Vec<String> = keys
            .flat_map(|(key, schema)| {
                let path = format!("{path}.{key}");
                let text = schema["description"].as_str().unwrap_or_default();
                let fine = text.ends_with('.') && text.len() > 20 && !text.contains('\n');
                let mut found = silent(&path, schema);
                found.extend((!fine).then_some(path));
                found
            })
            .collect();
        let inner = ["additionalProperties", "items"].map(|inner| &schema[inner]);
        for schema in inner.into_iter().filter(|schema| schema.is_object()) {
            found.extend(silent(&format!("{path}.*"), schema));
        }
        found
    }

    #[test]
    fn each_key_says_what_it_is() {
        assert_eq!(silent("skep.toml", &source_schema()), Vec::<String>::new());
        assert_eq!(silent("manifest.json", &manifest_schema()), Vec::<String>::new());
        let max_entries = "/properties/map/additionalProperties/properties/max_entries/description";
        assert_eq!(
            source_schema().pointer(max_entries),
            Some(&json!(
                "Entries, or bytes of a ring buffer: an integer, a size such as `64KiB`, or `${param.NAME}`; default: the object's own."
            ))
        );
    }
}
