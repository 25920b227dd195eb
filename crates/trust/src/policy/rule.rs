//! One rule of `trust.toml`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use skep_spec::PackageName;

use super::file::{KeyFile, KeylessFile, RuleFile};
use super::pattern::Pattern;
use crate::attestation::Kind;
use crate::key::{KeyId, PublicKey};
use crate::keyless::Root;
use crate::time::instant;

/// One rule: which packages, how many signatures, whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) patterns: Vec<Pattern>,
    pub(super) registries: Vec<String>,
    pub(super) threshold: usize,
    pub(super) keys: Vec<TrustedKey>,
    pub(super) identities: Vec<Identity>,
    pub(super) attestations: BTreeSet<Kind>,
    pub(super) follow: bool,
}

/// An identity that a rule trusts, whatever key it signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who says that a key is of this identity: an OpenID Connect issuer.
    pub issuer: String,
    /// An address or URI as certificates have it; one that ends with `*` is the beginning of one.
    pub identity: String,
    /// Where the authorities are said that are believed: a file, from the folder of `trust.toml`.
    pub trusted_root: Option<String>,
    /// The last moment at which its signatures count, if there is one.
    pub not_after: Option<SystemTime>,
    /// What stands there, once it was read; or why it bears out nobody.
    pub(crate) root: Option<Result<Arc<Root>, String>>,
}

impl Identity {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.not_after.is_some_and(|end| now > end)
    }

    /// A whole name outweighs every beginning, a longer beginning a shorter one.
    pub(crate) fn weight(&self) -> (bool, usize) {
        (!self.identity.ends_with('*'), self.identity.len())
    }

    /// Whether it speaks of all of another one, and of more.
    fn is_wider(&self, other: &Self) -> bool {
        let beginning = self.identity.strip_suffix('*');
        let holds = beginning.is_some_and(|beginning| other.identity.starts_with(beginning));
        holds && self.identity != other.identity && self.issuer == other.issuer
    }

    /// Whether it is the same, whenever it ends.
    #[must_use]
    pub fn is(&self, issuer: &str, identity: &str, trusted_root: Option<&str>) -> bool {
        let own = (self.issuer.as_str(), self.identity.as_str(), self.trusted_root.as_deref());
        own == (issuer, identity, trusted_root)
    }

    /// Why nobody is borne out by its trusted root, once that was read.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.root.as_ref()?.as_ref().err().map(String::as_str)
    }
}

/// A key that a rule trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// The last moment at which its signatures count, if there is one.
    pub not_after: Option<SystemTime>,
}

impl Rule {
    /// Which packages it speaks of.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The registries that packages must come from; none means any place.
    #[must_use]
    pub fn registries(&self) -> &[String] {
        &self.registries
    }

    /// The trusted identities.
    #[must_use]
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The identities that would count for all that one names, once that and others were gone: the narrowest that are wider than
    /// it, as far as they are not over.
    #[must_use]
    pub fn falls_to(&self, one: &Identity, gone: &[&Identity], now: SystemTime) -> Vec<&Identity> {
        let is_left = |other: &&Identity| {
            let is_gone = gone.iter().any(|gone| gone == other);
            !is_gone && other.is_wider(one) && other.trusted_root.is_some()
        };
        let wider = || self.identities.iter().filter(is_left);
        let narrowest = wider().map(Identity::weight).max();
        wider().filter(|one| Some(one.weight()) == narrowest && !one.is_over(now)).collect()
    }

    /// Whether anybody can sign by it that can be checked: a key, or an identity whose trusted root was read.
    pub(crate) fn has_signers(&self) -> bool {
        !self.keys.is_empty() || self.identities.iter().any(|one| one.root.is_some())
    }

    /// How many different keys and identities must have signed: one or more.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The trusted keys.
    #[must_use]
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// Those of its keys whose time is over.
    #[must_use]
    pub fn ended(&self, now: SystemTime) -> BTreeSet<KeyId> {
        let over = |key: &&TrustedKey| key.not_after.is_some_and(|end| now > end);
        self.keys.iter().filter(over).map(|key| key.key.id()).collect()
    }

    /// Whether it follows its publisher's keys by itself.
    #[must_use]
    pub const fn follows(&self) -> bool {
        self.follow
    }

    /// The kinds of attestations that one of the keys must have signed, too.
    #[must_use]
    pub const fn attestations(&self) -> &BTreeSet<Kind> {
        &self.attestations
    }

