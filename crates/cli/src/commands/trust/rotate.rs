//! `skep trust rotate`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use skep_oci::{archive, keys_and_channels};
use skep_spec::media;
use skep_trust::policy::Rule;
use skep_trust::rotation::{self, Keys, RotationError};
use skep_trust::{Policy, PublicKey, time, ways};

use super::edit::{Editor, NewKey};
use super::file::Which;
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::fetch;
use crate::key_versions::KeyVersions;
use crate::moment;
use crate::options::Transport;
use crate::output::{Output, lossy};
use crate::place;
use crate::rotation::Chain;
use crate::rules::Shown;

/// Follow a publisher to its new keys: those of its rules are replaced, if they have signed the new ones
///
/// Versions are followed one by one, each signed by the keys before and by its own. Which version a trust.toml has come to is
/// kept, so that nobody can lead it back. Exit status 4: refused, and nothing is changed.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The file that skep key rotate wrote; [registry/]publisher/name, beside which it was pushed; a layout or bundle
    #[arg(value_name = "FILE|REF")]
    keys: OsString,
    /// Which version the rules have now, where that was not followed but written by hand; without it the first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    #[command(flatten)]
    transport: Transport,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Answer {
    #[serde(serialize_with = "lossy")]
    file: PathBuf,
    publisher: String,
    from: u64,
    version: u64,
    rules: Vec<Shown>,
}

/// What was found in the rules.
struct Followed {
    publisher: String,
    from: u64,
    version: u64,
    rules: Vec<usize>,
    /// Why it goes no further.
    refused: Option<RotationError>,
}

impl Rotate {
    /// Runs it.
    ///
    /// # Errors
    /// No rule is the publisher's alone, the new keys are not signed as they must be, or the file cannot be written.
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let came = find(&self.keys, self.transport, config)?;
        let file = self.which.file(config);
        let (policy, followed) = file.change(|text, policy| {
            let versions = KeyVersions::read(&file.path, config)?; // under the file's lock
            self.edit(text, policy, &came, &versions, moment::now(config)?)
        })?;
        let Followed { publisher, from, version, rules, refused } = followed;
        if let Some(refused) = refused {
            output.note(&format!(
                "note: what comes after version {version} is not followed: {refused}"
            ));
        }
        if version > from {
            KeyVersions::keep(&file.path, &publisher, version, config)?; // only what was followed: a file may say any number
        }
        let rules = rules.into_iter().filter_map(|at| policy.rules().get(at));
        let rules = rules.map(|rule| Shown::of(rule, &policy)).collect();
        let answer = Answer { file: file.path, publisher, from, version, rules };
        output.done(&answer, || answer.text());
        Ok(())
    }

    fn edit(
        &self,
        text: &str,
        policy: &Policy,
        Came { publisher, versions }: &Came,
        reached: &KeyVersions,
        now: SystemTime,
    ) -> Result<(Option<String>, Followed)> {
        let (publisher, rules) = (publisher.clone(), rules_of(policy, publisher)?);
        let stands = stands_at(policy, &rules, versions);
        self.are_there(policy, &rules, versions, reached.version(&publisher).max(stands))?;
        let from = reached.version(&publisher).max(self.from).max(stands);
        let from = from.unwrap_or(1);
        let newer = versions.range(from.saturating_add(1)..);
        let documents: Vec<_> = newer.map(|(_, document)| document.clone()).collect();
        let mut followed = Followed { publisher, from, version: from, rules, refused: None };
        if documents.is_empty() {
            return Ok((None, followed));
        }
        let mut editor = Editor::new(text)?;
        let at = (followed.publisher.as_str(), from);
        let (led, refused) = led(policy, &followed.rules, at, &documents, now)?;
        for (at, new) in &led {
            let Some(rule) = policy.rules().get(*at) else { continue };
            followed.version = new.version;
            replace(&mut editor, *at, rule, new)?;
        }
        followed.refused = refused;
        Ok((Some(editor.text()), followed))
    }
}

