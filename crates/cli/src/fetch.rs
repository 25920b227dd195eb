//! A package with its signatures, from a layout, a bundle or a registry, in the one order that is safe: what is signed is looked at
//! before content is fetched.

use std::io::BufReader;
use std::path::Path;

use skep_oci::registry::Part;
use skep_oci::{Store, archive, regular, signatures};
use skep_spec::{Digest, PackageRef};

use crate::cache::{Cache, Used};
use crate::channel;
use crate::config::Config;
use crate::error::{Result, failed};
use crate::keys_and_channels;
use crate::named;
use crate::options::{PlaceOptions, Transport};
use crate::output::Output;
use crate::passing::{Passing, interruptible};
use crate::place::{self, Place};
use crate::progress::shown;

/// A package whose content is on this machine.
pub struct Fetched<T> {
    /// The layout that holds it.
    pub store: Store,
    /// Its name and version.
    pub reference: PackageRef,
    /// What the look at digest and signatures gave.
    pub checked: T,
    /// What keeps the store as it is.
    _held: Option<Held>,
}

/// Where a registry's or bundle's package was put.
enum Held {
    /// The store of all commands, from which nobody removes meanwhile.
    Cached(Used),
    /// A folder that goes with this value.
    Passing(Store, #[allow(dead_code, reason = "it goes with this value")] Passing),
}

impl Held {
    fn passing() -> Result<Self> {
        passing().map(|(store, folder)| Self::Passing(store, folder))
    }

    fn store(&self) -> &Store {
        match self {
            Self::Cached(used) => &used.store,
            Self::Passing(store, _) => store,
        }
    }
}

/// Finds a package (the one that is chosen where there are several), has `check` look at its digest and signatures, and
/// fetches `part` of its content only if that is content.
///
/// # Errors
/// It is not there, `check` refuses, or the registry does not give it whole.
pub fn fetch<T>(
    place: Place,
    options: &PlaceOptions,
    part: Part,
    config: &Config,
    check: impl FnOnce(&PackageRef, Digest, &[Vec<u8>]) -> Result<T>,
) -> Result<Fetched<T>> {
    let PlaceOptions { choice, transport } = options;
    let wanted = choice.package.as_ref();
    match channel::settled(place, *transport, config)? {
        Place::Layout(path) => {
            let store = place::layout(&path)?;
            let (reference, digest) = place::package(&store, wanted)?;
            let bundles = signatures::bundles(&store, digest).map_err(failed)?;
            let checked = check(&reference, digest, &bundles)?;
            Ok(Fetched { store, reference, checked, _held: None })
        }
        Place::Bundle(file) => {
            let (store, folder) = passing()?;
            let (reference, digest) = place::out_of_bundle(&file, wanted, &store)?;
            let bundles = signatures::bundles(&store, digest).map_err(failed)?;
            let checked = check(&reference, digest, &bundles)?;
            let held = Held::Passing(store.clone(), folder);
            Ok(Fetched { store, reference, checked, _held: Some(held) })
        }
        Place::Registry(reference) => pulled(reference, part, *transport, config, check),
    }
}

/// A registry's package, in the store that all commands share; where nothing can be kept there, for this command alone.
fn pulled<T>(
    reference: PackageRef,
    part: Part,
    transport: Transport,
    config: &Config,
    check: impl FnOnce(&PackageRef, Digest, &[Vec<u8>]) -> Result<T>,
) -> Result<Fetched<T>> {
    let registry = place::registry(&reference, transport, config)?;
    let held = match Cache::of(config).used() {
        Ok(used) => Held::Cached(used),
        Err(_) => Held::passing()?,
    };
    let store = held.store().clone();
    let (digest, checked) = interruptible(async {
        let digest = registry.resolve(&reference).await.map_err(failed)?;
        let bundles = registry.bundles(&reference, digest).await.map_err(failed)?;
        let checked = check(&reference, digest, &bundles)?;
        let pulled = registry.pull(&reference, digest, part, &store).await;
        pulled.map_err(failed)?;
        Ok((digest, checked))
    })?;
    if let Held::Cached(used) = &held {
        used.touch(&digest);
    }
    Ok(Fetched { store, reference, checked, _held: Some(held) })
}

/// A package's name, its digest and its signatures, of which nobody checked any; its content is not fetched.
///
/// # Errors
/// It is not there, or cannot be read.
pub fn signed(
    place: Place,
    options: &PlaceOptions,
    config: &Config,
) -> Result<(PackageRef, Digest, Vec<Vec<u8>>)> {
    let transport = options.transport;
    let place = channel::settled(place, transport, config)?;
    if let Place::Registry(reference) = place {
        let registry = place::registry(&reference, transport, config)?;
        return interruptible(async {
            let digest = registry.resolve(&reference).await.map_err(failed)?;
            let bundles = registry.bundles(&reference, digest).await.map_err(failed)?;
            Ok((reference, digest, bundles))
        });
    }
    let check = |_: &PackageRef, digest, bundles: &[Vec<u8>]| Ok((digest, bundles.to_vec()));
    let fetched = fetch(place, options, Part::Whole, config, check)?;
    let (digest, bundles) = fetched.checked;
    Ok((fetched.reference, digest, bundles))
}

/// A layout, which may be there only as long as this value.
pub struct Whole {
    /// It.
    pub store: Store,
    /// Where a registry's package, or a bundle's packages, were put.
    _folder: Option<Passing>,
}

/// A layout that goes with the folder.
///
/// # Errors
/// It cannot be made.
pub fn passing() -> Result<(Store, Passing)> {
    let folder = Passing::folder()?;
    Ok((Store::passing(folder.path()).map_err(failed)?, folder))
}

/// All that a bundle holds, in a layout of its own.
///
/// # Errors
/// The file is no bundle, or not whole.
pub fn unpacked(file: &Path) -> Result<Whole> {
    let (store, folder) = passing()?;
    let from = named::read(file, regular::open)?;
    archive::read(BufReader::new(from), &store).map_err(failed)?;
    Ok(Whole { store, _folder: Some(folder) })
}

/// The layout of a place; of a bundle, and of a registry's package, one of its own, with all that refers to it. What was left
/// in the registry is said.
///
/// # Errors
/// There is no such layout, the bundle is not whole, or the registry does not give the package whole.
pub fn whole(
    place: Place,
    transport: Transport,
    output: &Output,
    config: &Config,
) -> Result<Whole> {
    let reference = match channel::settled(place, transport, config)? {
        Place::Layout(path) => return Ok(Whole { store: place::layout(&path)?, _folder: None }),
        Place::Bundle(file) => return unpacked(&file),
        Place::Registry(reference) => reference,
    };
    let registry = place::registry(&reference, transport, config)?;
    let (store, folder) = passing()?;
    let what = format!("Pulling {reference}");
    let (carried, left) = interruptible(shown(output, registry.progress(), &what, async {
        let digest = registry.resolve(&reference).await.map_err(failed)?;
        let carried = registry.pull_whole(&reference, digest, &store).await.map_err(failed)?;
        let left = keys_and_channels::bring(&registry, &reference, digest, &store).await?;
        Ok((carried, left))
    }))?;
    left.iter().for_each(|what| output.note(what));
    place::note_left(&carried, output);
    Ok(Whole { store, _folder: Some(folder) })
}