    pub(super) fn new(file: RuleFile) -> Result<Self, String> {
        if file.packages.is_empty() {
            return Err("'packages' is empty: write [\"publisher/*\"], or [\"*\"] for all".into());
        }
        let patterns =
            file.packages.into_iter().map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        let mut keys: Vec<TrustedKey> = Vec::new();
        for key in file.keys {
            let key = TrustedKey::new(key)?;
            if keys.iter().any(|other| other.key == key.key) {
                return Err(format!("the key {} is there twice", key.key.id()));
            }
            keys.push(key);
        }
        let identities = identities(file.keyless)?;
        if keys.is_empty() && identities.is_empty() {
            return Err("it trusts nobody: give 'keys' (or delete the rule)".into());
        }
        let threshold = usize::try_from(file.threshold).unwrap_or_default();
        let (own, signers) = (keys.len(), keys.len() + identities.len());
        if threshold == 0 || threshold > signers {
            let threshold = file.threshold;
            return Err(format!(
                "threshold {threshold} cannot be met with {signers} keys: it is from 1 to the number of keys"
            ));
        }
        if file.registries.as_ref().is_some_and(Vec::is_empty) {
            return Err("'registries' is empty: leave it out to mean every registry".into());
        }
        let registries = file.registries.unwrap_or_default();
        if file.attestations.as_ref().is_some_and(Vec::is_empty) {
            return Err("'attestations' is empty: leave it out to ask for none".into());
        }
        let attestations = file.attestations.into_iter().flatten().collect();
        let mut publishers = patterns.iter().filter_map(Pattern::publisher);
        let publisher = publishers.next();
        let is_one = publisher.is_some() && publishers.all(|other| Some(other) == publisher);
        if file.follow
            && (!is_one || patterns.iter().any(|pattern| pattern.0 == "*") || threshold > own)
        {
            return Err(
                "'follow' is for the keys of one publisher: give it a rule of its own".into()
            );
        }
        let follow = file.follow;
        Ok(Self { patterns, registries, threshold, keys, identities, attestations, follow })
    }

    pub(super) fn is_for_registry(&self, registry: Option<&str>) -> bool {
        self.registries.is_empty()
            || registry.is_some_and(|asked| self.registries.iter().any(|r| r == asked))
    }

    /// The most specific of its patterns that speaks of a package.
    #[must_use]
    pub fn best_pattern(&self, name: &PackageName) -> Option<&Pattern> {
        self.patterns.iter().filter(|p| p.matches(name)).max_by_key(|p| p.weight())
    }

    /// A pattern that both rules hold while neither's registries tell them apart.
    pub(super) fn clashes_with(&self, other: &Self) -> Option<&Pattern> {
        let same_registry = match (self.registries.as_slice(), other.registries.as_slice()) {
            ([], []) => true,
            (ours, theirs) => ours.iter().any(|r| theirs.contains(r)),
        };
        self.patterns.iter().find(|p| same_registry && other.patterns.contains(p))
    }
}

fn identities(files: Vec<KeylessFile>) -> Result<Vec<Identity>, String> {
    let mut identities: Vec<Identity> = Vec::new();
    for KeylessFile { issuer, identity, trusted_root, not_after } in files {
        let not_after = not_after.as_ref().map(instant).transpose()?;
        let one = Identity { issuer, identity, trusted_root, not_after, root: None };
        if one.issuer.is_empty() || one.identity.trim_end_matches('*').is_empty() {
            return Err("'keyless' is for somebody: give an issuer and an identity".into());
        }
        if one.identity.contains('*') && !is_beginning(&one.identity) {
            return Err(format!(
                "the identity {one} is too wide: '*' stands at the end of a URI, behind a / @ or : of its path"
            ));
        }
        let root = one.trusted_root.as_deref();
        if identities.iter().any(|other| other.is(&one.issuer, &one.identity, root)) {
            return Err(format!("the identity {one} is there twice"));
        }
        identities.push(one);
    }
    Ok(identities)
}

/// Whether it is the beginning of URIs of one host, at a place where a word of the path ends.
fn is_beginning(identity: &str) -> bool {
    let beginning = identity.strip_suffix('*').filter(|text| text.ends_with(['/', '@', ':']));
    let place =
        beginning.filter(|text| !text.contains('*')).and_then(|text| text.split_once("://"));
    place.is_some_and(|(_, place)| place.find('/').is_some_and(|at| at > 0))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.identity.escape_debug(), self.issuer.escape_debug())
    }
}

impl TrustedKey {
    fn new(file: KeyFile) -> Result<Self, String> {
        let key = PublicKey::from_spki_base64(&file.spki).map_err(|e| format!("'spki': {e}"))?;
        let not_after = file.not_after.as_ref().map(instant).transpose()?;
        Ok(Self { key, not_after })
    }
}
