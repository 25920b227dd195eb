//! Channels: a signed pointer from a name such as `stable` to the digest of an index.

use std::collections::BTreeSet;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;
use skep_spec::param::MAX_EXACT;
use skep_spec::{Channel, Digest, PackageName, json, media, schema};

use crate::bundle::{Bundle, Statement, Subject, sign_predicate};
use crate::key::{KeyError, KeyId, SigningKey};
use crate::policy::Policy;
use crate::time;
use crate::verify::{BUNDLES_MAX, By, Refusal, Signed, code_of, trusted};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The package.
    pub name: &'a PackageName,
    /// The registry that it comes from, for rules that name registries.
    pub registry: Option<&'a str>,
    /// The channel.
    pub channel: &'a Channel,
}

/// The highest pointer that was seen of a package's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its sequence.
    pub sequence: u64,
    /// What it pointed to.
    pub digest: Digest,
}

/// A pointer that enough trusted keys signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The index. Its own signatures are still to be checked.
    pub digest: Digest,
    /// From 1, higher with each new pointer.
    pub sequence: u64,
    /// The last moment at which it installs something.
    pub expires: SystemTime,
    /// The keys that signed it.
    pub keys: Vec<KeyId>,
}

/// Why a channel was not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Nobody is trusted to sign this package.
    #[error("{0} is refused: no rule in trust.toml speaks of it")]
    NoRule(PackageName),
    /// The rule names certificates only.
    #[error("{0} is refused: its rule has no keys, which are what channels are signed by")]
    Keyless(PackageName),
    /// No bundle.
    #[error("{0} has no signed channel '{1}'")]
    Unsigned(PackageName, Channel),
    /// Too few trusted keys say the same.
    #[error("the channel is refused: {found} of {needed} trusted signatures say the same")]
    NotEnough {
        /// Most keys that signed one pointer.
        found: usize,
        /// What the rule asks for.
        needed: usize,
        /// Why each other bundle does not count.
        refusals: Vec<Refusal>,
    },
    /// It points to what is revoked.
    #[error("the channel points to {0}, which is revoked")]
    Revoked(Digest),
    /// A trusted key signed what is no pointer.
    #[error("the channel is not as it should be: {0}")]
    Malformed(String),
    /// The pointer is of another package or channel.
    #[error("asked for {asked} and got the pointer of {found}")]
    Another {
        /// `name@channel`.
        asked: String,
        /// `name@channel`.
        found: String,
    },
    /// Somebody plays back an old pointer.
    #[error(
        "the channel has sequence {found}, and {seen} was seen before: an older pointer is refused"
    )]
    Older {
        /// What came.
        found: u64,
        /// The highest that was seen.
        seen: u64,
    },
    /// Two pointers with one sequence.
    #[error(
        "the channel's sequence {sequence} pointed to {seen} before and points to {found} now: tell the publisher"
    )]
    Equivocation {
        /// The sequence.
        sequence: u64,
        /// What was seen.
        seen: Digest,
        /// What came.
        found: Digest,
    },
    /// Too old to install anything new.
    #[error("the channel expired: ask the publisher to sign it again")]
    Expired,
}

impl ChannelError {
    /// The standard's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRule(_) => "trust.no-rule",
            Self::Keyless(_) => "trust.keyless",
            Self::Unsigned(..) => "trust.unsigned",
            Self::NotEnough { refusals, .. } => code_of(refusals),
            Self::Revoked(_) => "trust.revoked-digest",
            Self::Malformed(_) => "channel.malformed",
            Self::Another { .. } => "channel.another",
            Self::Older { .. } => "channel.older",
            Self::Equivocation { .. } => "channel.equivocation",
            Self::Expired => "channel.expired",
        }
    }

    /// Whether it would be followed if it were earlier.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired)
            || self.refusals().iter().any(|refusal| matches!(refusal, Refusal::Expired(_)))
    }

    /// Why bundles do not count, where too few do.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        match self {
            Self::NotEnough { refusals, .. } => refusals,
            _ => &[],
        }
    }
}

/// The schema of a pointer.
pub(crate) fn schema() -> serde_json::Value {
    let codes = &[("*", "channel.malformed")];
    schema::of::<Predicate>("channel", "The predicate of a channel's pointer", codes)
}

#[derive(Deserialize, JsonSchema)]
struct Predicate {
    name: PackageName,
    channel: Channel,
    #[schemars(range(min = 1, max = MAX_EXACT))]
    sequence: u64,
    #[schemars(regex(pattern = time::PATTERN), extend("format" = "skep-time"))]
    issued: String,
    #[schemars(regex(pattern = time::PATTERN), extend("format" = "skep-time"))]
    expires: String,
    #[serde(default, rename = "previous")]
    _previous: Option<Digest>,
}

