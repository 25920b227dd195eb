//! A publisher's keys and the pointers of channels, which travel with packages: from a registry into a layout, and from there
//! into another registry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use skep_oci::{Registry, RegistryError, Store, keys_and_channels as listed};
use skep_spec::{Channel, Digest, PackageRef, media};
use skep_trust::Policy;
use skep_trust::channel::{Asked, ChannelError, Seen, Unchecked, look, unchecked, worth};
use skep_trust::rotation::{self, Keys};
use skep_trust::ways::{self, BorneOut};

use crate::error::{Error, Kind, Result, failed};
use crate::place::{self, Lying};

/// How long a registry may take for what lies beside a package.
const TIME: Duration = Duration::from_secs(600);

/// Takes along what a registry has beside a package: its publisher's keys, and the channels that point to it. Says what is left
/// out, since nobody reads it.
///
/// # Errors
/// The registry does not answer as it should or in time, or the layout cannot be written.
pub async fn bring(
    registry: &Registry,
    reference: &PackageRef,
    digest: Digest,
    store: &Store,
) -> Result<Vec<String>> {
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
) -> Result<Vec<String>> {
    let of = reference.alone();
    let mut left = Vec::new();
    let mut readable = |found: Result<Vec<Vec<u8>>, RegistryError>, what: &str| match found {
        Err(RegistryError::Junk { why, .. }) => {
            left.push(format!("note: {what} beside {of} is left out: what lies there {why}"));
            Ok(Vec::new())
        }
        found => found.map_err(failed),
    };
    let keys = readable(registry.keys(reference).await, "the publisher's keys")?;
    if !keys.is_empty() {
        listed::keep(store, media::KEYS, &keys).map_err(failed)?;
    }
    for channel in registry.tags(reference).await.map_err(failed)?.channels {
        let what = format!("the channel '{channel}'");
        let pointers = readable(registry.channel(reference, &channel).await, &what)?;
        if said(&pointers).any(|pointer| pointer.digest == digest) {
            listed::keep(store, media::CHANNEL, &pointers).map_err(failed)?;
        }
    }
    Ok(left)
}

/// What became of what a layout carries beside a package.
#[derive(Default)]
pub struct Put {
    /// What was put into the registry.
    pub put: Vec<String>,
    /// What stays as it was, and what was taken away: why.
    pub told: Vec<String>,
}

/// By whose word something goes into a registry: this machine's rules, at a moment.
pub type By<'a> = (&'a Policy, SystemTime);

/// Puts what a layout carries beside packages that are in a registry now, unless there is as much or more there already: keys of
/// their publishers, channels of theirs. Only what this machine's rules bear out is put, or keys to which those that are there
/// lead; and only what they do not bear out is taken away for it.
///
/// # Errors
/// The layout cannot be read, or the registry does not take something.
pub fn push(store: &Store, registry: &Registry, reference: &PackageRef, by: By<'_>) -> Result<Put> {
    let mut outcome = Put::default();
    let keys = listed::kept(store, media::KEYS).map_err(failed)?;
    for keys in &keys {
        push_keys(keys, registry, reference, by, &mut outcome)?;
    }
    let followed = followed(&keys.concat(), reference, by);
    let by = (followed.as_ref().unwrap_or(by.0), by.1);
    let mut pointers: BTreeMap<Channel, Vec<Vec<u8>>> = BTreeMap::new();
    for bundle in listed::kept(store, media::CHANNEL).map_err(failed)?.concat() {
        let said = unchecked(&bundle).filter(|pointer| pointer.name == reference.name);
        if let Some(said) = said {
            pointers.entry(said.channel).or_default().push(bundle);
        }
    }
    for (channel, pointers) in &pointers {
        push_channel((channel, pointers), registry, reference, by, &mut outcome)?;
    }
    Ok(outcome)
}

