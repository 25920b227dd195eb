//! Where a package is: an OCI layout on disk, a file that `skep bundle` made, or a reference to a registry.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use skep_oci::archive::{self, BundleError};
use skep_oci::registry::{Carried, Options, Registry, Settings, can_be_asked};
use skep_oci::{Credentials, RegistryError, Store, StoreError};
use skep_spec::{Digest, PackageRef};

use crate::config::Config;
use crate::error::{Error, Kind, Result, failed, misnamed, not_chosen};
use crate::options::{Choice, Transport};
use crate::output::{Output, bytes};
use crate::passing::interruptible;

/// A package's place, as it was typed.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder.
    Layout(PathBuf),
    /// A file.
    Bundle(PathBuf),
    /// A registry, filled in from the configured hub where the text had none.
    Registry(PackageRef),
}

impl Place {
    /// A folder that exists is a layout, a file a bundle, anything else a reference, beside which nothing is to choose.
    ///
    /// # Errors
    /// It is none of these, names no registry and no hub is configured, or names a package beside one that is chosen.
    pub fn parse(what: &OsStr, choice: &Choice, config: &Config) -> Result<Self> {
        let (path, shown) = (Path::new(what), what.display());
        if path.is_dir() {
            return Ok(Self::Layout(what.into()));
        }
        if path.is_file() {
            return match archive::is_archive(path) {
                true => Ok(Self::Bundle(what.into())),
                false => Err(Error::usage(format!("the file '{shown}' is no bundle of packages"))
                    .hint("give what skep bundle made, the folder of an OCI layout, or publisher/name:version")),
            };
        }
        let Some(text) = what.to_str().filter(|text| !is_path(text)) else {
            return Err(Error::usage(format!("there is no folder '{shown}'"))
                .hint("give the folder of an OCI layout, a bundle, or publisher/name:version"));
        };
        let reference = reference(text, config).map_err(|error| {
            error.hint(format!("there is no folder '{text}' either, which would be a layout"))
        })?;
        if let Some(host) = &reference.registry
            && let Err(why) = can_be_asked(host)
        {
            let neither = format!("there is no folder '{text}', and '{host}' is no registry");
            return Err(Error::usage(neither).because(why));
        }
        choice.is_not_for_references()?;
        Ok(Self::Registry(reference))
    }
}

/// Whether a text can only be meant as a path: no reference begins like this.
pub fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.', '~'])
}

/// A reference with its registry.
///
/// # Errors
/// It is none, or names no registry and no hub is configured.
pub fn reference(text: &str, config: &Config) -> Result<PackageRef> {
    let reference: PackageRef = text.parse().map_err(|e| Error::usage(format!("{e}")))?;
    match (&reference.registry, &config.hub) {
        (None, None) => Err(Error::usage(format!("'{text}' names no registry, and no hub is set"))
            .hint("write host[:port]/publisher/name:version, or set SKEP_HUB=host[:port]")),
        (None, Some(hub)) => Ok(reference.or_registry(hub)),
        (Some(_), _) => Ok(reference),
    }
}

/// Whether a text is a registry, and maybe a path in it: `host[:port][/path]`.
///
/// # Errors
/// It is none.
pub fn is_registry(to: &str) -> Result<()> {
    // Whatever its packages are called, this says what is wrong with the registry itself.
    let example = format!("{to}/publisher/name").parse::<PackageRef>();
    match example.is_ok_and(|found| found.registry.is_some()) {
        true => Ok(()),
        false => Err(Error::usage(format!("'{to}' is no registry"))
            .hint("give host[:port] or host[:port]/path, without https://")),
    }
}

/// Where a package is in a registry: `host[:port][/path]`.
///
/// # Errors
/// That is none.
pub fn within(to: &str, name: &PackageRef) -> Result<PackageRef> {
    is_registry(to)?;
    format!("{to}/{name}").parse().map_err(failed)
}

/// The registry of a reference, with docker's credentials.
///
/// # Errors
/// No HTTP client can be made.
pub fn registry(reference: &PackageRef, transport: Transport, config: &Config) -> Result<Registry> {
    Registry::of(reference, docker_options(transport, config)?).map_err(failed)
}

/// The registry at `host[:port]`, with docker's credentials.
///
/// # Errors
/// No HTTP client can be made.
pub fn registry_at(host: &str, transport: Transport, config: &Config) -> Result<Registry> {
    Registry::new(host, docker_options(transport, config)?).map_err(failed)
}

fn docker_options(transport: Transport, config: &Config) -> Result<Options> {
    let file = config.docker_config.as_ref().map(|folder| folder.join("config.json"));
    let credentials = file.map_or(Credentials::Anonymous, Credentials::DockerConfig);
    options(credentials, transport, config)
}