impl Rotate {
    /// That the rules can be at the version that --from says: they have its keys, and were not followed beyond it.
    fn are_there(
        &self,
        policy: &Policy,
        rules: &[usize],
        versions: &BTreeMap<u64, Vec<Vec<u8>>>,
        stand: Option<u64>,
    ) -> Result<()> {
        let Some(from) = self.from else { return Ok(()) };
        let shown = self.keys.display();
        let newest = versions.keys().last().copied().unwrap_or_default();
        if from > newest {
            let what = format!("--from {from}: the newest keys in '{shown}' are version {newest}");
            return Err(Error::usage(what));
        }
        let has = |rule: &Rule, keys: &Keys| {
            keys.keys.iter().all(|key| rule.keys().iter().any(|trusted| trusted.key == *key))
        };
        let rules = || rules.iter().filter_map(|at| policy.rules().get(*at));
        let said = versions.get(&from).into_iter().flatten();
        let mut said = said.filter_map(|bundle| Keys::unchecked(bundle).ok()).peekable();
        if said.peek().is_none() || said.any(|keys| rules().all(|rule| has(rule, &keys))) {
            return Ok(());
        }
        let what = format!(
            "--from {from}: the rules have not the keys that version {from} in '{shown}' has"
        );
        let stand = stand.map(|stand| format!("they are at version {stand}: leave --from out"));
        let hint = stand.unwrap_or_else(|| {
            "skep trust list shows their keys; without --from they are taken for version 1"
                .to_owned()
        });
        Err(Error::usage(what).hint(hint))
    }
}

/// The keys that each rule comes to, by its place in the file, and why no further.
type Led = (Vec<(usize, Keys)>, Option<RotationError>);

/// To which keys documents lead each rule of a publisher, all to one version, and why no further: what a stranger put behind good
/// versions holds none of them back.
fn led(
    policy: &Policy,
    rules: &[usize],
    (publisher, from): (&str, u64),
    documents: &[Vec<Vec<u8>>],
    now: SystemTime,
) -> Result<Led> {
    let (mut led, mut why) = (Vec::new(), None);
    let mut most = documents.len();
    for at in rules {
        let Some(rule) = policy.rules().get(*at) else { continue };
        let keys = rule.keys().iter().map(|trusted| trusted.key.clone()).collect();
        let (publisher, threshold) = (publisher.to_owned(), rule.threshold());
        let trusted = Keys { publisher, version: from, threshold, keys, expires: None };
        let silent = policy.revoked_keys().union(&rule.ended(now)).copied().collect();
        let (mut reached, refused) = rotation::lead(trusted, documents, &silent);
        reached.truncate(most);
        // The first rule says how far it goes.
        let is_as_far = led.is_empty() || reached.len() == most;
        most = reached.len();
        match reached.pop().filter(|_| is_as_far) {
            Some(new) => led.push((*at, new)),
            None => return Err(stays(rule, refused)),
        }
        why = why.or(refused);
    }
    Ok((led, why))
}

/// The keys of a rule, which nothing leads on from.
fn stays(rule: &Rule, refused: Option<RotationError>) -> Error {
    let patterns: Vec<_> = rule.patterns().iter().map(|pattern| pattern.as_str()).collect();
    let what = format!("the keys of the rule for {} stay", patterns.join(", "));
    match refused {
        Some(error) => Error::caused(Kind::Refused, what, &error),
        None => Error::new(Kind::Refused, what),
    }
}

