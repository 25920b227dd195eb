//! `skep key rotate`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use skep_trust::bundle::Bundle;
use skep_trust::key::SigningKey;
use skep_trust::rotation::{self, Keys, RotationError};
use skep_trust::{KeyId, PublicKey, time};

use super::push::Push;
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::keys::{SignedBy, public};
use crate::moment::moment;
use crate::options::Transport;
use crate::output::{Output, lossy};
use crate::rotation::{Chain, Version};

/// Give a publisher new keys: a version of a file that skep trust rotate follows, signed by the old keys and by the new ones
///
/// The first version is what machines trust already. Without --to the newest version is signed by more keys: of the old and of
/// the new ones as many must sign as the threshold of each says.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The file, which holds all versions; it is made if need be
    file: PathBuf,
    /// Whose keys, in a new file: the first half of the names of packages
    #[arg(long, value_name = "NAME", requires = "to")]
    publisher: Option<String>,
    /// A public key of a new version (.pub); may be given several times
    #[arg(long, value_name = "PUB")]
    to: Vec<PathBuf>,
    /// How many of the new keys must have signed a package, and the next version; as before, at first 1
    #[arg(long, value_name = "N", requires = "to")]
    threshold: Option<usize>,
    /// When the new keys admit no package any more: after so many days, or at a moment such as 2027-12-31T00:00:00Z
    #[arg(long, value_name = "DAYS|TIME", requires = "to")]
    expires: Option<String>,
    /// A private key that signs, an old or a new one, with --signer the public one; may be given several times
    #[arg(long, value_name = "FILE", required_unless_present = "push")]
    key: Vec<PathBuf>,
    /// Put the file beside a package in its registry, for those who follow: [registry/]publisher/name
    #[arg(long, value_name = "REF")]
    push: Option<String>,
    #[command(flatten)]
    transport: Transport,
    #[command(flatten)]
    by: SignedBy,
}

#[derive(Serialize)]
struct Answer {
    #[serde(serialize_with = "lossy")]
    file: PathBuf,
    publisher: String,
    version: u64,
    threshold: usize,
    keys: Vec<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    signed: Vec<KeyId>,
    /// Signatures that it still needs, for people; none: it can be followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// The repository beside which it was put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pushed: Option<String>,
}