/// A pointer that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Next<'a> {
    /// The package.
    pub name: &'a PackageName,
    /// The channel.
    pub channel: &'a Channel,
    /// One more than the last.
    pub sequence: u64,
    /// Where it points to: the digest of an index.
    pub digest: Digest,
    /// Where the last one pointed to.
    pub previous: Option<Digest>,
    /// Now.
    pub issued: SystemTime,
    /// The last moment at which it installs something.
    pub expires: SystemTime,
}

impl Next<'_> {
    /// Signs it, as a bundle.
    ///
    /// # Errors
    /// When a time has no spelling, or there is no signature by the key to be had.
    pub fn sign(&self, key: &dyn SigningKey) -> Result<Vec<u8>, KeyError> {
        let time = |moment| {
            let text = time::format(moment);
            text.ok_or_else(|| KeyError::Encode("a time before 1970 or after 9999".to_owned()))
        };
        let mut predicate = serde_json::json!({
            "name": self.name,
            "channel": self.channel,
            "sequence": self.sequence,
            "issued": time(self.issued)?,
            "expires": time(self.expires)?,
        });
        if let Some(previous) = self.previous {
            predicate["previous"] = previous.to_string().into();
        }
        let subject = Subject { name: "index".to_owned(), digest: self.digest };
        sign_predicate(key, &[subject], media::PREDICATE_CHANNEL, &predicate)
    }
}

/// What a pointer says, whoever signed it: for showing and for carrying, never for trusting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// The package.
    pub name: PackageName,
    /// The channel.
    pub channel: Channel,
    /// Which pointer of it.
    pub sequence: u64,
    /// Where it points to.
    pub digest: Digest,
}

/// Reads a pointer of which nobody checked the signature; what is none says nothing.
#[must_use]
pub fn unchecked(bundle: &[u8]) -> Option<Unchecked> {
    let statement = Bundle::parse(bundle).ok()?.unchecked_statement().ok()?;
    let said = json::typed::<Predicate>(statement.predicate).ok()?;
    let is_pointer = statement.predicate_type == media::PREDICATE_CHANNEL;
    let [subject] = statement.subjects.as_slice() else { return None };
    let Predicate { name, channel, sequence, .. } = said;
    is_pointer.then_some(Unchecked { name, channel, sequence, digest: subject.digest })
}

/// Where a channel points to.
///
/// `seen` is the highest pointer that the caller has kept; the caller keeps what comes back. `now` is as for
/// [`crate::verify()`].
///
/// # Errors
/// Too few trusted keys signed one pointer, it is of something else, older than what was seen, or over.
pub fn follow(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    seen: Option<Seen>,
    now: SystemTime,
) -> Result<Pointer, ChannelError> {
    let pointer = look(asked, bundles, policy, seen, now)?;
    if now > pointer.expires { Err(ChannelError::Expired) } else { Ok(pointer) }
}

/// As [`follow`], of a pointer that may have expired: it installs nothing, and the next one follows it.
///
/// # Errors
/// As [`follow`], but for the expiry.
pub fn look(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    seen: Option<Seen>,
    now: SystemTime,
) -> Result<Pointer, ChannelError> {
    let pointer = highest(asked, signed(asked, bundles, policy, now)?)?;
    if policy.is_digest_revoked(&pointer.digest) {
        return Err(ChannelError::Revoked(pointer.digest));
    }
    let (found, sequence) = (pointer.digest, pointer.sequence);
    match seen {
        Some(seen) if sequence < seen.sequence => {
            Err(ChannelError::Older { found: sequence, seen: seen.sequence })
        }
        Some(Seen { sequence: same, digest }) if same == sequence && digest != found => {
            Err(ChannelError::Equivocation { sequence, seen: digest, found })
        }
        _ => Ok(pointer),
    }
}

