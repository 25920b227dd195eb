//! A channel that is pointed to a version, above every pointer of it that is known.

use std::time::SystemTime;

use skep_oci::{FollowError, Registry};
use skep_spec::oci::Index;
use skep_spec::{Channel, Digest, PackageRef, media};
use skep_trust::bundle::{BUNDLE_MAX, Bundle};
use skep_trust::channel::{Asked, ChannelError, Next, Pointer, Seen, unchecked, worth};
use skep_trust::key::SigningKey;
use skep_trust::verify::BUNDLES_MAX;
use skep_trust::{KeyId, Policy, time};

use super::{Answer, bare};
use crate::channel::{self, memory};
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed, not_followed};
use crate::moment;
use crate::options::Transport;
use crate::output::Output;
use crate::place;
use crate::rules;

/// The largest integer that all readers keep exact (part 2 of the standard).
const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/// A channel that is pointed to a version.
pub struct Moving<'a> {
    /// Where it is.
    pub registry: &'a Registry,
    /// The version, which must be there.
    pub reference: &'a PackageRef,
    /// Its digest, where that is known.
    pub digest: Option<Digest>,
    /// The channel.
    pub channel: &'a Channel,
    /// Who signs.
    pub keys: &'a [Box<dyn SigningKey>],
    /// Until when the pointer counts.
    pub expires: SystemTime,
    /// Its sequence, if it is not to be the next one.
    pub sequence: Option<u64>,
    /// Where else the channel is: it has one sequence everywhere.
    pub also: &'a [Elsewhere],
}

/// Another registry that has the package's channel.
pub struct Elsewhere {
    registry: Registry,
    reference: PackageRef,
}

/// The package of a reference in other registries: each `host[:port][/path]`.
///
/// # Errors
/// One is none.
pub fn elsewhere(
    registries: &[String],
    reference: &PackageRef,
    transport: Transport,
    config: &Config,
) -> Result<Vec<Elsewhere>> {
    let name: PackageRef = reference.name.to_string().parse().map_err(failed)?;
    let one = |to: &String| {
        let reference = place::within(to, &name)?;
        let registry = place::registry(&reference, transport, config)?.without_mirrors();
        Ok(Elsewhere { registry, reference })
    };
    registries.iter().map(one).collect()
}

/// What a registry has of a channel.
#[derive(Default)]
struct There {
    /// The last pointer that these keys have signed.
    pointer: Option<Pointer>,
    /// The highest sequence that a key which is trusted here has signed.
    highest: u64,
    /// What stays beside the next one, until that counts everywhere.
    kept: Vec<Vec<u8>>,
    /// Bundles of nobody whom this machine trusts.
    nobodys: usize,
}