/// How registries are spoken to.
///
/// # Errors
/// `registries.toml` has a mistake.
pub fn options(credentials: Credentials, transport: Transport, config: &Config) -> Result<Options> {
    let settings = Settings::read(&config.config_dir.join("registries.toml")).map_err(misnamed)?;
    let Transport { plain_http } = transport;
    Ok(Options { credentials, plain_http, settings, ..Options::default() })
}

/// Asks a registry.
///
/// # Errors
/// What it does not give or take, or a signal came.
pub fn ask<T>(work: impl Future<Output = Result<T, RegistryError>>) -> Result<T> {
    interruptible(async { work.await.map_err(failed) })
}

/// What lies under a tag of keys or of a channel, for who puts something there.
#[derive(Default)]
pub struct Lying {
    /// The bundles; none where nothing lies there.
    pub bundles: Vec<Vec<u8>>,
    /// Why what lies there is none that anybody reads: it gives way.
    pub junk: Option<String>,
}

impl Lying {
    /// What has to be there still when something else is put there; nothing has where that is junk.
    #[must_use]
    pub fn before(&self) -> Option<&[Vec<u8>]> {
        self.junk.is_none().then_some(&self.bundles)
    }
}

/// Asks a registry for what lies under such a tag.
///
/// # Errors
/// As [`ask`]; what nobody reads is none.
pub fn lying(work: impl Future<Output = Result<Vec<Vec<u8>>, RegistryError>>) -> Result<Lying> {
    interruptible(async {
        match work.await {
            Err(RegistryError::Junk { why, .. }) => {
                Ok(Lying { junk: Some(why), ..Lying::default() })
            }
            bundles => Ok(Lying { bundles: bundles.map_err(failed)?, junk: None }),
        }
    })
}

/// That a version is not there with other content, which whoever knows its digest would miss.
///
/// # Errors
/// It is.
pub fn is_free(registry: &Registry, reference: &PackageRef, digest: Digest) -> Result<()> {
    let there = interruptible(async {
        match registry.without_mirrors().resolve(reference).await {
            // Who may only push is told nothing.
            Err(RegistryError::NotFound { .. } | RegistryError::Forbidden { .. }) => Ok(None),
            there => there.map(Some).map_err(failed),
        }
    })?;
    match there.filter(|there| *there != digest) {
        None => Ok(()),
        Some(there) => Err(another(reference, there, digest)
            .hint("a version never changes: raise it; or --force replaces what is there")),
    }
}

/// A version that is there already, and is another one.
pub fn another(reference: &PackageRef, there: Digest, ours: Digest) -> Error {
    let what = format!("{reference} is there already, and is another one: {there}");
    Error::new(Kind::Failed, what).because(format!("what would be there is {ours}"))
}

/// How many signatures and other referrers a package has with it, for people.
#[must_use]
pub fn came_along(signatures: usize, others: usize) -> String {
    let signed = match signatures {
        0 => "unsigned".to_owned(),
        1 => "1 signature".to_owned(),
        several => format!("{several} signatures"),
    };
    if others == 0 { signed } else { format!("{signed}, {others} other referrers") }
}

/// Says if not everything that refers to a package came along.
pub fn note_left(carried: &Carried, output: &Output) {
    if carried.left > 0 {
        output.note(&format!(
            "note: {} signatures or other referrers were left in the registry: it has more than are carried along ({} for a digest, {})",
            carried.left,
            Carried::MOST,
            bytes(Carried::BYTES)
        ));
    }
}

/// A layout that is there.
///
/// # Errors
/// The folder holds none.
pub fn layout(path: &Path) -> Result<Store> {
    Store::open(path).map_err(|error| match error {
        StoreError::NotALayout(_) | StoreError::Io { .. } => misnamed(error),
        error => failed(error),
    })
}

/// The one package of a layout, or the one of several that `wanted` names, with its own name and version.
///
/// # Errors
/// There is none, or there are several and none is named.
pub fn package(store: &Store, wanted: Option<&PackageRef>) -> Result<(PackageRef, Digest)> {
    store.the_package(wanted).map_err(not_chosen)
}

/// The same of a bundle, of which all is checked; that package alone is put into `store`.
///
/// # Errors
/// As [`package`], and when the file is no bundle or not whole.
pub fn out_of_bundle(
    file: &Path,
    wanted: Option<&PackageRef>,
    store: &Store,
) -> Result<(PackageRef, Digest)> {
    archive::take(file, wanted, None, store).map_err(|error| match error {
        BundleError::Store(error) => not_chosen(error),
        error => failed(error),
    })
}
