//! `skep channel`.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;
use skep_oci::Registry;
use skep_spec::oci::Index;
use skep_spec::{Channel as Name, Digest, PackageRef, media};
use skep_trust::bundle::Bundle;
use skep_trust::channel::{Asked, Next, Pointer, Seen};
use skep_trust::key::SigningKey;
use skep_trust::verify::BUNDLES_MAX;
use skep_trust::{KeyId, Policy, time};

use crate::channel::{self, Followed};
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed, not_followed};
use crate::keys::{self, SignOptions, SignedBy};
use crate::moment::moment;
use crate::options::Transport;
use crate::output::Output;
use crate::place;
use crate::rules;

/// Move, sign and show channels: signed pointers such as stable, which install, upgrade, verify, run, pull and copy follow
///
/// Whoever follows one keeps the highest sequence that it saw: an older pointer is refused, and so are two with one sequence.
#[derive(Debug, Args)]
pub struct Channel {
    #[command(subcommand)]
    command: ChannelCommand,
}

#[derive(Debug, Subcommand)]
enum ChannelCommand {
    Move(Move),
    Sign(Sign),
    Show(Show),
}

/// Point a channel to a version, or sign it again before it expires
///
/// The package must be in the registry. The last pointer stays beside the new one until that is signed by as many as rules ask for.
#[derive(Debug, Args)]
struct Move {
    /// Where to: [registry/]publisher/name:version (or @sha256:…)
    reference: String,
    /// The channel, such as stable; it is made if need be
    channel: Name,
    /// The private key that skep key new made, with --signer the public one; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    #[command(flatten)]
    by: SignedBy,
    /// When it ends to install anything: after so many days, or at a moment such as 2027-12-31T00:00:00Z
    #[arg(long, value_name = "DAYS|TIME", default_value = "90d")]
    expires: String,
    /// The sequence, where the last pointer is by other keys: higher than that, and than any that was signed here
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    #[command(flatten)]
    transport: Transport,
}

/// Sign a channel's newest pointer with another key
#[derive(Debug, Args)]
struct Sign {
    /// Which: [registry/]publisher/name@channel
    reference: String,
    #[command(flatten)]
    key: SignOptions,
    #[command(flatten)]
    transport: Transport,
}

/// Show where a channel points to, if trust.toml trusts who signed it
#[derive(Debug, Args)]
struct Show {
    /// Which: [registry/]publisher/name@channel; stable without one
    reference: String,
    /// Trust this public key alone
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
    #[command(flatten)]
    transport: Transport,
}

/// Where a channel points to.
#[derive(Serialize)]
pub struct Answer {
    package: String,
    channel: Name,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    sequence: u64,
    expires: String,
    keys: Vec<KeyId>,
}

impl Channel {
    /// Runs it.
    ///
    /// # Errors
    /// No key, no such package or channel, a pointer that is refused, or the registry does not take one.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        match self.command {
            ChannelCommand::Move(command) => command.run(output, config),
            ChannelCommand::Sign(command) => command.run(output, config),
            ChannelCommand::Show(command) => command.run(output, config),
        }
    }
}

impl Move {
    fn run(self, output: &Output, config: &Config) -> Result<()> {
        let reference = place::reference(&self.reference, config)?;
        if reference.channel_meant().is_some() {
            return Err(Error::usage(format!("'{reference}' is no version to point to"))
                .hint("give [registry/]publisher/name:version, or @sha256:…"));
        }
        let issued = SystemTime::now();
        let expires = moment(&self.expires, issued)?;
        let keys = self.by.keys(&self.key, config)?;
        let registry = place::registry(&reference, self.transport, config)?.without_mirrors();
        let (channel, sequence) = (&self.channel, self.sequence);
        let moving = Moving {
            registry: &registry,
            reference: &reference,
            channel,
            keys: &keys,
            expires,
            sequence,
        };
        let answer = moving.done(issued, config)?;
        output.packaged(&answer, &[answer.digest], || answer.text("Moved "));
        Ok(())
    }
}

/// A channel that is pointed to a version.
pub struct Moving<'a> {
    /// Where it is.
    pub registry: &'a Registry,
    /// The version, which must be there.
    pub reference: &'a PackageRef,
    /// The channel.
    pub channel: &'a Name,
    /// Who signs.
    pub keys: &'a [Box<dyn SigningKey>],
    /// Until when the pointer counts.
    pub expires: SystemTime,
    /// Its sequence, if it is not to be the next one.
    pub sequence: Option<u64>,
}

