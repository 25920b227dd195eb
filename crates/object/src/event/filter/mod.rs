//! Which records a person wants to see: `latency > 1ms && comm == "nginx"`, as part 7 of the standard has it.

mod bind;
mod parse;

pub use bind::Bound;
pub(super) use bind::path_of;

use parse::Expression;

/// A condition on records, of whatever type they are.
#[derive(Clone, Debug)]
pub struct Filter(Expression);

/// Why a text is no condition, or none on records of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is not in the grammar.
    #[error("character {at} of '{}': {needs}", text.escape_debug())]
    Syntax {
        /// The whole condition.
        text: String,
        /// Counted from 1.
        at: usize,
        /// What should stand there.
        needs: &'static str,
    },
    /// It is too long, too deep, or has too many comparisons.
    #[error("a condition has at most {most} {what}")]
    Limit {
        /// Bytes, levels, comparisons.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// The record has no such field.
    #[error("there is no field '{field}'{}; there are {}", near.as_ref().map(|near| format!(", did you mean '{near}'?")).unwrap_or_default(), super::error::named(fields))]
    NoField {
        /// What was named.
        field: String,
        /// The nearest that there is.
        near: Option<String>,
        /// What there is.
        fields: String,
    },
    /// The field is never so.
    #[error("{field} is compared with {takes}, not with '{}'", found.escape_debug())]
    Value {
        /// The field.
        field: String,
        /// What fits.
        takes: String,
        /// What stands there.
        found: String,
    },
    /// The field is not compared so.
    #[error("{field} is {ty}: {takes}")]
    Operator {
        /// The field.
        field: String,
        /// What it is.
        ty: &'static str,
        /// What can be asked of it.
        takes: &'static str,
    },
}

impl Filter {
    /// Reads a condition.
    ///
    /// # Errors
    /// It is not in the grammar.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }
}
