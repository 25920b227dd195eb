//! Why records of a type cannot be read as the manifest wants them.

use super::Format;

/// Why no decoder can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecoderError {
    /// The type has no size.
    #[error("a record cannot be a {ty}: it has no size")]
    NoSize {
        /// The type as C writes it.
        ty: String,
    },
    /// A member lies outside of its struct: no compiler makes that.
    #[error("field '{field}' reaches beyond its {ty}")]
    Beyond {
        /// The field.
        field: String,
        /// The struct.
        ty: String,
    },
    /// Two members of one name: no compiler makes that.
    #[error("a {ty} has two members '{field}'")]
    Twice {
        /// The name.
        field: String,
        /// The struct.
        ty: String,
    },
    /// Too many fields, too deep, or names that are too long.
    #[error("a {ty} has more than {most} {what}")]
    Limit {
        /// The type.
        ty: String,
        /// Fields, levels, or bytes of paths.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// The manifest formats a field that is not there.
    #[error("there is no field '{field}' in {ty}; it has {}", named(fields))]
    NoField {
        /// The field.
        field: String,
        /// The type.
        ty: String,
        /// What there is.
        fields: String,
    },
    /// The manifest counts a field that is no number, or not there.
    #[error("there is no number '{field}' in {ty}; it has {fields}")]
    NoNumber {
        /// The field.
        field: String,
        /// The type.
        ty: String,
        /// What numbers there are.
        fields: String,
    },
    /// The manifest shows a histogram of a field that is no list of counts, or not there.
    #[error("there is no array of integers{} in {ty}; it has {fields}", of(field))]
    NoCounts {
        /// The field; empty where the whole is meant.
        field: String,
        /// The type.
        ty: String,
        /// What arrays of integers there are.
        fields: String,
    },
    /// The manifest names a format that nobody knows.
    #[error("field '{field}': there is no format '{format}'; use one of {}", Format::NAMES.join(", "))]
    NoFormat {
        /// The field.
        field: String,
        /// The format.
        format: String,
    },
    /// The format is for other types.
    #[error("field '{field}' is a {ty}: format '{format}' takes {takes}")]
    Mismatch {
        /// The field.
        field: String,
        /// Its type.
        ty: String,
        /// The format.
        format: String,
        /// What the format is for.
        takes: &'static str,
    },
    /// A unit that nobody knows.
    #[error("field '{field}': there is no unit '{unit}' for {format}; use {known}")]
    Unit {
        /// The field.
        field: String,
        /// The unit.
        unit: String,
        /// The format.
        format: String,
        /// What there is.
        known: &'static str,
    },
}

impl DecoderError {
    /// A field that is not there, and those that are, with `, ` between them.
    #[must_use]
    pub fn misnamed(&self) -> Option<(&str, &str)> {
        match self {
            Self::NoField { field, fields, .. } | Self::NoNumber { field, fields, .. } => {
                Some((field, fields))
            }
            _ => None,
        }
    }
}

/// What there is, in a sentence.
pub(super) fn named(fields: &str) -> &str {
    if fields.is_empty() { "none" } else { fields }
}

/// A field in a sentence.
fn of(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(" '{field}'") }
}

#[cfg(test)]
mod tests {
    use super::DecoderError;

    #[test]
    fn what_has_no_fields_is_said_to_have_none() {
        let said = |fields: &str| {
            let (field, ty) = ("zz".to_owned(), "u64[4]".to_owned());
            DecoderError::NoField { field, ty, fields: fields.to_owned() }.to_string()
        };
        assert_eq!(said(""), "there is no field 'zz' in u64[4]; it has none");
        assert_eq!(said("a, b"), "there is no field 'zz' in u64[4]; it has a, b");
    }
}
