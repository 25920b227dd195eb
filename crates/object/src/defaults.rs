//! Objects as their manifest's defaults set them: what a package runs is not what its object says alone.

use std::ops::Range;

use skep_spec::Manifest;

use crate::bound::bindings;
use crate::elf::Elf;
use crate::{Facts, ObjectError};

/// Reads an object with the values in its constants and variables that the manifest's defaults put there before it is
/// loaded.
///
/// A default that does not fit its variable is left out: nothing is installed then.
///
/// # Errors
/// As [`Facts::parse`].
pub fn with_defaults(bytes: &[u8], manifest: &Manifest) -> Result<Facts, ObjectError> {
    let facts = Facts::parse(bytes)?;
    let writes = writes(bytes, &facts, manifest)?;
    if writes.is_empty() {
        return Ok(facts);
    }
    drop(facts);
    let mut own = bytes.to_vec();
    for (range, value) in writes {
        if let Some(place) = own.get_mut(range).filter(|place| place.len() == value.len()) {
            place.copy_from_slice(&value);
        }
    }
    Facts::parse(&own)
}

/// A place in the file, and what stands there then.
type Write = (Range<usize>, Vec<u8>);

/// What the manifest's defaults put into the file.
fn writes(bytes: &[u8], facts: &Facts, manifest: &Manifest) -> Result<Vec<Write>, ObjectError> {
    let params = manifest.param.iter().filter(|(_, param)| param.default.is_some());
    let bound =
        params.flat_map(|(name, param)| bindings(name, param, param.default.as_ref(), false));
    let mut written = bound.filter_map(|binding| binding.write(facts).ok().flatten()).peekable();
    if written.peek().is_none() {
        return Ok(Vec::new());
    }
    let elf = Elf::parse(bytes)?;
    let place = |(name, offset, value): (&str, usize, Vec<u8>)| {
        let (_, section) = elf.section(name)?;
        let end = offset.checked_add(value.len()).filter(|end| *end <= section.data.len())?;
        let start = section.data.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
        Some((start + offset..start + end, value))
    };
    Ok(written.filter_map(place).collect())
}
