//! The comparison and the error that every scenario needs.

/// That two values are the same.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, is: T, wanted: T) -> Result<(), String> {
    if is == wanted { Ok(()) } else { Err(format!("{what}: {is:?} instead of {wanted:?}")) }
}

/// An error as a scenario's: its own words, without its causes.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
