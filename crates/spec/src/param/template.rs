//! `${param.NAME}` in texts of a manifest.

use super::{ParamError, Value};

/// Most bytes of a text with values in it.
pub const MAX_TEXT: usize = 8192;

/// Puts values, by the names of their parameters, in the places of `${param.NAME}`.
///
/// # Errors
/// A reference to no value, or one that is not `${param.NAME}`; a text that becomes too long.
pub fn substitute<'v>(
    template: &str,
    value: impl Fn(&str) -> Option<&'v Value>,
) -> Result<String, ParamError> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, end) = reference(template, after)?;
        let value = value(name)
            .ok_or_else(|| ParamError::NoValue { template: template.into(), name: name.into() })?;
        add(&mut out, before)?;
        add(&mut out, &value.text())?;
        rest = end;
    }
    add(&mut out, rest)?;
    Ok(out)
}

fn add(out: &mut String, text: &str) -> Result<(), ParamError> {
    if out.len() + text.len() > MAX_TEXT {
        return Err(ParamError::Long);
    }
    out.push_str(text);
    Ok(())
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
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn references_take_values() {
        let values = BTreeMap::from([("f", Value::Text("vfs_read".into()))]);
        let put = |template| substitute(template, |name| values.get(name));
        assert_eq!(put("fentry/${param.f}").unwrap(), "fentry/vfs_read");
        insta::assert_snapshot!(put("xdp/${param.i}").unwrap_err(), @"'xdp/${param.i}' uses ${param.i}, which has no value; give it one: --set i=VALUE");
        insta::assert_snapshot!(put("${env.HOME}").unwrap_err(), @"'${env.HOME}' holds a reference that is not ${param.NAME}");
        assert!(references("${").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            drop(substitute(&text, |_| None));
        }
    }
}
