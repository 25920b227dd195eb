//! A file that says on which kernels a package was tried: `skep install --report` writes it, `skep attest --report` signs what it
//! says.

use std::path::Path;

use serde::{Deserialize, Serialize};
use skep_api::{ClientError, Detail};
use skep_oci::{durable, regular};
use skep_spec::{PackageName, Version};
use skep_trust::attestation::{Outcome, Tried};

use crate::error::{Context as _, Error, Result, failed};
use crate::named;

/// The codes by which skepd says that no program of the package could run on its kernel. A target that is busy or not there says
/// nothing of the kernel, and with any other code the package was not even tried there.
const REFUSED_BY_KERNEL: [&str; 3] = ["kernel-refused", "load", "no-alternative"];

/// Which package was tried: a version's content never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Files that people write may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    package: Option<Of>,
    kernels: Vec<Tried>,
}

/// What a file says of a package.
///
/// # Errors
/// It cannot be read, is of another package, or says something else.
pub fn read(path: &Path, of: &Of) -> Result<Vec<Tried>> {
    parsed(path, of, &named::read(path, regular::text)?)
}

/// Says what became of a package on a kernel, in the place of what was said of that kernel before. The file is made if need be.
///
/// # Errors
/// It says something else, or cannot be written.
pub fn add(path: &Path, of: Of, tried: Tried) -> Result<()> {
    let mut kernels = match named::read_if_there(path, regular::text)? {
        Some(text) => parsed(path, &of, &text)?,
        None => Vec::new(),
    };
    kernels.retain(|one| (&one.release, &one.arch) != (&tried.release, &tried.arch));
    kernels.push(tried);
    let mut text =
        serde_json::to_vec_pretty(&File { package: Some(of), kernels }).map_err(failed)?;
    text.push(b'\n');
    durable::replace(path, &text, 0o644).context(|| format!("can't write '{}'", path.display()))
}

/// That a file can be added to.
///
/// # Errors
/// As [`add`], before anything was tried.
pub fn can_take(path: &Path, of: &Of) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let what = format!("can't write '{}'", path.display());
        return Err(
            Error::usage(what).because(format!("there is no folder '{}'", folder.display()))
        );
    }
    named::read_if_there(path, regular::text)?
        .map_or(Ok(()), |text| parsed(path, of, &text).map(drop))
}

/// How it went; none where it was not tried. An error of a package that needs others may be about one of those.
pub fn outcome(
    installed: &std::result::Result<Detail, ClientError>,
    needs_others: bool,
) -> Option<Outcome> {
    match installed {
        Ok(detail) if detail.is_adapted() => Some(Outcome::Warned),
        Ok(_) => Some(Outcome::Passed),
        Err(_) if needs_others => None,
        Err(error) => is_kernels_word(error).then_some(Outcome::Failed),
    }
}

/// That nothing is in the file, and why, where an install failed whose [`outcome`] is none.
pub fn unreported(path: &Path, error: &ClientError) -> String {
    let why = match is_kernels_word(error) {
        true => "nobody can tell whether this kernel refuses it, or a package that it needs",
        false => "what stopped it says nothing of this kernel",
    };
    format!("no result was written to '{}': {why}", path.display())
}

fn is_kernels_word(error: &ClientError) -> bool {
    matches!(error, ClientError::Answered(error) if REFUSED_BY_KERNEL.contains(&&*error.code))
}

/// The error of a file that says something else.
pub fn wrong(path: &Path, why: String) -> Error {
    let shown = path.display();
    Error::usage(format!("'{shown}' is no list of kernels and results"))
        .because(why)
        .hint(r#"write {"kernels": [{"release": "6.12.48", "arch": "x86_64", "result": "PASSED"}]}, or WARNED where it ran adapted, or FAILED"#)
}

fn parsed(path: &Path, of: &Of, text: &str) -> Result<Vec<Tried>> {
    let file: File = serde_json::from_str(text).map_err(|error| wrong(path, error.to_string()))?;
    match file.package {
        Some(package) if package != *of => {
            let (shown, Of { name, version }) = (path.display(), &package);
            Err(Error::usage(format!("'{shown}' says how {name} {version} was tried"))
                .because(format!("the package is {} {}", of.name, of.version))
                .hint("each version of a package has a file of its own"))
        }
        _ => Ok(file.kernels),
    }
}
