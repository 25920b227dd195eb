//! A publisher's keys and the pointers of channels, which travel with packages: from a registry into a layout, and from there
//! into another registry.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use skep_oci::{Registry, Store, keys_and_channels as listed};
use skep_spec::{Channel, Digest, PackageRef, media};
use skep_trust::channel::{Asked, Unchecked, look, unchecked};
use skep_trust::{Policy, rotation};

use crate::error::{Error, Kind, Result, failed};
use crate::place;
use crate::rotation::Chain;

/// How long a registry may take for what lies beside a package.
const TIME: Duration = Duration::from_secs(600);

/// Takes along what a registry has beside a package: its publisher's keys, and the channels that point to it.
///
/// # Errors
/// The registry does not answer as it should or in time, or the layout cannot be written.
pub async fn bring(
    registry: &Registry,
    reference: &PackageRef,
    digest: Digest,
    store: &Store,
) -> Result<()> {
    let brought = tokio::time::timeout(TIME, bring_all(registry, reference, digest, store)).await;
    brought.unwrap_or_else(|_| {
        let (of, time) = (reference.repository(), TIME.as_secs() / 60);
        let what = format!("the keys and channels of {of} did not come within {time} minutes");
        Err(Error::new(Kind::Failed, what)
            .hint("skep pull leaves them out, and skep bundle takes what it pulled"))
    })
}

async fn bring_all(
    registry: &Registry,
    reference: &PackageRef,
    digest: Digest,
    store: &Store,
) -> Result<()> {
    let keys = registry.keys(reference).await.map_err(failed)?;
    if !keys.is_empty() {
        listed::keep(store, media::KEYS, &keys).map_err(failed)?;
    }
    for channel in registry.tags(reference).await.map_err(failed)?.channels {
        let pointers = registry.channel(reference, &channel).await.map_err(failed)?;
        if said(&pointers).any(|pointer| pointer.digest == digest) {
            listed::keep(store, media::CHANNEL, &pointers).map_err(failed)?;
        }
    }
    Ok(())
}

/// What became of what a layout carries beside a package.
#[derive(Default)]
pub struct Put {
    /// What was put into the registry.
    pub put: Vec<String>,
    /// What stays there as it was, and why.
    pub left: Vec<String>,
}

/// Puts what a layout carries beside packages that are in a registry now, unless there is as much or more there already: keys of
/// their publishers, channels of theirs. What is there is replaced only by what follows from it: keys that lead on from those,
/// pointers that this machine's rules trust.
///
/// # Errors
/// The layout cannot be read, or the registry does not take something.
pub fn push(
    store: &Store,
    registry: &Registry,
    reference: &PackageRef,
    (policy, now): (&Policy, SystemTime),
) -> Result<Put> {
    let mut outcome = Put::default();
    for keys in listed::kept(store, media::KEYS).map_err(failed)? {
        push_keys(&keys, registry, reference, &mut outcome)?;
    }
    for pointers in listed::kept(store, media::CHANNEL).map_err(failed)? {
        let channels: BTreeSet<Channel> = said(&pointers)
            .filter(|pointer| pointer.name == reference.name)
            .map(|pointer| pointer.channel)
            .collect();
        for channel in channels {
            push_channel((&channel, &pointers), registry, reference, (policy, now), &mut outcome)?;
        }
    }
    Ok(outcome)
}

fn push_keys(
    keys: &[Vec<u8>],
    registry: &Registry,
    reference: &PackageRef,
    outcome: &mut Put,
) -> Result<()> {
    let Some((of, ours)) = Chain::said(keys) else { return Ok(()) };
    if of != reference.name.publisher() {
        return Ok(());
    }
    let theirs = place::ask(registry.keys(reference))?;
    let there = Chain::said(&theirs).map(|(_, version)| version);
    if there.is_some_and(|there| there >= ours) {
        return Ok(());
    }
    if !lead_on(there, &theirs, keys) {
        let what = format!(
            "the keys of {of} stay: the version {ours} that came does not follow from what is there"
        );
        outcome.left.push(what);
        return Ok(());
    }
    place::ask(registry.put_keys(reference, keys))?;
    outcome.put.push(format!("version {ours} of the keys of {of}"));
    Ok(())
}

/// Whether keys begin with what is there, and each version behind that is signed as it must be.
fn lead_on(there: Option<u64>, theirs: &[Vec<u8>], ours: &[Vec<u8>]) -> bool {
    let named = ours.iter().map(|bundle| ("what came".to_owned(), bundle.clone()));
    let Ok(chain) = Chain::of(named) else { return false };
    let versions = chain.versions();
    let from = versions.iter().find(|one| there.is_none_or(|there| one.keys.version == there));
    let Some(from) = from else { return false };
    let newer = versions.iter().filter(|one| one.keys.version > from.keys.version);
    let newer: Vec<_> = newer.map(|one| one.bundles.clone()).collect();
    theirs.iter().all(|bundle| ours.contains(bundle))
        && rotation::follow(from.keys.clone(), &newer, &BTreeSet::new()).is_ok()
}

fn push_channel(
    (channel, pointers): (&Channel, &[Vec<u8>]),
    registry: &Registry,
    reference: &PackageRef,
    (policy, now): (&Policy, SystemTime),
    outcome: &mut Put,
) -> Result<()> {
    let theirs = place::ask(registry.channel(reference, channel))?;
    let highest = |all: &[Vec<u8>]| said(all).map(|pointer| pointer.sequence).max();
    if highest(&theirs) >= highest(pointers) {
        return Ok(());
    }
    let (name, registry_name) = (&reference.name, reference.registry.as_deref());
    let asked = Asked { name, registry: registry_name, channel };
    if !theirs.is_empty() && look(&asked, pointers, policy, None, now).is_err() {
        let what = format!(
            "the channel '{channel}' of {name} stays: no rule of this machine trusts the pointer that came"
        );
        outcome.left.push(what);
        return Ok(());
    }
    place::ask(registry.put_channel(reference, channel, pointers))?;
    outcome.put.push(format!("the channel '{channel}' of {name}"));
    Ok(())
}

fn said(pointers: &[Vec<u8>]) -> impl Iterator<Item = Unchecked> {
    pointers.iter().filter_map(|bundle| unchecked(bundle))
}
