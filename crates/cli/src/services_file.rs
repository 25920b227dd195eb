//! `services.toml`: what is read in it, and what it means on this machine.

use std::path::Path;

use skep_api::{PackageSource, Wanted};
use skep_oci::regular;
use skep_spec::source::services::{self, State, is_path};
use skep_spec::source::{Code, Diagnostic, Hint, Mistake, placed};
use skep_spec::{PackageRef, ServiceName};

use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Result, misnamed};
use crate::named;
use crate::options::Choice;

/// Most mistakes that are shown.
const SHOWN: usize = 100;

/// The services of a file. Paths in it are from its folder on.
///
/// # Errors
/// It cannot be read, or has mistakes: all of them, each with its place.
pub fn read(path: &Path, config: &Config) -> Result<Vec<Wanted>> {
    let text = named::read(path, regular::text)?;
    let services = services::parse(&text).map_err(|list| mistaken(path, &list))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut wanted, mut mistakes) = (Vec::new(), Vec::new());
    for (service, one) in services.service {
        match source(&one, folder, config) {
            Ok(package) => wanted.push(meant(service, package, one)),
            Err(error) => mistakes.push(Mistake {
                key: vec!["service".to_owned(), service.to_string(), "package".to_owned()],
                code: Code::Reference,
                message: error.message().to_owned(),
                hint: error.hints().first().cloned().map(Hint::Do),
            }),
        }
    }
    match mistakes.is_empty() {
        true => Ok(wanted),
        false => Err(mistaken(path, &placed(&text, mistakes, &|_| &[]))),
    }
}

fn meant(service: ServiceName, package: PackageSource, one: services::Wanted) -> Wanted {
    let params = one.set.into_iter().map(|(name, value)| (name, value.text())).collect();
    Wanted { service, package, params, held: one.hold, stopped: one.state == State::Stopped }
}

fn source(one: &services::Wanted, folder: &Path, config: &Config) -> Result<PackageSource> {
    if is_path(&one.package) {
        let choice = Choice { package: one.which.clone() };
        return daemon::package(folder.join(&one.package).as_os_str(), choice, config);
    }
    let reference: PackageRef = one.package.parse().map_err(misnamed)?;
    // A hub of this user's wins over the node's.
    Ok(PackageSource::Reference(match &config.hub {
        Some(hub) => reference.or_registry(hub),
        None => reference,
    }))
}

fn mistaken(path: &Path, list: &[Diagnostic]) -> Error {
    let path = path.display();
    let several = if list.len() == 1 { "" } else { "s" };
    let first = format!("{path} has {} mistake{several}:", list.len());
    let lines = list.iter().take(SHOWN).map(|mistake| format!("{path}:{mistake}"));
    let more = list.len().checked_sub(SHOWN).filter(|more| *more > 0);
    let more = more.map(|more| format!("and {more} more"));
    let all = std::iter::once(first).chain(lines).chain(more);
    Error::usage(all.collect::<Vec<_>>().join("\n"))
}