impl Moving<'_> {
    /// Where the channel points to now; none where it is not there.
    ///
    /// # Errors
    /// The registry does not answer as it should, or the last pointer is not by these keys.
    pub fn now(&self, config: &Config) -> Result<Option<Pointer>> {
        let bundles = channel::bundles(self.registry, self.reference, self.channel)?;
        if bundles.is_empty() {
            return Ok(None);
        }
        let memory = channel::memory(config);
        let pointer = memory.last(&self.asked(), &bundles, &self.policy()?, SystemTime::now());
        pointer.map(Some).map_err(not_followed)
    }

    /// Signs a pointer and puts it there.
    ///
    /// # Errors
    /// There is no such package, the last pointer is refused, or the registry does not take one.
    pub fn done(&self, issued: SystemTime, config: &Config) -> Result<Answer> {
        let Self { registry, reference, channel, keys, expires, .. } = *self;
        let (digest, version) = pointed(registry, reference)?;
        let (last, kept) = self.last(config)?;
        let sequence = self.sequence(last)?;
        let next = Next {
            name: &reference.name,
            channel,
            sequence,
            digest,
            previous: last.map(|last| last.digest),
            issued,
            expires,
        };
        let mut bundles = Vec::new();
        for key in keys {
            bundles.push(next.sign(&**key).map_err(failed)?);
        }
        bundles.extend(kept);
        bundles.truncate(BUNDLES_MAX);
        // First: what may have reached a registry is never signed again for another digest.
        let seen = Seen { sequence, digest };
        channel::memory(config).keep(&self.asked(), seen, issued).map_err(not_followed)?;
        put(registry, reference, channel, &bundles)?;
        Ok(Answer {
            package: bare(reference),
            channel: channel.clone(),
            digest,
            version,
            sequence,
            expires: time::format(expires).unwrap_or_default(),
            keys: ids(keys)?,
        })
    }

    fn asked(&self) -> Asked<'_> {
        let registry = self.reference.registry.as_deref();
        Asked { name: &self.reference.name, registry, channel: self.channel }
    }

    /// These keys, each of which counts.
    fn policy(&self) -> Result<Policy> {
        let publics = self.keys.iter().map(|key| key.public());
        let publics = publics.collect::<std::result::Result<_, _>>().map_err(failed)?;
        Ok(Policy::of_keys(publics, 1))
    }

    /// The last pointer, as far as these keys signed it, and its bundles, which stay till the new one counts everywhere.
    fn last(&self, config: &Config) -> Result<(Option<Seen>, Vec<Vec<u8>>)> {
        let (asked, memory) = (self.asked(), channel::memory(config));
        let bundles = channel::bundles(self.registry, self.reference, self.channel)?;
        let seen = memory.seen(&asked).map_err(not_followed)?;
        if bundles.is_empty() {
            // Whether it never was there, or is hidden: the sequence goes on.
            return Ok((seen, bundles));
        }
        match memory.last(&asked, &bundles, &self.policy()?, SystemTime::now()) {
            Ok(pointer) => {
                let of_it = |bundle: &Vec<u8>| sequence(bundle) == Some(pointer.sequence);
                let there = Seen { sequence: pointer.sequence, digest: pointer.digest };
                // What was signed for another registry is the same channel.
                let last = seen.filter(|seen| seen.sequence > there.sequence).unwrap_or(there);
                Ok((Some(last), bundles.into_iter().filter(of_it).collect()))
            }
            Err(_) if self.sequence.is_some() => Ok((seen, bundles)),
            Err(error) => {
                let above = seen.map(|seen| format!(", above {}", seen.sequence));
                Err(not_followed(error).hint(format!(
                    "the last pointer is not one of these keys': where that is right, give a higher sequence with --sequence{}",
                    above.unwrap_or_default()
                )))
            }
        }
    }

    fn sequence(&self, last: Option<Seen>) -> Result<u64> {
        let after = last.map_or(0, |last| last.sequence);
        match self.sequence {
            None => Ok(after + 1),
            Some(sequence) if sequence > after => Ok(sequence),
            Some(sequence) => Err(Error::usage(format!(
                "--sequence {sequence}: the last pointer that is known here has {after} already, and none is signed again for another package"
            ))),
        }
    }
}

