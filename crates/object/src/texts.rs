//! How many bytes of names the facts repeat.

use crate::{ObjectError, limits};

/// Counts what is copied out of an object: one long name may be used by thousands of functions, programs and relocations.
#[derive(Default)]
pub(crate) struct Texts {
    bytes: usize,
}

impl Texts {
    /// A copy of a text, if there is room for it.
    pub(crate) fn take(&mut self, text: &str) -> Result<String, ObjectError> {
        self.count(text.len())?;
        Ok(text.to_owned())
    }

    /// Counts bytes that are copied.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), ObjectError> {
        self.bytes += bytes;
        let (found, most) = (self.bytes, limits::TEXT_BYTES);
        let what = "bytes of names that its facts repeat";
        if found > most { Err(ObjectError::Limit { what, found, most }) } else { Ok(()) }
    }
}