impl Moving<'_> {
    /// Where the channel points to now; none where it is not there.
    ///
    /// # Errors
    /// A registry does not answer as it should, or a last pointer is not by these keys.
    pub fn now(&self, config: &Config) -> Result<Option<Pointer>> {
        Ok(self.look(config)?.pointer)
    }

    /// Signs a pointer and puts it there.
    ///
    /// # Errors
    /// There is no such package, a last pointer is refused, or the registry does not take one.
    pub fn done(&self, issued: SystemTime, output: &Output, config: &Config) -> Result<Answer> {
        let Self { registry, reference, channel, keys, expires, .. } = *self;
        let (digest, version) = pointed(registry, reference)?;
        if let Some(ours) = self.digest.filter(|ours| *ours != digest) {
            return Err(place::another(reference, digest, ours)
                .hint("nothing is signed: the registry shows another one than was sent"));
        }
        let There { kept, nobodys, highest, .. } = self.look(config)?;
        let asked = self.asked(reference);
        // All that was looked at is kept.
        let last = memory(config).seen(&asked).map_err(not_followed)?;
        let sequence = self.sequence(last.map_or(0, |last| last.sequence).max(highest))?;
        let previous = last.map(|last| last.digest);
        let name = &reference.name;
        let next = Next { name, channel, sequence, digest, previous, issued, expires };
        let signed = keys.iter().map(|key| next.sign(&**key));
        let signed: std::result::Result<Vec<_>, _> = signed.collect();
        let bundles = together(signed.map_err(failed)?, kept);
        // First: what may have reached a registry is never signed again for another digest.
        let seen = Seen { sequence, digest };
        memory(config).keep(&asked, seen, issued).map_err(not_followed)?;
        if nobodys > 0 {
            output.note(&format!(
                "note: what lay under the channel '{channel}' of {} is replaced: {nobodys} bundles that no key which is given or trusted here has signed",
                bare(reference)
            ));
        }
        place::ask(registry.put_channel(reference, channel, &bundles))?;
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

    /// What its registry has of the channel, after the others were looked at.
    fn look(&self, config: &Config) -> Result<There> {
        let mut highest = 0;
        for Elsewhere { registry, reference } in self.also {
            let there = self.there(registry, reference, config).map_err(|error| {
                let place = bare(reference);
                error.of(format!("can't tell which sequence comes after what {place} has"))
            })?;
            highest = highest.max(there.highest);
        }
        let there = self.there(self.registry, self.reference, config)?;
        Ok(There { highest: highest.max(there.highest), ..there })
    }

    /// What a registry has of it; the sequence of that is kept.
    fn there(&self, registry: &Registry, reference: &PackageRef, config: &Config) -> Result<There> {
        let (asked, clock) = (self.asked(reference), SystemTime::now());
        let bundles = channel::bundles(registry, reference, self.channel)?;
        if bundles.is_empty() {
            // Whether it never was there, or is hidden: the sequence that was seen goes on.
            return Ok(There::default());
        }
        let (by_keys, machine) = (self.policy()?, rules::of_machine(config)?);
        let rule = machine.rule(asked.name, asked.registry);
        let has_rule = rule.is_some_and(|(rule, _)| !rule.keys().is_empty());
        let now = moment::now(config)?;
        let trusted = worth(&asked, &bundles, &machine, now);
        // Where no rule says whose pointers count, anybody's may be a colleague's.
        let counts = bundles.iter().filter(|bundle| !has_rule && self.is_of_it(bundle));
        let highest = trusted.iter().chain(counts).filter_map(|bundle| sequence(bundle)).max();
        let highest = highest.unwrap_or(0);
        let kept_of = |wanted: u64| {
            bundles.iter().filter(|one| sequence(one) == Some(wanted)).cloned().collect()
        };
        let error = match memory(config).last(&asked, &bundles, &by_keys, clock) {
            // A colleague's may be above it.
            Ok(pointer) if pointer.sequence >= highest || self.sequence.is_some() => {
                let kept = kept_of(pointer.sequence.max(highest));
                return Ok(There { pointer: Some(pointer), highest, kept, nobodys: 0 });
            }
            Ok(pointer) => ChannelError::Older { found: pointer.sequence, seen: highest },
            Err(error @ FollowError::Memory { .. }) => return Err(not_followed(error)),
            Err(FollowError::Channel(error)) => error,
        };
        let ours = worth(&asked, &bundles, &by_keys, now);
        if has_rule && trusted.is_empty() && ours.is_empty() {
            return Ok(There { nobodys: bundles.len(), ..There::default() });
        }
        if self.sequence.is_none() {
            return Err(self.not_ours(error, highest, has_rule, config));
        }
        let kept = match has_rule {
            true => trusted,
            false => bundles.into_iter().filter(|bundle| self.is_of_it(bundle)).collect(),
        };
        Ok(There { highest, kept, ..There::default() })
    }

    /// What is signed by others. Where this machine has no rule for the package, nobody knows whether they are its publisher's.
    fn not_ours(
        &self,
        error: ChannelError,
        highest: u64,
        has_rule: bool,
        config: &Config,
    ) -> Error {
        let asked = self.asked(self.reference);
        let seen = memory(config).seen(&asked).ok().flatten().map(|seen| seen.sequence);
        let above = seen.max(Some(highest)).filter(|above| *above > 0);
        let above = above.map(|above| format!(", above {above}")).unwrap_or_default();
        let refused = not_followed(error.into()).hint(format!(
            "the last pointer is not one of these keys': where that is right, give a higher sequence with --sequence{above}"
        ));
        match has_rule {
            true => refused,
            false => refused.hint(format!(
                "where it is nobody's, skep trust add {} --key PUB says whose pointers count here, and it is replaced",
                asked.name
            )),
        }
    }

    /// Whether a bundle says that it is a pointer of this channel, whoever signed it.
    fn is_of_it(&self, bundle: &[u8]) -> bool {
        unchecked(bundle)
            .is_some_and(|said| said.name == self.reference.name && said.channel == *self.channel)
    }

    fn asked<'r>(&'r self, reference: &'r PackageRef) -> Asked<'r> {
        let registry = reference.registry.as_deref();
        Asked { name: &self.reference.name, registry, channel: self.channel }
    }

    /// These keys, each of which counts.
    fn policy(&self) -> Result<Policy> {
        let publics = self.keys.iter().map(|key| key.public());
        let publics = publics.collect::<std::result::Result<_, _>>().map_err(failed)?;
        Ok(Policy::of_keys(publics, 1))
    }

    fn sequence(&self, after: u64) -> Result<u64> {
        match self.sequence {
            Some(sequence) if sequence > SEQUENCE_MAX => Err(Error::usage(format!(
                "--sequence {sequence}: readers take none above {SEQUENCE_MAX}"
            ))),
            None if after >= SEQUENCE_MAX => Err(Error::new(
                Kind::Failed,
                format!("sequence {after} of the channel is the last that readers take"),
            )
            .hint("skep trust add says whose pointers count, where it is a stranger's; a channel of another name begins at 1")),
            None => Ok(after + 1),
            Some(sequence) if sequence > after => Ok(sequence),
            Some(sequence) => Err(Error::usage(format!(
                "--sequence {sequence}: the last pointer that is known here has {after} already, and none is signed again for another package"
            ))),
        }
    }
}

