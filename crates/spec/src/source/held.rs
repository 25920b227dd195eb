//! A `manifest.json` held against the tables of the standard: the same shapes as the source form's, without positions.

use serde_json::{Map, Value as Json};

use super::Code;
use super::shape::{Key, Shape, expected, not_a_pair};
use crate::chain::line;

/// What a manifest breaks.
pub(crate) struct Broken {
    pub(crate) code: Code,
    pub(crate) why: String,
}

/// Holds an object against the keys that are known; others are of a later version, and left alone.
pub(super) fn table(
    path: &str,
    table: &Map<String, Json>,
    keys: &'static [Key],
) -> Result<(), Broken> {
    for key in keys {
        match table.get(key.name) {
            Some(found) => value(&join(path, key.name), found, &key.shape)?,
            None if key.required => {
                return Err(broken(
                    Code::Missing,
                    format!("'{}' is not there", join(path, key.name)),
                ));
            }
            None => {}
        }
    }
    Ok(())
}

fn value(path: &str, found: &Json, shape: &'static Shape) -> Result<(), Broken> {
    match (shape, found) {
        (Shape::Bool | Shape::Scalar, Json::Bool(_))
        | (Shape::Scalar, Json::Number(_) | Json::String(_)) => Ok(()),
        (Shape::Count, Json::Number(number)) if number.as_u64().is_some() => Ok(()),
        (Shape::Count, Json::Number(_)) => {
            Err(broken(Code::Value, format!("'{path}' should be an integer from 0 on")))
        }
        (Shape::Text(form), Json::String(text)) => {
            (form.check)(text).map_err(|why| broken(Code::Value, format!("'{path}': {why}")))
        }
        (Shape::Word(words), Json::String(text)) if words.contains(&text.as_str()) => Ok(()),
        (Shape::Word(words), Json::String(_)) => {
            let words = words.join(", ");
            Err(broken(Code::Value, format!("'{path}' should be one of {words}")))
        }
        (Shape::Pair(_), Json::Array(items)) if items.len() != 2 => {
            Err(broken(Code::Value, not_a_pair(path, items.len())))
        }
        (Shape::List(inner) | Shape::Pair(inner), Json::Array(items)) => {
            items.iter().try_for_each(|item| value(path, item, inner))
        }
        (Shape::Table(keys), Json::Object(members)) => table(path, members, keys),
        (Shape::Named(form, inner), Json::Object(members)) => {
            members.iter().try_for_each(|(name, member)| {
                (form.check)(name)
                    .map_err(|why| broken(Code::Value, format!("'{path}': {why}")))?;
                value(&join(path, name), member, inner)
            })
        }
        (shape, _) => Err(broken(Code::Type, format!("'{path}' should be {}", expected(shape)))),
    }
}

fn broken(code: Code, why: String) -> Broken {
    Broken { code, why: line(&why) }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
