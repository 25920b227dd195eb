//! Prog arrays: which program a stub calls. One empties when its last fd or pin goes, so pin it.

use std::os::fd::{AsFd, AsRawFd};

use super::elements::Update;
use super::{MapHandle, MapSpec, kind};
use crate::error::KernelError;
use crate::program::Program;

/// Makes an empty prog array of `len` slots.
///
/// # Errors
/// As [`MapHandle::create`].
pub fn create(name: &str, len: u32) -> Result<MapHandle, KernelError> {
    MapHandle::create(&MapSpec {
        name: name.to_owned(),
        kind: kind::PROG_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: len,
        flags: 0,
    })
}

/// Puts `program` into slot `index`: one store in the kernel.
///
/// # Errors
/// EINVAL if the slot's first program was of another kind (the kernel's compatibility check).
pub fn set(slots: &MapHandle, index: u32, program: &Program) -> Result<(), KernelError> {
    let fd = program.as_fd().as_raw_fd();
    slots.update(&index.to_ne_bytes(), &fd.to_ne_bytes(), Update::Any).map_err(|e| {
        if e.errno() == Some(libc::EINVAL) {
            let why = "the slots hold programs of another kind or hook than this one";
            return e.with_hint(format!("{why}: '{}'", program.name()));
        }
        e
    })
}

/// Empties slot `index`; says whether it held a program.
///
/// # Errors
/// As [`MapHandle::delete`].
pub fn clear(slots: &MapHandle, index: u32) -> Result<bool, KernelError> {
    slots.delete(&index.to_ne_bytes())
}

/// The id of the program in slot `index`.
///
/// # Errors
/// As [`MapHandle::lookup`].
pub fn program_id(slots: &MapHandle, index: u32) -> Result<Option<u32>, KernelError> {
    let value = slots.lookup(&index.to_ne_bytes())?;
    Ok(value.and_then(|v| <[u8; 4]>::try_from(v).ok()).map(u32::from_ne_bytes))
}
