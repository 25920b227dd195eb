//! What a value may look like, as data; and the walk that holds a parsed `skep.toml` against it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Code, Found, Hint};
use crate::nearest::nearest;
use crate::param::Value;

/// What a value may look like.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// `true` or `false`.
    Bool,
    /// An integer from 0 to 2^53 - 1.
    Count,
    /// A string of this form.
    Text(&'static Form),
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A boolean, an integer or a string.
    Scalar,
    /// An array of these.
    List(&'static Shape),
    /// An array of two of these: the lowest and the highest.
    Pair(&'static Shape),
    /// A table with these keys.
    Table(&'static [Key]),
    /// A table whose keys the author chooses, of this form.
    Named(&'static Form, &'static Shape),
}

/// What a string must look like.
pub(super) struct Form {
    /// Whether it does; the error says what it should be.
    pub check: fn(&str) -> Result<(), String>,
    /// The same for JSON Schemas.
    pub said: Said,
}

/// How a schema says what a string must look like.
pub(super) enum Said {
    /// By a pattern.
    Pattern(&'static str),
    /// By a format of the standard's own.
    Format(&'static str),
}

impl Form {
    pub const fn exact(check: fn(&str) -> Result<(), String>, pattern: &'static str) -> Self {
        Self { check, said: Said::Pattern(pattern) }
    }

    pub const fn formatted(check: fn(&str) -> Result<(), String>, format: &'static str) -> Self {
        Self { check, said: Said::Format(format) }
    }
}

/// A key of a table.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
}

/// Where each key and value stands: by its path, `program.exec.target`.
pub(super) type Spans = BTreeMap<String, Range<usize>>;

/// Holds `table` against `keys`; gives the same as JSON, and where everything stands.
pub(super) fn check(table: &DeTable<'_>, keys: &'static [Key], found: &mut Found<'_>) -> Read {
    let mut walk = Walk { found, spans: Spans::new(), broken: BTreeSet::new() };
    let json = walk.table("", 0..0, table, keys);
    Read { json, spans: walk.spans, broken: walk.broken }
}

/// What a text says, as far as its shape is right.
pub(super) struct Read {
    /// Without the tables that have a mistake.
    pub json: Map<String, Json>,
    pub spans: Spans,
    /// Those tables: `package`, `program.exec`.
    pub broken: BTreeSet<String>,
}

/// Whether a dotted key is known; `*` stands for a chosen name.
pub(super) fn knows(keys: &'static [Key], path: &str) -> bool {
    let (first, rest) =
        path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(key) = keys.iter().find(|key| key.name == first) else { return false };
    rest.is_none_or(|rest| knows_inside(&key.shape, rest))
}

fn knows_inside(shape: &'static Shape, path: &str) -> bool {
    match shape {
        Shape::Table(keys) => knows(keys, path),
        Shape::Named(_, inner) => match path.split_once('.') {
            Some((_, rest)) => knows_inside(inner, rest),
            None => true,
        },
        Shape::List(inner) | Shape::Pair(inner) => knows_inside(inner, path),
        _ => false,
    }
}

struct Walk<'f, 't> {
    found: &'f mut Found<'t>,
    spans: Spans,
    broken: BTreeSet<String>,
}

impl Walk<'_, '_> {
    fn table(
        &mut self,
        path: &str,
        span: Range<usize>,
        table: &DeTable<'_>,
        keys: &'static [Key],
    ) -> Map<String, Json> {
        let mut json = Map::new();
        let mut meant = Vec::new();
        for (name, value) in table {
            let text = name.get_ref().as_ref();
            if path.is_empty() && text.starts_with("x-") {
                continue; // the author's own, not ours
            }
            let Some(key) = keys.iter().find(|key| key.name == text) else {
                if let Some(key) = self.unknown(path, name.span(), text, keys) {
                    meant.push(key.name);
                    self.meant(path, key.name, value);
                    self.misnamed(&join(path, text), value, &key.shape);
                }
                continue;
            };
            let before = self.found.list.len();
            let json_of_key = self.value(&join(path, text), value, &key.shape);
            // Of names that the author chose each stands for itself.
            let is_named = json_of_key.is_some() && matches!(key.shape, Shape::Named(..));
            if path.is_empty() && !is_named && self.found.list.len() > before {
                self.broken.insert(text.to_owned());
            } else if let Some(value) = json_of_key {
                json.insert(text.to_owned(), value);
            }
        }
        // A key that was only spelled wrong is one mistake, not two.
        let absent = |key: &&Key| {
            key.required && !table.contains_key(key.name) && !meant.contains(&key.name)
        };
        for key in keys.iter().filter(absent) {
            let place = if path.is_empty() { "the file".to_owned() } else { format!("[{path}]") };
            let message = format!("{place} has no '{}'", key.name);
            self.found.add(Code::Missing, span.clone(), message, None);
            if path.is_empty() {
                self.broken.insert(key.name.to_owned());
            }
        }
        json
    }

    /// Says that a key is unknown, and gives the one that was meant.
    fn unknown(
        &mut self,
        path: &str,
        span: Range<usize>,
        text: &str,
        keys: &'static [Key],
    ) -> Option<&'static Key> {
        let names = keys.iter().map(|key| key.name);
        // A table has few keys, and a file no more letters than its size.
        let near = nearest(text, names.clone());
        let hint = match near {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
        };
        let place = if path.is_empty() { String::new() } else { format!(" in [{path}]") };
        let message = format!("unknown key '{text}'{place}");
        self.found.add(Code::UnknownKey, span, message, Some(Hint::Do(hint)));
        keys.iter().find(|key| Some(key.name) == near)
    }

    /// What stands in a table whose name is spelled wrong is there, for those who name it.
    fn meant(&mut self, path: &str, key: &str, value: &Spanned<DeValue<'_>>) {
        if let (true, DeValue::Table(table)) = (path.is_empty(), value.get_ref()) {
            self.broken.extend(table.keys().map(|name| join(key, name.get_ref())));
        }
    }

    /// A table with a wrong name is held against the one that was meant, for the mistakes in it.
    fn misnamed(&mut self, path: &str, value: &Spanned<DeValue<'_>>, shape: &'static Shape) {
        let is_table = matches!(
            (shape, value.get_ref()),
            (Shape::Table(_) | Shape::Named(..), DeValue::Table(_))
                | (Shape::List(Shape::Table(_)), DeValue::Array(_))
        );
        if is_table {
            self.value(path, value, shape);
        }
    }

    fn value(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        shape: &'static Shape,
    ) -> Option<Json> {
        let span = value.span();
        self.spans.insert(path.to_owned(), span.clone());
        match (shape, value.get_ref()) {
            (Shape::Bool | Shape::Scalar, DeValue::Boolean(value)) => Some(Json::Bool(*value)),
            (Shape::Count, DeValue::Integer(_)) => self.count(path, value),
            (Shape::Scalar, DeValue::Integer(_)) => {
                integer(value.get_ref()).map(|number| match number {
                    Value::Int(number) => Json::from(number),
                    number => Json::String(number.text()),
                })
            }
            (Shape::Scalar, DeValue::String(text)) => Some(Json::String(text.to_string())),
            (Shape::Text(form), DeValue::String(text)) => match (form.check)(text) {
                Ok(()) => Some(Json::String(text.to_string())),
                Err(why) => self.refuse(Code::Value, span, why, None),
            },
            (Shape::Word(words), DeValue::String(text)) => self.word(path, span, text, words),
            (Shape::Pair(_), DeValue::Array(items)) if items.len() != 2 => {
                self.refuse(Code::Value, span, not_a_pair(path, items.len()), None)
            }
            (Shape::List(inner) | Shape::Pair(inner), DeValue::Array(items)) => {
                self.list(path, items, inner)
            }
            (Shape::Table(keys), DeValue::Table(table)) => {
                Some(Json::Object(self.table(path, span, table, keys)))
            }
            (Shape::Named(form, inner), DeValue::Table(table)) => {
                Some(self.named(path, table, form.check, inner))
            }
            (shape, value) => {
                let message =
                    format!("'{path}' should be {}, not {}", expected(shape), actual(value));
                self.refuse(Code::Type, span, message, None)
            }
        }
    }

    fn count(&mut self, path: &str, value: &Spanned<DeValue<'_>>) -> Option<Json> {
        match integer(value.get_ref()) {
            Some(Value::Int(number)) if number >= 0 => Some(Json::from(number)),
            _ => {
                let message = format!("'{path}' should be an integer from 0 to 2^53 - 1");
                self.refuse(Code::Value, value.span(), message, None)
            }
        }
    }

    fn list(
        &mut self,
        path: &str,
        items: &[Spanned<DeValue<'_>>],
        inner: &'static Shape,
    ) -> Option<Json> {
        let each = |(at, item)| self.value(&format!("{path}[{at}]"), item, inner);
        // All of them first: each mistake is said.
        let items: Vec<_> = items.iter().enumerate().map(each).collect();
        items.into_iter().collect::<Option<_>>().map(Json::Array)
    }

    fn word(
        &mut self,
        path: &str,
        span: Range<usize>,
        text: &str,
        words: &[&'static str],
    ) -> Option<Json> {
        if words.contains(&text) {
            return Some(Json::String(text.to_owned()));
        }
        let near = nearest(text, words.iter().copied());
        let hint = near.map(|near| Hint::Do(format!("did you mean '{near}'?")));
        let message = format!("'{path}' is '{text}', it should be one of {}", words.join(", "));
        self.refuse(Code::Value, span, message, hint)
    }

    fn named(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        check: fn(&str) -> Result<(), String>,
        inner: &'static Shape,
    ) -> Json {
        let mut json = Map::new();
        for (name, value) in table {
            let text = name.get_ref().as_ref();
            let before = self.found.list.len();
            if let Err(why) = check(text) {
                self.found.add(Code::Value, name.span(), why, None);
            }
            // What stands there has mistakes of its own.
            let value = self.value(&join(path, text), value, inner);
            match value.filter(|_| self.found.list.len() == before) {
                Some(value) => _ = json.insert(text.to_owned(), value),
                None => _ = self.broken.insert(join(path, text)),
            }
        }
        Json::Object(json)
    }

    fn refuse(
        &mut self,
        code: Code,
        span: Range<usize>,
        message: String,
        hint: Option<Hint>,
    ) -> Option<Json> {
        self.found.add(code, span, message, hint);
        None
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// It has 64 bits: one of more is a mistake of syntax.
fn integer(value: &DeValue<'_>) -> Option<Value> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok().map(Value::integer)
}

/// What an array is told that should have two members.
pub(super) fn not_a_pair(path: &str, members: usize) -> String {
    format!("'{path}' should be [lowest, highest], and has {members} of them")
}

pub(super) fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Bool => "true or false",
        Shape::Count => "an integer",
        Shape::Text(_) | Shape::Word(_) => "a string",
        Shape::Scalar => "a boolean, an integer or a string",
        Shape::List(_) => "an array",
        Shape::Pair(_) => "an array of two: [lowest, highest]",
        Shape::Table(_) | Shape::Named(..) => "a table",
    }
}

fn actual(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction (write it as a string)",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
