//! What the commands that ask skepd share.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use skep_api::{Client, ClientError, PackageSource};
use skep_spec::nearest::nearest;
use skep_spec::{PackageRef, ServiceName};

use crate::config::Config;
use crate::error::{Context as _, Error, Result, of_daemon};
use crate::options::Choice;
use crate::place::{self, Place};
use crate::waiting::block_on;

/// A client of this machine's skepd.
pub fn client(config: &Config) -> Client {
    Client::new(&config.socket)
}

/// Asks skepd.
///
/// # Errors
/// No daemon, no permission, or what skepd answered, with what to do next.
pub fn ask<T>(work: impl Future<Output = Result<T, ClientError>>) -> Result<T> {
    block_on(async { work.await.map_err(of_daemon) })
}

/// Asks skepd about one service; where there is none of that name, the error has the nearest that there is.
///
/// # Errors
/// As [`ask`].
pub fn ask_about<T>(
    client: &Client,
    service: &ServiceName,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T> {
    block_on(async {
        match work.await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(with_nearest(client, service, of_daemon(error)).await),
        }
    })
}

/// A service's name, as typed.
///
/// # Errors
/// It cannot be one.
pub fn service(text: &str) -> Result<ServiceName> {
    text.parse().map_err(|error: skep_spec::name::NameError| Error::usage(error.to_string()))
}

/// What a flag was given, each name once; `form` is how its help writes that, such as `NAME=VALUE`.
///
/// # Errors
/// Not of that form, or a name twice.
pub fn pairs(flag: &str, form: &str, list: &[String]) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for text in list {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("{flag} {text}: it should be {form}")))?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Error::usage(format!("{flag} {name} is given twice")));
        }
    }
    Ok(pairs)
}

/// A path as skepd finds it, which is asked in JSON.
fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = path.canonicalize().context(|| format!("can't find {}", path.display()))?;
    if absolute.to_str().is_some() {
        return Ok(absolute);
    }
    let shown = absolute.display();
    Err(Error::usage(format!("skepd cannot be asked for '{shown}': its path is no UTF-8"))
        .hint("skepd is asked in JSON, which has no such names: give it another one, or push the package to a registry"))
}

/// A package as skepd is asked for it: a folder is a layout on this machine, a file a bundle.
///
/// # Errors
/// It is neither a layout nor a bundle nor a reference.
pub fn package(what: &OsStr, choice: Choice, config: &Config) -> Result<PackageSource> {
    let (path, shown) = (Path::new(what), what.display());
    if path.is_dir() {
        if path.join("skep.toml").is_file() {
            return Err(Error::usage(format!("'{shown}' is a project, not a package")).hint(
                format!("skep pack {shown} -o LAYOUT, then install LAYOUT; or skep run {shown}"),
            ));
        }
        place::layout(path)?;
        return Ok(PackageSource::Layout { path: absolute(path)?, package: choice.package });
    }
    if path.exists() {
        let Place::Bundle(_) = Place::parse(what, &choice, config)? else {
            return Err(Error::usage(format!("'{shown}' is neither a file nor a folder")));
        };
        return Ok(PackageSource::Bundle { path: absolute(path)?, package: choice.package });
    }
    let Some(text) = what.to_str().filter(|text| !place::is_path(text)) else {
        return Err(Error::usage(format!("there is no folder '{shown}'")).hint(
            "give the folder of an OCI layout, a bundle, or [registry/]publisher/name:version",
        ));
    };
    choice.is_not_for_references()?;
    let reference: PackageRef =
        text.parse().map_err(|error: skep_spec::reference::ReferenceError| {
            Error::usage(error.to_string())
                .hint(format!("there is no folder '{text}' either, which would be a layout"))
        })?;
    // A hub of this user's wins over the node's.
    let reference = match &config.hub {
        Some(hub) => reference.or_registry(hub),
        None => reference,
    };
    Ok(PackageSource::Reference(reference))
}

/// Adds the nearest name there is to an error about a service that is not there.
async fn with_nearest(client: &Client, name: &ServiceName, error: Error) -> Error {
    let Ok(services) = client.services().await else { return error };
    let names = services.iter().map(|status| status.service.as_str());
    match nearest(name.as_str(), names) {
        Some(near) if near != name.as_str() => error.hint(format!("did you mean '{near}'?")),
        _ => error,
    }
}