impl Rotate {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let mut chain = Chain::read(&self.file)?;
        let keys = self.by.keys(&self.key, config)?;
        let (old, new) = match self.to.is_empty() {
            true => self.newest(&chain)?,
            false => self.next(&chain)?,
        };
        for key in &keys {
            let id = key.public().map_err(failed)?.id();
            let is_of = |keys: &Keys| keys.keys.iter().any(|key| key.id() == id);
            if !is_of(&new) && !old.as_ref().is_some_and(is_of) {
                let version = new.version;
                return Err(Error::usage(format!(
                    "the key {id} is neither of version {version} of the keys nor of the one before: its signature would not count"
                )));
            }
            let bundle = signed(&chain, &new, &**key)?;
            // As every reader will look at it.
            let read = Keys::unchecked(&bundle);
            let read =
                read.map_err(|why| Error::usage("these keys cannot be meant").because(why))?;
            chain.add(read, bundle).map_err(Error::usage)?;
        }
        let (push, transport) = (self.push.clone(), self.transport);
        let signs = !self.key.is_empty();
        let mut answer = self.answer(&chain)?;
        answer.pushed = match &push {
            None => chain.write(&answer.file).map(|()| None)?,
            Some(to) => {
                let (file, chain, missing) = (&answer.file, &chain, answer.missing.as_ref());
                let push = Push { file, chain, missing, to, transport };
                let ready = push.ready(config)?;
                Some(ready.put(signs, output)?)
            }
        };
        output.done(&answer, || answer.text());
        Ok(())
    }

    /// The newest version and the one before.
    fn newest(&self, chain: &Chain) -> Result<(Option<Keys>, Keys)> {
        let (before, newest) = chain.newest().ok_or_else(|| {
            Error::usage(format!("there are no keys in '{}' to sign", self.file.display()))
                .hint("the first version is what machines trust already: --publisher NAME --to PUB")
        })?;
        Ok((before.map(|before| before.keys.clone()), newest.keys.clone()))
    }

    /// The version after the newest, and that.
    fn next(&self, chain: &Chain) -> Result<(Option<Keys>, Keys)> {
        let keys: Vec<PublicKey> =
            self.to.iter().map(|file| public(file)).collect::<Result<_>>()?;
        let old = match chain.newest() {
            None => None,
            Some((before, newest)) => {
                if let Some(missing) = missing(before, newest)? {
                    let last = newest.keys.version;
                    return Err(Error::usage(format!("version {last} of the keys is not complete: nobody could follow the next one")).because(missing).hint("sign it first: the same command without --to"));
                }
                Some(newest.keys.clone())
            }
        };
        let publisher = match (&self.publisher, &old) {
            (None, None) => {
                return Err(Error::usage("a new file needs --publisher NAME"));
            }
            (Some(named), Some(old)) if *named != old.publisher => {
                let publisher = &old.publisher;
                return Err(Error::usage(format!(
                    "'{}' holds the keys of {publisher}",
                    self.file.display()
                )));
            }
            (Some(named), _) => named.clone(),
            (None, Some(old)) => old.publisher.clone(),
        };
        let threshold = self.threshold.or(old.as_ref().map(|old| old.threshold)).unwrap_or(1);
        let now = SystemTime::now();
        let expires = self.expires.as_deref().map(|text| moment(text, now)).transpose()?;
        let to_the_second = |expires| time::format(expires).and_then(|text| time::parse(&text));
        let expires = expires.and_then(to_the_second);
        let version = old.as_ref().map_or(0, |old| old.version) + 1;
        Ok((old, Keys { publisher, version, threshold, keys, expires }))
    }

    fn answer(self, chain: &Chain) -> Result<Answer> {
        let (before, newest) = chain.newest().ok_or_else(|| Error::usage("there are no keys"))?;
        let Keys { publisher, version, threshold, keys, expires } = &newest.keys;
        let old = before.map(|before| &before.keys.keys);
        let all = old.into_iter().flatten().chain(keys);
        let bundles: Vec<Bundle> =
            newest.bundles.iter().filter_map(|bundle| Bundle::parse(bundle).ok()).collect();
        let signed = all.filter(|key| bundles.iter().any(|bundle| bundle.is_signed_by(key)));
        let signed: BTreeSet<KeyId> = signed.map(PublicKey::id).collect();
        Ok(Answer {
            file: self.file,
            publisher: publisher.clone(),
            version: *version,
            threshold: *threshold,
            keys: keys.iter().map(PublicKey::id).collect(),
            expires: expires.and_then(time::format),
            signed: signed.into_iter().collect(),
            missing: missing(before, newest)?,
            pushed: None,
        })
    }
}

/// A signature of a version: of the payload that is there, if there is one.
fn signed(chain: &Chain, version: &Keys, key: &dyn SigningKey) -> Result<Vec<u8>> {
    let there = chain.newest().filter(|(_, newest)| newest.keys == *version);
    match there.and_then(|(_, newest)| newest.bundles.first()) {
        Some(bundle) => Bundle::parse(bundle).map_err(failed)?.also_signed_by(key),
        None => version.sign(key),
    }
    .map_err(failed)
}

/// Which signatures a version needs until it can be followed. The first one is not followed: it is trusted already.
fn missing(before: Option<&Version>, version: &Version) -> Result<Option<String>> {
    let Some(before) = before else { return Ok(None) };
    let document = std::slice::from_ref(&version.bundles);
    match rotation::follow(before.keys.clone(), document, &BTreeSet::new()) {
        Ok(_) => Ok(None),
        Err(error @ RotationError::Threshold { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(Error::caused(Kind::Usage, "these keys cannot be meant", &error)),
    }
}

impl Answer {
    fn text(&self) -> String {
        let Self { publisher, version, threshold, keys, .. } = self;
        let file = self.file.display();
        let until = self.expires.as_ref().map(|when| format!(", until {when}")).unwrap_or_default();
        let mut lines = vec![format!(
            "Version {version} of the keys of {publisher} in {file}: {threshold} of {}{until}",
            keys.len()
        )];
        lines.extend(keys.iter().map(|key| format!("  {key}")));
        lines.extend(self.signed.iter().map(|key| format!("signed by key {key}")));
        lines.extend(self.pushed.iter().map(|place| {
            format!("beside {place}: skep trust rotate {place} follows it, and skepd where a rule says 'follow'")
        }));
        lines.push(match (&self.missing, version) {
            (Some(missing), _) => format!("not complete: {missing}"),
            (None, 1) => "machines that trust these keys can follow the next version".to_owned(),
            (None, _) => format!("complete: skep trust rotate {file} follows it"),
        });
        lines.join("\n")
    }
}
