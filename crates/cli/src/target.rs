//! A package beside which a signature or an attestation is put.

use std::path::Path;

use skep_oci::{Registry, Store, signatures};
use skep_spec::{Digest, PackageRef};
use skep_trust::bundle::Subject;

use crate::config::Config;
use crate::error::{Error, Result, failed};
use crate::options::PlaceOptions;
use crate::place::{self, Place};

/// A package in a layout or registry, found once: what is put beside it is about this digest, whatever a tag says by then.
pub struct Target {
    /// Its name and version.
    pub reference: PackageRef,
    /// Its index.
    pub digest: Digest,
    /// What a statement about it is about: the index and the platforms' manifests.
    pub subjects: Vec<Subject>,
    /// Where it is.
    pub held: Held,
}

/// Where a package is.
pub enum Held {
    /// In a layout.
    Layout(Store),
    /// In a registry, which gave this index.
    Registry(Box<Registry>, Vec<u8>),
}

impl Target {
    /// Finds it.
    ///
    /// # Errors
    /// There is no package, or it is in a bundle, to which nothing is added.
    pub fn find(place: Place, options: &PlaceOptions, config: &Config) -> Result<Self> {
        match place {
            Place::Layout(path) => {
                let store = place::layout(&path)?;
                let (reference, digest) = place::package(&store, options.choice.package.as_ref())?;
                let subjects = signatures::subjects(&store, digest).map_err(failed)?;
                Ok(Self { reference, digest, subjects, held: Held::Layout(store) })
            }
            Place::Registry(reference) => {
                let registry = place::registry(&reference, options.transport, config)?;
                let index = place::ask(registry.index(&reference))?;
                let subjects = signatures::subjects_of(&index).map_err(failed)?;
                let (digest, held) =
                    (Digest::of(&index), Held::Registry(Box::new(registry), index));
                Ok(Self { reference, digest, subjects, held })
            }
            Place::Bundle(path) => Err(closed(&path)),
        }
    }

    /// Puts a bundle beside it.
    ///
    /// # Errors
    /// The layout or registry cannot be written.
    pub fn put(&self, bundle: &[u8]) -> Result<()> {
        match &self.held {
            Held::Layout(store) => signatures::attach(store, self.digest, bundle).map_err(failed),
            Held::Registry(registry, index) => {
                place::ask(registry.attach_bundle(&self.reference, index, bundle))
            }
        }
    }
}

fn closed(bundle: &Path) -> Error {
    let shown = bundle.display();
    Error::usage(format!("'{shown}' is a bundle, to which nothing is added"))
        .hint(format!("skep unbundle {shown} -o LAYOUT, sign the layout, and skep bundle it again"))
}