fn push_keys(
    keys: &[Vec<u8>],
    registry: &Registry,
    reference: &PackageRef,
    by: By<'_>,
    outcome: &mut Put,
) -> Result<()> {
    let of = reference.name.publisher();
    let versions = ways::by_version(of, keys);
    let Some((newest, _)) = versions.last_key_value() else { return Ok(()) };
    let lying = place::lying(registry.keys(reference))?;
    let theirs = &lying.bundles;
    let ours = borne_out(keys, reference, by);
    if let Some(version) = fork((keys, ours.as_ref()), theirs, reference, by) {
        outcome.told.push(format!("the keys of {of} stay: the version {version} that came is another one than the one that is there, and both are signed as they must be: tell the publisher; skep trust rotate {reference} follows what is there"));
        return Ok(());
    }
    let Some(BorneOut { version, bundles }) = ours else {
        return match lead_on(of, theirs, keys) {
            Leading::On(bundles) => {
                put_keys((&bundles, *newest), &lying, registry, reference, outcome)
            }
            Leading::Nowhere if theirs.is_empty() => {
                outcome.told.push(format!("the keys of {of} that came are left out: no rule of this machine bears them out; skep trust add '{of}/*' --key PUB says whose count"));
                Ok(())
            }
            Leading::Nowhere => {
                outcome.told.push(format!("the keys of {of} stay: the version {newest} that came does not follow from what is there"));
                Ok(())
            }
            Leading::There => Ok(()),
        };
    };
    let reached = |bundles: &[Vec<u8>]| borne_out(bundles, reference, by).map(|out| out.version);
    let both = [keys, theirs].concat();
    if reached(theirs) >= Some(version) || reached(&both) > Some(version) {
        return Ok(());
    }
    if !theirs.iter().all(|bundle| bundles.contains(bundle)) {
        outcome.told.push(format!("the keys of {of} that were there are replaced as far as no rule of this machine bears them out"));
    }
    if let Some(why) = &lying.junk {
        outcome
            .told
            .push(format!("what was there in place of the keys of {of} is replaced: it {why}"));
    }
    put_keys((&bundles, version), &lying, registry, reference, outcome)
}

/// The version of which another one is there than the one that came, where both are signed as they must be.
fn fork(
    (came, ours): (&[Vec<u8>], Option<&BorneOut>),
    theirs: &[Vec<u8>],
    reference: &PackageRef,
    by: By<'_>,
) -> Option<u64> {
    let (of, revoked) = (reference.name.publisher(), by.0.revoked_keys());
    let Some(ours) = ours else {
        let there = ways::forked(of, came, theirs, revoked);
        return there.and(ways::forked(of, theirs, came, revoked));
    };
    let led = ways::forked(of, &ours.bundles, theirs, revoked);
    let there = || borne_out(theirs, reference, by);
    led.or_else(|| ways::differs(of, &ours.bundles, &there()?.bundles))
}

/// The rules with the keys that a publisher has now, where that of a package follows them: pointers are signed by these.
fn followed(keys: &[Vec<u8>], reference: &PackageRef, (policy, now): By<'_>) -> Option<Policy> {
    let (name, registry) = (&reference.name, reference.registry.as_deref());
    let rule = policy.following(name, registry)?;
    let revoked = policy.revoked_keys();
    let reached = ways::reach(name.publisher(), rule, &[], keys, revoked, now).ok()?;
    policy.with_keys(name, registry, &reached.keys?).ok()
}

/// The bundles of a publisher's keys that the rule of a package bears out.
pub fn borne_out(
    keys: &[Vec<u8>],
    reference: &PackageRef,
    (policy, now): By<'_>,
) -> Option<BorneOut> {
    let (rule, _) = policy.rule(&reference.name, reference.registry.as_deref())?;
    ways::borne_out(reference.name.publisher(), rule, keys, policy.revoked_keys(), now)
}