/// Keys of a publisher that came, by the version that they say they are of: nobody checked a signature.
struct Came {
    publisher: String,
    versions: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Came {
    fn of(publisher: &str, bundles: &[Vec<u8>], from: &str) -> Result<Self> {
        if bundles.is_empty() {
            let none = format!("there are no keys of a publisher with '{from}'");
            return Err(Error::new(Kind::Failed, none)
                .hint("skep key rotate FILE --push REF puts them beside a package"));
        }
        let versions = ways::by_version(publisher, bundles);
        if versions.is_empty() {
            let none = format!("what came of '{from}' holds no keys of {publisher}");
            return Err(Error::new(Kind::Failed, none));
        }
        Ok(Self { publisher: publisher.to_owned(), versions })
    }
}

/// Of a file; of a layout or bundle that carries them; or of a registry, where a package is named.
///
/// # Errors
/// There are none, or they cannot be read.
fn find(what: &OsStr, transport: Transport, config: &Config) -> Result<Came> {
    let path = Path::new(what);
    let shown = path.display().to_string();
    let layout = match path.is_dir() {
        true => Some(place::layout(path)?),
        false => None,
    };
    let unpacked = match path.is_file() && archive::is_archive(path) {
        true => Some(fetch::unpacked(path)?),
        false => None,
    };
    if let Some(store) = layout.as_ref().or(unpacked.as_ref().map(|whole| &whole.store)) {
        let all = keys_and_channels::kept(store, media::KEYS).map_err(failed)?;
        let newest = all.iter().filter_map(|keys| Chain::said(keys));
        let publisher = newest.max_by_key(|(_, version)| *version).map(|(publisher, _)| publisher);
        return Came::of(&publisher.unwrap_or_default(), &all.concat(), &shown);
    }
    let text = what.to_str().filter(|text| text.contains('/') && !place::is_path(text));
    let Some(text) = text.filter(|_| !path.exists()) else {
        let chain = Chain::must(path)?;
        let (_, newest) = chain
            .newest()
            .ok_or_else(|| Error::usage(format!("there are no keys in '{shown}'")))?;
        return Came::of(&newest.keys.publisher, &chain.bundles(), &shown);
    };
    let reference = place::reference(text, config)?;
    let registry = place::registry(&reference, transport, config)?;
    Came::of(reference.name.publisher(), &place::ask(registry.keys(&reference))?, text)
}

/// The newest version whose keys all of the rules have, and which those keys have signed: it was followed before, or written by
/// hand, and nothing was kept of it.
fn stands_at(
    policy: &Policy,
    rules: &[usize],
    versions: &BTreeMap<u64, Vec<Vec<u8>>>,
) -> Option<u64> {
    let has = |rule: &Rule, keys: &Keys| {
        let here: BTreeSet<_> = rule.keys().iter().map(|trusted| trusted.key.id()).collect();
        rule.threshold() == keys.threshold && here == keys.keys.iter().map(|key| key.id()).collect()
    };
    let all = |keys: &Keys| {
        rules.iter().filter_map(|at| policy.rules().get(*at)).all(|rule| has(rule, keys))
    };
    let is_signed = |keys: &Keys, document: &[Vec<u8>]| {
        rotation::own_signers(keys, document, policy.revoked_keys()) >= keys.threshold
    };
    let stands = |document: &[Vec<u8>]| {
        let said = document.iter().filter_map(|bundle| Keys::unchecked(bundle).ok());
        said.filter(all).any(|keys| is_signed(&keys, document))
    };
    versions.iter().rev().find(|(_, document)| stands(document)).map(|(version, _)| *version)
}

/// The rules that speak of a publisher's packages and of no others.
fn rules_of(policy: &Policy, publisher: &str) -> Result<Vec<usize>> {
    let is_theirs = |pattern: &str| pattern.split_once('/').is_some_and(|(p, _)| p == publisher);
    let mut found = Vec::new();
    for (at, rule) in policy.rules().iter().enumerate() {
        let theirs = rule.patterns().iter().filter(|pattern| is_theirs(pattern.as_str())).count();
        if theirs == rule.patterns().len() && !rule.keys().is_empty() {
            found.push(at);
        } else if theirs > 0 {
            let patterns: Vec<_> = rule.patterns().iter().map(|p| p.as_str()).collect();
            let patterns = patterns.join(", ");
            return Err(Error::usage(format!(
                "the rule for {patterns} is not for {publisher} alone, or has no keys"
            ))
            .hint("make a rule of its own of what is the publisher's"));
        }
    }
    match found.is_empty() {
        false => Ok(found),
        true => Err(Error::usage(format!("no rule is for packages of {publisher}")).hint(format!(
            "the first keys come from you: skep trust add '{publisher}/*' --key PUB"
        ))),
    }
}

/// Puts new keys in the place of a rule's. Those that stay, stay where they are.
fn replace(editor: &mut Editor, at: usize, rule: &Rule, new: &Keys) -> Result<()> {
    // A key that the rule has ends no later than there.
    let until = |key: &PublicKey| {
        let own = rule.keys().iter().find(|old| old.key == *key).and_then(|old| old.not_after);
        [own, new.expires].into_iter().flatten().min()
    };
    let stays = |key: &PublicKey| {
        rule.keys().iter().any(|old| old.key == *key && old.not_after == until(key))
    };
    let again = rule.keys().iter().filter(|old| new.keys.contains(&old.key) && !stays(&old.key));
    editor.remove_keys(at, &again.map(|old| old.key.id()).collect())?;
    let added = new.keys.iter().filter(|key| !stays(key));
    let added =
        added.map(|key| NewKey { key: key.clone(), not_after: until(key).and_then(time::format) });
    let added: Vec<NewKey> = added.collect();
    let threshold = Some(new.threshold).filter(|threshold| *threshold != rule.threshold());
    editor.add_keys(at, &added, threshold)?;
    let gone = rule.keys().iter().filter(|old| !new.keys.contains(&old.key));
    editor.remove_keys(at, &gone.map(|old| old.key.id()).collect())
}

impl Answer {
    fn text(&self) -> String {
        let Self { publisher, from, version, .. } = self;
        let file: &Path = &self.file;
        let file = file.display();
        let did = match from == version {
            true => format!("{file} has version {version} of the keys of {publisher} already"),
            false => format!(
                "Followed the keys of {publisher} in {file} from version {from} to {version}"
            ),
        };
        self.rules.iter().fold(did, |text, rule| format!("{text}\n{}", rule.text()))
    }
}
