//! A package of somebody else's: who signed it, and that it does no more than it says, as skepd asks before it installs one.

use std::collections::BTreeMap;

use skep_object::fit;
use skep_spec::{Digest, PackageRef};
use skep_trust::{Asked, Package, Verified, admit, verify_or_allow};

use super::{Ready, host};
use crate::config::Config;
use crate::error::{Error, Result, refused, unfit};
use crate::fetch::Fetched;
use crate::moment;
use crate::rules;

/// Whether this machine's rules let a package in.
pub(super) fn checked(
    reference: &PackageRef,
    digest: Digest,
    bundles: &[Vec<u8>],
    config: &Config,
    allow_unsigned: bool,
) -> Result<Verified<Digest>> {
    let asked = Asked { name: &reference.name, registry: reference.registry.as_deref(), digest };
    let now = moment::now(config)?;
    verify_or_allow(&asked, bundles, &rules::of_machine(config)?, now, allow_unsigned).map_err(
        |error| {
            let take = "trust its key in trust.toml, or take the risk: --allow-unsigned";
            let hint = error.hint().is_none().then_some(take);
            hint.into_iter().fold(moment::refused(error, config), Error::hint)
        },
    )
}

/// What was checked and fetched, once its code is held against its manifest.
pub(super) fn ready(
    fetched: &Fetched<Verified<Digest>>,
    params: &BTreeMap<String, String>,
) -> Result<Ready> {
    let Fetched { store, reference, checked, .. } = fetched;
    let package = admit(checked.clone(), store, host()?, reference).map_err(refused)?;
    let package: Package = package.into_inner();
    fit(&package.manifest, &package.objects, params).map_err(|error| unfit(&error))?;
    Ok(Ready { manifest: package.manifest, objects: package.objects })
}