/// The digest of a package's index in the registry, and the version that it says; it must be that package's and, where one is
/// named, that version's.
pub(super) fn pointed(
    registry: &Registry,
    reference: &PackageRef,
) -> Result<(Digest, Option<String>)> {
    let bytes = place::ask(registry.index(reference))?;
    let index = Index::parse(&bytes).map_err(failed)?;
    let version = index.annotations.get(media::VERSION).cloned();
    let is_named =
        index.annotations.get(media::TITLE).map(String::as_str) == Some(reference.name.as_str());
    let wanted = reference.version.as_ref().map(ToString::to_string);
    if !is_named {
        let what = format!("{reference} is not the package of that name");
        return Err(Error::new(Kind::Failed, what));
    }
    if wanted.is_some() && version != wanted {
        let found = version.unwrap_or_else(|| "none".to_owned());
        let what = format!("{reference} is not that version: what is there says {found}");
        return Err(Error::new(Kind::Refused, what).hint(
            "nothing was signed: the registry moved the tag, or somebody with access to it",
        ));
    }
    Ok((Digest::of(&bytes), version))
}

/// New bundles, and of those that were there as many as readers look at.
pub(super) fn together(new: Vec<Vec<u8>>, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut all = new;
    let mut bytes: usize = all.iter().map(Vec::len).sum();
    for bundle in kept {
        bytes += bundle.len();
        if all.len() == BUNDLES_MAX || bytes > BUNDLE_MAX {
            break;
        }
        all.push(bundle);
    }
    all
}

/// The sequence that a pointer says, whoever signed it, if readers take it.
pub(super) fn sequence(bundle: &[u8]) -> Option<u64> {
    let statement = Bundle::parse(bundle).ok()?.unchecked_statement().ok()?;
    let sequence = statement.predicate.get("sequence")?.as_u64();
    sequence.filter(|sequence| *sequence <= SEQUENCE_MAX)
}

fn ids(keys: &[Box<dyn SigningKey>]) -> Result<Vec<KeyId>> {
    keys.iter().map(|key| key.public().map(|key| key.id()).map_err(failed)).collect()
}
