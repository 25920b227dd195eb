//! A channel that is pointed to a version, above every pointer of it that is known.

use std::time::SystemTime;

use skep_oci::{Claimed, FollowError, Registry, RegistryError};
use skep_spec::oci::Index;
use skep_spec::{Channel, Digest, PackageRef, media};
use skep_trust::bundle::{BUNDLE_MAX, Bundle};
use skep_trust::channel::{Asked, ChannelError, Next, Pointer, Seen, look, unchecked, worth};
use skep_trust::key::SigningKey;
use skep_trust::verify::BUNDLES_MAX;
use skep_trust::{KeyId, Policy, time};

use super::counted::{ids, none_is_revoked, uncounted};
use super::elsewhere::Elsewhere;
use super::{Answer, bare};
use crate::channel::memory;
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed, not_followed};
use crate::moment;
use crate::output::Output;
use crate::place::{self, Lying};
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
    /// What lies there as it was looked at.
    lying: Lying,
}

/// What is known of a channel before it moves.
pub struct Known {
    /// Where it points to now; none where it is not there.
    pub pointer: Option<Pointer>,
    /// What was found in each other registry that was named.
    pub found: Vec<String>,
}

impl Moving<'_> {
    /// Where the channel points to now.
    ///
    /// # Errors
    /// A registry does not answer as it should, a last pointer is not by these keys, or one of these is revoked.
    pub fn now(&self, config: &Config) -> Result<Known> {
        none_is_revoked(&ids(self.keys)?, &rules::of_machine(config)?)?;
        let (There { pointer, .. }, found) = self.look(config)?;
        Ok(Known { pointer, found })
    }

    /// Signs a pointer and puts it there.
    ///
    /// # Errors
    /// There is no such package, a last pointer is refused, or the registry does not take one.
    pub fn done(&self, issued: SystemTime, output: &Output, config: &Config) -> Result<Answer> {
        let Self { registry, reference, channel, keys, expires, .. } = *self;
        let (machine, own) = (rules::of_machine(config)?, ids(keys)?);
        none_is_revoked(&own, &machine)?;
        let (digest, version) = pointed(registry, reference)?;
        if let Some(ours) = self.digest.filter(|ours| *ours != digest) {
            return Err(place::another(reference, digest, ours)
                .hint("nothing is signed: the registry shows another one than was sent"));
        }
        let (There { kept, nobodys, highest, lying, .. }, found) = self.look(config)?;
        found.iter().for_each(|found| output.note(&format!("note: {found}")));
        let asked = self.asked(reference);
        // First: what may have reached a registry is never signed again for another digest.
        let pick = |seen: u64| self.sequence(seen.max(highest));
        let claimed = memory(config).claim(&asked, (&own, digest), issued, pick);
        let Claimed { sequence, previous } = claimed.map_err(not_followed)??;
        let name = &reference.name;
        let next = Next { name, channel, sequence, digest, previous, issued, expires };
        let signed = keys.iter().map(|key| next.sign(&**key));
        let signed: Vec<Vec<u8>> = signed.collect::<std::result::Result<_, _>>().map_err(failed)?;
        let by: Vec<_> = own.iter().copied().zip(signed.iter().cloned()).collect();
        let now = moment::now(config)?;
        uncounted(&asked, &by, &machine, now).iter().for_each(|told| output.note(told));
        self.gives_way(nobodys, &lying).iter().for_each(|told| output.note(told));
        let bundles = together(signed, kept);
        self.put(&bundles, &lying, (&own, sequence), config)?;
        // Who signs for himself is not played back what was there before.
        let counts = look(&asked, &bundles, &machine, None, now);
        if counts.is_ok_and(|pointer| (pointer.sequence, pointer.digest) == (sequence, digest)) {
            memory(config).keep(&asked, Seen { sequence, digest }, issued).map_err(not_followed)?;
        }
        Ok(Answer {
            package: bare(reference),
            channel: channel.clone(),
            digest,
            version,
            sequence,
            expires: time::format(expires).unwrap_or_default(),
            keys: own,
        })
    }

    /// Puts a pointer that these keys have signed over what was looked at. Where others were first it goes nowhere.
    fn put(
        &self,
        bundles: &[Vec<u8>],
        lying: &Lying,
        (own, sequence): (&[KeyId], u64),
        config: &Config,
    ) -> Result<()> {
        let Self { registry, reference, channel, .. } = *self;
        let mut is_late = false;
        let put = place::ask(async {
            let put = registry.move_channel(reference, channel, lying.before(), bundles).await;
            is_late = matches!(put, Err(RegistryError::Changed { .. }));
            put
        });
        if is_late {
            let (asked, now) = (self.asked(reference), SystemTime::now());
            memory(config).withdraw(&asked, own, sequence, now).map_err(not_followed)?;
        }
        put
    }

    /// What is replaced, for people.
    fn gives_way(&self, nobodys: usize, lying: &Lying) -> Vec<String> {
        let replaced = |why: String| {
            let (channel, place) = (self.channel, bare(self.reference));
            format!("note: what lay under the channel '{channel}' of {place} is replaced: {why}")
        };
        let junk = lying.junk.iter().map(|why| format!("it {why}"));
        let nobodys = Some(nobodys).filter(|count| *count > 0).map(|count| {
            format!("{count} bundles that no key which is given or trusted here has signed")
        });
        junk.chain(nobodys).map(replaced).collect()
    }

    /// What its registry has of the channel, after the others were looked at, and what was found there.
    fn look(&self, config: &Config) -> Result<(There, Vec<String>)> {
        let (mut highest, mut found) = (0, Vec::new());
        for place in self.also {
            let Elsewhere { registry, reference } = place;
            let there = self.there(registry, reference, config);
            let there = there.map_err(|error| place.cannot_tell(error))?;
            if there.lying.bundles.is_empty() && there.lying.junk.is_none() {
                place.has_package()?;
            }
            highest = highest.max(there.highest);
            let own = there.pointer.as_ref().map_or(0, |pointer| pointer.sequence);
            found.push(place.says(self.channel, &there.lying, there.highest.max(own)));
        }
        let there = self.there(self.registry, self.reference, config)?;
        Ok((There { highest: highest.max(there.highest), ..there }, found))
    }

    /// What a registry has of it; the sequence of that is kept.
    fn there(&self, registry: &Registry, reference: &PackageRef, config: &Config) -> Result<There> {
        let (asked, clock) = (self.asked(reference), SystemTime::now());
        let lying = place::lying(registry.channel(reference, self.channel))?;
        let bundles = lying.bundles.clone();
        if bundles.is_empty() {
            // Whether it never was there, is hidden or was put aside: the sequence that was seen goes on.
            return Ok(There { lying, ..There::default() });
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
        let keys = ids(self.keys)?;
        let error = match memory(config).last(&asked, &bundles, &by_keys, &keys, clock) {
            // A colleague's may be above it.
            Ok(pointer) if pointer.sequence >= highest || self.sequence.is_some() => {
                let kept = kept_of(pointer.sequence.max(highest));
                return Ok(There { pointer: Some(pointer), highest, kept, nobodys: 0, lying });
            }
            Ok(pointer) => ChannelError::Older { found: pointer.sequence, seen: highest },
            Err(error @ FollowError::Memory { .. }) => return Err(not_followed(error)),
            Err(FollowError::Channel(error)) => error,
        };
        let ours = worth(&asked, &bundles, &by_keys, now);
        if has_rule && trusted.is_empty() && ours.is_empty() {
            return Ok(There { nobodys: bundles.len(), lying, ..There::default() });
        }
        if self.sequence.is_none() {
            return Err(self.not_ours(error, highest, has_rule, config));
        }
        let kept = match has_rule {
            true => trusted,
            false => bundles.into_iter().filter(|bundle| self.is_of_it(bundle)).collect(),
        };
        Ok(There { highest, kept, lying, ..There::default() })
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
        let seen = memory(config).highest(&asked).ok().flatten().map(|seen| seen.sequence);
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
