//! Channels: from a name such as `stable` to the digest that it points to, by this machine's rules and what it has seen before.

use std::time::SystemTime;

use skep_oci::{FollowError, Memory, Registry, RegistryError};
use skep_spec::{Channel, PackageRef};
use skep_trust::Policy;
use skep_trust::channel::{Asked, ChannelError, Pointer, Seen, look, worth};

use crate::config::Config;
use crate::error::{Error, Kind, Result, failed, not_followed};
use crate::moment;
use crate::options::Transport;
use crate::place::{self, Place};
use crate::rules;

/// A channel that was followed.
pub struct Followed {
    /// The package, without the channel.
    pub reference: PackageRef,
    /// The channel.
    pub channel: Channel,
    /// Where it points to.
    pub pointer: Pointer,
    /// Its pointers as they came.
    pub bundles: Vec<Vec<u8>>,
}

/// A place whose package is known by version or digest: a channel is followed by the machine's rules.
///
/// # Errors
/// The channel cannot be followed, or what names no version has none.
pub fn settled(place: Place, transport: Transport, config: &Config) -> Result<Place> {
    settled_by(place, || rules::of_machine(config), transport, config)
}

/// The same by other rules.
///
/// # Errors
/// As [`settled`].
pub fn settled_by(
    place: Place,
    policy: impl FnOnce() -> Result<Policy>,
    transport: Transport,
    config: &Config,
) -> Result<Place> {
    let Place::Registry(reference) = &place else { return Ok(place) };
    if reference.channel_meant().is_none() {
        return Ok(place);
    }
    let registry = place::registry(reference, transport, config)?;
    let followed = follow(&registry, reference, &policy()?, config)?;
    Ok(Place::Registry(followed.reference.at(followed.pointer.digest)))
}

/// Follows the channel that a reference means.
///
/// # Errors
/// As [`settled`].
pub fn follow(
    registry: &Registry,
    reference: &PackageRef,
    policy: &Policy,
    config: &Config,
) -> Result<Followed> {
    let no_version = || failed(RegistryError::NoVersion(reference.to_string()));
    let channel = reference.channel_meant().ok_or_else(no_version)?;
    let bundles = bundles(registry, reference, &channel)?;
    if bundles.is_empty() && reference.channel.is_none() {
        return Err(no_version().hint(format!("it has no channel '{channel}', which no version would mean; skep tags lists what there is")));
    }
    let host = reference.registry.as_deref();
    let asked = Asked { name: &reference.name, registry: host, channel: &channel };
    let pointer = memory(config).follow(&asked, &bundles, policy, SystemTime::now());
    let pointer = pointer.map_err(|error| {
        let is_over = matches!(&error, FollowError::Channel(error) if error.is_expired());
        let refused = not_followed(error);
        if is_over { moment::clock_told(refused, config) } else { refused }
    })?;
    let reference = PackageRef { channel: None, ..reference.clone() };
    Ok(Followed { reference, channel, pointer, bundles })
}

/// The pointers of a channel, unchecked; none where there is no such channel.
///
/// # Errors
/// The registry does not answer as it should.
pub fn bundles(
    registry: &Registry,
    reference: &PackageRef,
    channel: &Channel,
) -> Result<Vec<Vec<u8>>> {
    place::ask(registry.channel(reference, channel))
}

/// Puts a channel that was followed under its name elsewhere, unless it has moved on there. Says what gave way to it, if nobody
/// could read that.
///
/// # Errors
/// It has; or the registry does not take it.
pub fn carry(
    followed: &Followed,
    registry: &Registry,
    to: &PackageRef,
    policy: &Policy,
    now: SystemTime,
) -> Result<Option<String>> {
    let Followed { reference: from, channel, pointer, bundles: came } = followed;
    let lying = place::lying(registry.channel(to, channel))?;
    let theirs = &lying.bundles;
    // What a stranger put beside it stays behind.
    let (name, host) = (&from.name, from.registry.as_deref());
    let ours = worth(&Asked { name, registry: host, channel }, came, policy, now);
    if *theirs == ours {
        return Ok(None);
    }
    let host = to.registry.as_deref();
    let asked = Asked { name: &to.name, registry: host, channel };
    let seen = Some(Seen { sequence: pointer.sequence, digest: pointer.digest });
    match look(&asked, theirs, policy, seen, now) {
        Ok(there) if there.sequence > pointer.sequence => {
            let (ours, theirs) = (pointer.sequence, there.sequence);
            return Err(Error::new(Kind::Refused, format!("the channel '{channel}' of {to} has moved on: its sequence is {theirs}, and {ours} would be copied"))
                .hint("a copy never moves a channel back: copy the package by its version instead"));
        }
        Err(error @ ChannelError::Equivocation { .. }) => return Err(not_followed(error.into())),
        // Older, or nobody's whom we trust.
        _ => {}
    }
    place::ask(registry.move_channel(to, channel, lying.before(), &ours))?;
    let told =
        |why| format!("note: what lay under the channel '{channel}' of {to} is replaced: it {why}");
    Ok(lying.junk.map(told))
}

/// What this user has seen of channels.
pub fn memory(config: &Config) -> Memory {
    Memory::new(&config.state_dir.join("channels.json"))
}