/// Whether this machine's rules say whose keys count for a package.
#[must_use]
pub fn has_keys(reference: &PackageRef, policy: &Policy) -> bool {
    let rule = policy.rule(&reference.name, reference.registry.as_deref());
    rule.is_some_and(|(rule, _)| !rule.keys().is_empty())
}

fn put_keys(
    (keys, version): (&[Vec<u8>], u64),
    lying: &Lying,
    registry: &Registry,
    reference: &PackageRef,
    outcome: &mut Put,
) -> Result<()> {
    place::ask(registry.change_keys(reference, lying.before(), keys))?;
    outcome.put.push(format!("version {version} of the keys of {}", reference.name.publisher()));
    Ok(())
}

/// How keys that came stand to those that are there.
enum Leading {
    /// They go on from there, all of them.
    On(Vec<Vec<u8>>),
    /// They are there.
    There,
    /// They do not.
    Nowhere,
}

/// Whether keys begin with what is there, and each version behind that is signed as it must be.
fn lead_on(of: &str, theirs: &[Vec<u8>], ours: &[Vec<u8>]) -> Leading {
    let (there, came) = (ways::by_version(of, theirs), ways::by_version(of, ours));
    let (Some((there, stood)), Some(newest)) = (there.last_key_value(), came.keys().last()) else {
        return Leading::Nowhere;
    };
    if there >= newest {
        return Leading::There;
    }
    let from = stood.first().and_then(|bundle| Keys::unchecked(bundle).ok());
    let newer: Vec<_> = came.range(there + 1..).map(|(_, document)| document.clone()).collect();
    let follows = from.is_some_and(|from| rotation::follow(from, &newer, &BTreeSet::new()).is_ok());
    match follows && theirs.iter().all(|bundle| ours.contains(bundle)) {
        true => Leading::On([theirs, &newer.concat()].concat()),
        false => Leading::Nowhere,
    }
}

fn push_channel(
    (channel, pointers): (&Channel, &[Vec<u8>]),
    registry: &Registry,
    reference: &PackageRef,
    (policy, now): By<'_>,
    outcome: &mut Put,
) -> Result<()> {
    let (name, host) = (&reference.name, reference.registry.as_deref());
    let asked = Asked { name, registry: host, channel };
    let lying = place::lying(registry.channel(reference, channel))?;
    let theirs = &lying.bundles;
    let ours = worth(&asked, pointers, policy, now);
    let Ok(pointer) = look(&asked, &ours, policy, None, now) else {
        let what = if theirs.is_empty() { "is left out" } else { "stays" };
        outcome.told.push(format!(
            "the channel '{channel}' of {name} {what}: no rule of this machine trusts the pointer that came"
        ));
        return Ok(());
    };
    let seen = Some(Seen { sequence: pointer.sequence, digest: pointer.digest });
    let there = worth(&asked, theirs, policy, now);
    match look(&asked, &there, policy, seen, now) {
        Ok(_) => return Ok(()),
        Err(error @ ChannelError::Equivocation { .. }) => {
            outcome.told.push(format!("the channel '{channel}' of {name} stays: {error}"));
            return Ok(());
        }
        // Older, or nobody's whom this machine trusts.
        Err(_) => {}
    }
    if there.len() < theirs.len() {
        outcome.told.push(format!(
            "the channel '{channel}' of {name} that was there is replaced as far as no rule of this machine bears it out"
        ));
    }
    if let Some(why) = &lying.junk {
        outcome.told.push(format!(
            "what was there in place of the channel '{channel}' of {name} is replaced: it {why}"
        ));
    }
    place::ask(registry.move_channel(reference, channel, lying.before(), &ours))?;
    outcome.put.push(format!("the channel '{channel}' of {name}"));
    Ok(())
}

fn said(pointers: &[Vec<u8>]) -> impl Iterator<Item = Unchecked> {
    pointers.iter().filter_map(|bundle| unchecked(bundle))
}