impl Sign {
    fn run(self, output: &Output, config: &Config) -> Result<()> {
        let reference = place::reference(&self.reference, config)?;
        let Some(name) = reference.channel.clone() else {
            return Err(Error::usage(format!("'{reference}' names no channel"))
                .hint("give [registry/]publisher/name@channel"));
        };
        let key = self.key.key(config)?;
        let registry = place::registry(&reference, self.transport, config)?.without_mirrors();
        let mut bundles = channel::bundles(&registry, &reference, &name)?;
        let Some(newest) = bundles.iter().max_by_key(|bundle| sequence(bundle)) else {
            return Err(Error::new(Kind::Failed, format!("{reference} has no pointer to sign"))
                .hint("skep channel move makes one"));
        };
        let newest = Bundle::parse(newest).map_err(failed)?;
        let added = newest.also_signed_by(&*key).map_err(failed)?;
        // Held against everything that is asked of a pointer before it goes out under this key.
        let public = key.public().map_err(failed)?;
        let policy = Policy::of_keys(vec![public], 1);
        let host = reference.registry.as_deref();
        let asked = Asked { name: &reference.name, registry: host, channel: &name };
        let memory = channel::memory(config);
        let pointer = memory
            .follow(&asked, std::slice::from_ref(&added), &policy, SystemTime::now())
            .map_err(not_followed)?;
        if !bundles.contains(&added) {
            bundles.insert(0, added);
            bundles.truncate(BUNDLES_MAX);
            put(&registry, &reference, &name, &bundles)?;
        }
        let answer = Answer {
            package: bare(&reference),
            channel: name,
            digest: pointer.digest,
            version: None,
            sequence: pointer.sequence,
            expires: time::format(pointer.expires).unwrap_or_default(),
            keys: pointer.keys,
        };
        output.packaged(&answer, &[answer.digest], || answer.text("Signed "));
        Ok(())
    }
}

impl Show {
    fn run(self, output: &Output, config: &Config) -> Result<()> {
        let reference = place::reference(&self.reference, config)?;
        if reference.channel_meant().is_none() {
            return Err(Error::usage(format!("'{reference}' names no channel"))
                .hint("give [registry/]publisher/name@channel"));
        }
        let policy = match &self.key {
            Some(file) => Policy::of_keys(vec![keys::public(file)?], 1),
            None => rules::of_machine(config)?,
        };
        let registry = place::registry(&reference, self.transport, config)?;
        let Followed { reference, channel, pointer, .. } =
            channel::follow(&registry, &reference, &policy, config)?;
        let (digest, version) = pointed(&registry, &reference.at(pointer.digest))?;
        let answer = Answer {
            package: bare(&reference),
            channel,
            digest,
            version,
            sequence: pointer.sequence,
            expires: time::format(pointer.expires).unwrap_or_default(),
            keys: pointer.keys,
        };
        output.answer(&answer, || answer.text(""));
        Ok(())
    }
}

/// The digest of a package's index in the registry, and the version that it says; it must be that package's.
fn pointed(registry: &Registry, reference: &PackageRef) -> Result<(Digest, Option<String>)> {
    let bytes = place::ask(registry.index(reference))?;
    let index = Index::parse(&bytes).map_err(failed)?;
    if index.annotations.get(media::TITLE).map(String::as_str) != Some(reference.name.as_str()) {
        return Err(Error::new(
            Kind::Failed,
            format!("{reference} is not the package of that name"),
        ));
    }
    Ok((Digest::of(&bytes), index.annotations.get(media::VERSION).cloned()))
}

fn put(
    registry: &Registry,
    reference: &PackageRef,
    channel: &Name,
    bundles: &[Vec<u8>],
) -> Result<()> {
    place::ask(registry.put_channel(reference, channel, bundles))
}

/// The sequence that a pointer says, whoever signed it.
fn sequence(bundle: &[u8]) -> Option<u64> {
    let statement = Bundle::parse(bundle).ok()?.unchecked_statement().ok()?;
    statement.predicate.get("sequence")?.as_u64()
}

fn ids(keys: &[Box<dyn SigningKey>]) -> Result<Vec<KeyId>> {
    keys.iter().map(|key| key.public().map(|key| key.id()).map_err(failed)).collect()
}

fn bare(reference: &PackageRef) -> String {
    PackageRef { version: None, digest: None, channel: None, ..reference.clone() }.to_string()
}

impl Answer {
    /// The channel alone.
    pub fn line(&self) -> String {
        format!("{}, sequence {}, until {}", self.channel, self.sequence, self.expires)
    }

    fn text(&self, did: &str) -> String {
        let version = self.version.as_ref().map(|version| format!(", version {version}"));
        let keys: Vec<String> =
            self.keys.iter().map(|key| format!("signed by key {key}")).collect();
        format!(
            "{did}{}@{}: sequence {}{}, until {}\n{}\n{}",
            self.package,
            self.channel,
            self.sequence,
            version.unwrap_or_default(),
            self.expires,
            self.digest,
            keys.join("\n")
        )
    }
}