/// Those of a channel's bundles that are worth carrying or keeping: each a pointer of it that a key of the package's rule has
/// signed, whether or not enough have.
#[must_use]
pub fn worth(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> Vec<Vec<u8>> {
    let Some((rule, _)) = policy.rule(asked.name, asked.registry) else { return Vec::new() };
    let is_one = |bundle: &&Vec<u8>| {
        let signed = trusted(bundle, rule, policy, now, media::PREDICATE_CHANNEL);
        let signed = signed.and_then(of_key);
        signed.is_ok_and(|(key, signed)| read(asked, &signed.statement, [key].into()).is_ok())
    };
    bundles.iter().filter(is_one).cloned().collect()
}

/// The pointer of the highest sequence; of two such to one digest that which holds longer. What is no pointer, or one
/// of something else, does no harm beside one: who keeps the registry can put any signed statement there.
fn highest(
    asked: &Asked<'_>,
    signed: Vec<(Statement, BTreeSet<KeyId>)>,
) -> Result<Pointer, ChannelError> {
    let (mut found, mut refused): (Vec<Pointer>, Vec<ChannelError>) = Default::default();
    for (statement, keys) in signed {
        match read(asked, &statement, keys) {
            Ok(pointer) => found.push(pointer),
            Err(error) => refused.push(error),
        }
    }
    let Some(best) = found.iter().max_by_key(|pointer| (pointer.sequence, pointer.expires)) else {
        let nothing = || ChannelError::Malformed("it says nothing".to_owned());
        return Err(refused.into_iter().next().unwrap_or_else(nothing));
    };
    let other =
        |pointer: &&Pointer| pointer.sequence == best.sequence && pointer.digest != best.digest;
    match found.iter().find(other) {
        None => Ok(best.clone()),
        Some(other) => Err(ChannelError::Equivocation {
            sequence: best.sequence,
            seen: best.digest,
            found: other.digest,
        }),
    }
}

/// The key that signed; certificates sign no channels.
fn of_key(signed: Signed) -> Result<(KeyId, Signed), Refusal> {
    match &signed.by {
        By::Key(key) => Ok((*key, signed)),
        By::Identity(_) => Err(Refusal::Keyless("channels are signed by keys".to_owned())),
    }
}

/// The statements that enough keys of the package's rule signed, in the order in which they came.
fn signed(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> Result<Vec<(Statement, BTreeSet<KeyId>)>, ChannelError> {
    let name = || asked.name.clone();
    let rule = policy.rule(asked.name, asked.registry);
    let (rule, _) = rule.ok_or_else(|| ChannelError::NoRule(name()))?;
    if rule.keys().is_empty() {
        return Err(ChannelError::Keyless(name()));
    }
    if bundles.is_empty() {
        return Err(ChannelError::Unsigned(name(), asked.channel.clone()));
    }
    let mut said: Vec<(Vec<u8>, Statement, BTreeSet<KeyId>)> = Vec::new();
    let mut refusals = Vec::new();
    for bundle in bundles.iter().take(BUNDLES_MAX) {
        let signed = trusted(bundle, rule, policy, now, media::PREDICATE_CHANNEL);
        let (key, Signed { statement, payload, .. }) = match signed.and_then(of_key) {
            Ok(signed) => signed,
            Err(refusal) => {
                refusals.push(refusal);
                continue;
            }
        };
        match said.iter_mut().find(|(other, ..)| *other == payload) {
            Some((.., keys)) => _ = keys.insert(key),
            None => said.push((payload, statement, [key].into())),
        }
    }
    // Identities sign no channels.
    let needed = rule.threshold().min(rule.keys().len());
    let found = said.iter().map(|(.., keys)| keys.len()).max().unwrap_or(0);
    let enough = said.into_iter().filter(|(.., keys)| keys.len() >= needed);
    let enough: Vec<_> = enough.map(|(_, statement, keys)| (statement, keys)).collect();
    if enough.is_empty() {
        return Err(ChannelError::NotEnough { found, needed, refusals });
    }
    Ok(enough)
}

fn read(
    asked: &Asked<'_>,
    statement: &Statement,
    keys: BTreeSet<KeyId>,
) -> Result<Pointer, ChannelError> {
    let malformed = |why: String| ChannelError::Malformed(why);
    if let Some(number) = json::inexact(&statement.predicate) {
        return Err(malformed(format!("it holds the number {number}")));
    }
    let predicate = json::typed::<Predicate>(statement.predicate.clone());
    let predicate = predicate.map_err(|error| malformed(error.to_string()))?;
    let [subject] = statement.subjects.as_slice() else {
        return Err(malformed("it should have one subject".to_owned()));
    };
    let time = |text: &str| {
        time::parse(text).ok_or_else(|| malformed(format!("'{}' is no time", text.escape_debug())))
    };
    let (issued, expires) = (time(&predicate.issued)?, time(&predicate.expires)?);
    if issued >= expires || predicate.sequence == 0 {
        return Err(malformed("it ends before it begins, or counts from 0".to_owned()));
    }
    if predicate.name != *asked.name || predicate.channel != *asked.channel {
        return Err(ChannelError::Another {
            asked: format!("{}@{}", asked.name, asked.channel),
            found: format!("{}@{}", predicate.name, predicate.channel),
        });
    }
    let keys = keys.into_iter().collect();
    Ok(Pointer { digest: subject.digest, sequence: predicate.sequence, expires, keys })
}
