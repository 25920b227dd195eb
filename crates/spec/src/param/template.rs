//! `${param.NAME}` in texts of a manifest.

use std::collections::BTreeMap;

use super::{ParamError, Value};

/// Puts values in the places of `${param.NAME}`.
///
/// # Errors
/// A reference to no value, or one that is not `${param.NAME}`.
pub fn substitute(template: &str, values: &BTreeMap<String, Value>) -> Result<String, ParamError> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, end) = reference(template, after)?;
        let value = values.get(name);
        let value = value
            .ok_or_else(|| ParamError::NoValue { template: template.into(), name: name.into() })?;
        out.push_str(before);
        out.push_str(&value.text());
        rest = end;
    }
    out.push_str(rest);
    Ok(out)
}

/// The names of the parameters that a text refers to.
///
/// # Errors
/// A reference that is not `${param.NAME}`.
pub fn references(template: &str) -> Result<Vec<&str>, ParamError> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((_, after)) = rest.split_once("${") {
        let (name, end) = reference(template, after)?;
        names.push(name);
        rest = end;
    }
    Ok(names)
}

fn reference<'a>(template: &str, after: &'a str) -> Result<(&'a str, &'a str), ParamError> {
    let wrong = || ParamError::Reference(template.to_owned());
    let (inside, end) = after.split_once('}').ok_or_else(wrong)?;
    let name = inside.strip_prefix("param.").ok_or_else(wrong)?;
    Ok((name, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_take_values() {
        let values = BTreeMap::from([("f".to_owned(), Value::Text("vfs_read".into()))]);
        assert_eq!(substitute("fentry/${param.f}", &values).unwrap(), "fentry/vfs_read");
        insta::assert_snapshot!(substitute("xdp/${param.i}", &values).unwrap_err(), @"'xdp/${param.i}' uses ${param.i}, which has no value; give it one: --set i=VALUE");
        insta::assert_snapshot!(substitute("${env.HOME}", &values).unwrap_err(), @"'${env.HOME}' holds a reference that is not ${param.NAME}");
        assert!(references("${").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            drop(substitute(&text, &BTreeMap::new()));
        }
    }
}
