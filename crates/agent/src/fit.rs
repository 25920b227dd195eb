//! Whether a package that was let in may become a service here: this version can do what its manifest asks for, and
//! its code does no more than its manifest says.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use skep_object::{Facts, declared};
use skep_runtime::RuntimeError;
use skep_trust::{Package, Verified};

use crate::error::Error;

/// The package, if it fits; `given` are the parameters that it would run with.
///
/// # Errors
/// It asks for what this version cannot do, an object cannot be read, or the code does what `[permissions]` leave out.
pub(crate) fn fit(
    package: Verified<Package>,
    given: &BTreeMap<String, String>,
) -> Result<Verified<Package>, Error> {
    supported(&package)?;
    permitted(&package, given)?;
    Ok(package)
}

fn supported(package: &Package) -> Result<(), Error> {
    let unsupported = package.manifest.unsupported();
    if unsupported.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} asks for what this skepd cannot do: {}", name(package), unsupported.join(", "));
    Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, "unsupported", message))
}

fn permitted(package: &Package, given: &BTreeMap<String, String>) -> Result<(), Error> {
    let mut objects = Vec::new();
    for (name, elf) in &package.objects {
        let unreadable = |source| RuntimeError::Object { object: name.clone(), source };
        objects.push(Facts::parse(elf).map_err(unreadable)?);
    }
    declared::hold(&package.manifest, &objects, given).map_err(|exceeded| {
        let message = format!("{} does more than its [permissions] say", name(package));
        let mut error = Error::new(StatusCode::FORBIDDEN, "not-permitted", message)
            .hint("nothing was loaded. skep pack lets no such package out: ask its publisher what the code is for");
        error.body.causes = exceeded.missing;
        error
    })
}

fn name(package: &Package) -> String {
    let package = &package.manifest.package;
    format!("{} {}", package.name, package.version)
}
