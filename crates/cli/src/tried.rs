//! A file that says on which kernels a package was tried: `skep install --report` writes it, `skep attest --report` signs what it
//! says.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skep_api::{ClientError, Detail};
use skep_oci::{durable, regular};
use skep_trust::attestation::{Outcome, Tried};

use crate::error::{Context as _, Error, Result, failed};
use crate::named;

/// The codes by which skepd says that the package did not run on its kernel. With any other it was not even tried there.
const REFUSED_BY_KERNEL: [&str; 4] = ["attach", "kernel-refused", "load", "no-alternative"];

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kernels: Vec<Tried>,
}

/// What a file says.
///
/// # Errors
/// It cannot be read, or says something else.
pub fn read(path: &Path) -> Result<Vec<Tried>> {
    parsed(path, &named::read(path, regular::text)?)
}

/// Says what became of a package on a kernel, in the place of what was said of that kernel before. The file is made if need be.
///
/// # Errors
/// It says something else, or cannot be written.
pub fn add(path: &Path, tried: Tried) -> Result<()> {
    let mut kernels = match before(path)? {
        Some(text) => parsed(path, &text)?,
        None => Vec::new(),
    };
    kernels.retain(|one| (&one.release, &one.arch) != (&tried.release, &tried.arch));
    kernels.push(tried);
    let mut text = serde_json::to_vec_pretty(&File { kernels }).map_err(failed)?;
    text.push(b'\n');
    durable::replace(path, &text, 0o644).context(|| format!("can't write '{}'", path.display()))
}

/// That a file can be added to.
///
/// # Errors
/// As [`add`], before anything was tried.
pub fn can_take(path: &Path) -> Result<()> {
    before(path)?.map_or(Ok(()), |text| parsed(path, &text).map(drop))
}

/// How it went; none where it was not tried.
pub fn outcome(installed: &std::result::Result<Detail, ClientError>) -> Option<Outcome> {
    match installed {
        Ok(detail) if detail.is_adapted() => Some(Outcome::Warned),
        Ok(_) => Some(Outcome::Passed),
        Err(ClientError::Answered(error)) if REFUSED_BY_KERNEL.contains(&&*error.code) => {
            Some(Outcome::Failed)
        }
        Err(_) => None,
    }
}

/// The error of a file that says something else.
pub fn wrong(path: &Path, why: String) -> Error {
    let shown = path.display();
    Error::usage(format!("'{shown}' is no list of kernels and results"))
        .because(why)
        .hint(r#"write {"kernels": [{"release": "6.12.48", "arch": "x86_64", "result": "PASSED"}]}, or WARNED where it ran adapted, or FAILED"#)
}

fn before(path: &Path) -> Result<Option<String>> {
    named::read(path, |path| match regular::text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    })
}

fn parsed(path: &Path, text: &str) -> Result<Vec<Tried>> {
    let file: File = serde_json::from_str(text).map_err(|error| wrong(path, error.to_string()))?;
    Ok(file.kernels)
}
