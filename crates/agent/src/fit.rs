//! Whether a package that was let in may become a service here: this version can do what its manifest asks for, and
//! its code does no more than its manifest says.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use skep_object::{Facts, declared, event, named};
use skep_runtime::RuntimeError;
use skep_trust::{Package, Verified};

use crate::error::Error;

/// What to do about a package that was not packed by `skep pack`.
const NOT_PACKED: &str =
    "nothing was loaded. skep pack lets no such package out: ask its publisher";

/// The package, if it fits; `given` are the parameters that it would run with.
///
/// # Errors
/// It asks for what this version cannot do, an object cannot be read, the manifest names what no object has, an output's
/// `when` fits no record, or the code
/// does what `[permissions]` leave out.
pub(crate) fn fit(
    package: Verified<Package>,
    given: &BTreeMap<String, String>,
) -> Result<Verified<Package>, Error> {
    supported(&package)?;
    let objects = facts(&package)?;
    named(&package, &objects)?;
    conditioned(&package, &objects)?;
    permitted(&package, &objects, given)?;
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

fn facts(package: &Package) -> Result<Vec<Facts>, Error> {
    let read = |(name, elf): (&String, &Vec<u8>)| {
        let unreadable = |source| RuntimeError::Object { object: name.clone(), source };
        Ok(Facts::parse(elf).map_err(unreadable)?)
    };
    package.objects.iter().map(read).collect()
}

fn named(package: &Package, objects: &[Facts]) -> Result<(), Error> {
    named::are_there(&package.manifest, objects).map_err(|absent| {
        let message = format!("the manifest of {} {absent}", name(package));
        Error::new(StatusCode::UNPROCESSABLE_ENTITY, "absent", message).hint(NOT_PACKED)
    })
}

fn conditioned(package: &Package, objects: &[Facts]) -> Result<(), Error> {
    event::conditions(&package.manifest, objects).map_err(|error| {
        let message = format!("the manifest of {} does not fit: {error}", name(package));
        Error::new(StatusCode::UNPROCESSABLE_ENTITY, "absent", message).hint(NOT_PACKED)
    })
}

fn permitted(
    package: &Package,
    objects: &[Facts],
    given: &BTreeMap<String, String>,
) -> Result<(), Error> {
    declared::hold(&package.manifest, objects, given).map_err(|exceeded| {
        let message = format!("{} does more than its [permissions] say", name(package));
        let mut error = Error::new(StatusCode::FORBIDDEN, "not-permitted", message)
            .hint(format!("{NOT_PACKED} what the code is for"));
        error.body.causes = exceeded.missing;
        error
    })
}

fn name(package: &Package) -> String {
    let package = &package.manifest.package;
    format!("{} {}", package.name, package.version)
}
