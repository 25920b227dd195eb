//! A publisher's keys and the pointers of channels, which travel with packages: from a registry into a layout, and from there
//! into another registry.

use std::collections::BTreeSet;

use skep_oci::{Registry, Store, apart};
use skep_spec::{Channel, Digest, PackageRef, media};
use skep_trust::channel::{Unchecked, unchecked};

use crate::error::{Result, failed};
use crate::place;
use crate::rotation::Chain;

/// Takes along what a registry has beside a package: its publisher's keys, and the channels that point to it.
///
/// # Errors
/// The registry does not answer as it should, or the layout cannot be written.
pub async fn bring(
    registry: &Registry,
    reference: &PackageRef,
    digest: Digest,
    store: &Store,
) -> Result<()> {
    let keys = registry.keys(reference).await.map_err(failed)?;
    if !keys.is_empty() {
        apart::keep(store, media::KEYS, &keys).map_err(failed)?;
    }
    for channel in registry.tags(reference).await.map_err(failed)?.channels {
        let pointers = registry.channel(reference, &channel).await.map_err(failed)?;
        if said(&pointers).any(|pointer| pointer.digest == digest) {
            apart::keep(store, media::CHANNEL, &pointers).map_err(failed)?;
        }
    }
    Ok(())
}

/// Puts what a layout carries beside packages that are in a registry now, unless there is as much or more there already: keys of
/// their publishers, channels of theirs.
///
/// # Errors
/// The layout cannot be read, or the registry does not take something.
pub fn push(store: &Store, registry: &Registry, reference: &PackageRef) -> Result<Vec<String>> {
    let mut put = Vec::new();
    let publisher = reference.name.publisher();
    for keys in apart::kept(store, media::KEYS).map_err(failed)? {
        let Some((of, ours)) = Chain::said(&keys) else { continue };
        let theirs = place::ask(registry.keys(reference))?;
        if of == publisher && Chain::said(&theirs).is_none_or(|(_, theirs)| theirs < ours) {
            place::ask(registry.put_keys(reference, &keys))?;
            put.push(format!("version {ours} of the keys of {of}"));
        }
    }
    for pointers in apart::kept(store, media::CHANNEL).map_err(failed)? {
        let channels: BTreeSet<Channel> = said(&pointers)
            .filter(|pointer| pointer.name == reference.name)
            .map(|pointer| pointer.channel)
            .collect();
        for channel in channels {
            let theirs = place::ask(registry.channel(reference, &channel))?;
            let highest = |all: &[Vec<u8>]| said(all).map(|pointer| pointer.sequence).max();
            if highest(&theirs) < highest(&pointers) {
                place::ask(registry.put_channel(reference, &channel, &pointers))?;
                put.push(format!("the channel '{channel}' of {}", reference.name));
            }
        }
    }
    Ok(put)
}

fn said(pointers: &[Vec<u8>]) -> impl Iterator<Item = Unchecked> {
    pointers.iter().filter_map(|bundle| unchecked(bundle))
}
