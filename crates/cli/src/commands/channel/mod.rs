//! `skep channel`.

mod counted;
mod elsewhere;
mod moving;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;
use skep_spec::{Channel as Name, Digest, PackageRef};
use skep_trust::bundle::Bundle;
use skep_trust::channel::{Asked, Seen, look, worth};
use skep_trust::{KeyId, Policy, time};

use self::counted::{none_is_revoked, uncounted};
pub use self::elsewhere::{Elsewhere, elsewhere};
pub use self::moving::{Known, Moving};
use self::moving::{pointed, sequence, together};
use crate::channel::{self, Followed};
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed, not_followed};
use crate::keys::{self, SignOptions, SignedBy};
use crate::moment::{self, moment};
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
    /// Another registry that has this channel, host[:port][/path]: the sequence goes on above it, too; may be given several times
    #[arg(long, value_name = "REGISTRY")]
    also: Vec<String>,
    #[command(flatten)]
    transport: Transport,
}

/// Sign a channel's newest pointer with another key
///
/// The newest that a key of the package's rule in trust.toml has signed, or the one of --of: what a stranger put there is left.
#[derive(Debug, Args)]
struct Sign {
    /// Which: [registry/]publisher/name@channel
    reference: String,
    /// The public key of whoever moved it, instead of those that trust.toml trusts
    #[arg(long, value_name = "PUB")]
    of: Option<PathBuf>,
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
        let also = elsewhere(&self.also, &reference, self.transport, config)?;
        let moving = Moving {
            registry: &registry,
            reference: &reference,
            digest: None,
            channel,
            keys: &keys,
            expires,
            sequence,
            also: &also,
        };
        let answer = moving.done(issued, output, config)?;
        output.packaged(&answer, &[answer.digest], || answer.text("Moved "));
        Ok(())
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
        let lying = place::lying(registry.channel(&reference, &name))?;
        let mut bundles = lying.bundles.clone();
        if bundles.is_empty() {
            let none = Error::new(Kind::Failed, format!("{reference} has no pointer to sign"));
            let why = lying.junk.map(|why| format!("what lies there {why}"));
            return Err(why
                .into_iter()
                .fold(none, Error::because)
                .hint("skep channel move makes one"));
        }
        let host = reference.registry.as_deref();
        let asked = Asked { name: &reference.name, registry: host, channel: &name };
        let (machine, now) = (rules::of_machine(config)?, moment::now(config)?);
        let public = key.public().map_err(failed)?;
        let id = public.id();
        none_is_revoked(&[id], &machine)?;
        let policy = match &self.of {
            Some(file) => Policy::of_keys(vec![keys::public(file)?], 1),
            None => machine.clone(),
        };
        let theirs = worth(&asked, &bundles, &policy, now);
        let newest = theirs.iter().max_by_key(|bundle| sequence(bundle)).ok_or_else(|| {
            Error::new(Kind::Refused, format!("{reference} has no pointer by a key that is trusted here"))
                .hint("--of PUB names the key of whoever moved it; skep trust add PATTERN --key PUB trusts it")
        })?;
        let newest = Bundle::parse(newest).map_err(failed)?;
        let added = newest.also_signed_by(&*key).map_err(failed)?;
        // Held against everything that is asked of a pointer before it goes out under this key.
        let own = Policy::of_keys(vec![public], 1);
        let (memory, clock) = (channel::memory(config), SystemTime::now());
        let one = std::slice::from_ref(&added);
        let pointer = memory.sign_too(&asked, one, &own, id, clock).map_err(not_followed)?;
        let by = [(id, added.clone())];
        uncounted(&asked, &by, &machine, now).iter().for_each(|told| output.note(told));
        if !bundles.contains(&added) {
            bundles = together(vec![added], bundles);
            place::ask(registry.move_channel(&reference, &name, lying.before(), &bundles))?;
        }
        let (sequence, digest) = (pointer.sequence, pointer.digest);
        let counts = look(&asked, &bundles, &machine, None, now);
        if counts.is_ok_and(|counted| (counted.sequence, counted.digest) == (sequence, digest)) {
            memory.keep(&asked, Seen { sequence, digest }, clock).map_err(not_followed)?;
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

fn bare(reference: &PackageRef) -> String {
    reference.alone().to_string()
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
