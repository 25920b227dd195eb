//! Everything of a release that changes nothing outside: what can fail, fails here.

use std::collections::BTreeSet;
use std::time::SystemTime;

use skep_kit::build::Options;
use skep_kit::pack::Packed;
use skep_kit::project::Project;
use skep_oci::registry::Tags;
use skep_oci::{Registry, RegistryError, Store, regular, signatures};
use skep_spec::{Channel, Digest, PackageRef, Version, media};
use skep_trust::PublicKey;
use skep_trust::bundle::Bundle;
use skep_trust::key::SigningKey;

use super::plan::{Plan, State, Step};
use super::{Release, changelog};
use crate::commands::channel::{Elsewhere, Known, Moving, elsewhere};
use crate::commands::{build, pack};
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::locked::dependencies;
use crate::output::Output;
use crate::passing::interruptible;
use crate::{named, place};

/// The types of the attestations of a release.
pub const ATTESTED: [&str; 2] = [media::PREDICATE_SBOM, media::PREDICATE_PROVENANCE];

/// A version that is ready to be signed and sent.
pub struct Prepared {
    /// Where it goes.
    pub reference: PackageRef,
    pub registry: Registry,
    pub project: Project,
    pub packed: Packed,
    /// The layout that holds it.
    pub store: Store,
    /// Whether the registry has a higher one that is no pre-release.
    pub is_older: bool,
    /// What the key has said about it, by predicate type.
    pub said: BTreeSet<String>,
    /// The same of what the registry has; none where it has not this version.
    there: Option<BTreeSet<String>>,
    /// What was done.
    steps: Vec<Step>,
}

impl Prepared {
    /// A channel that is pointed to it.
    pub fn moving<'a>(
        &'a self,
        channel: &'a Channel,
        keys: &'a [Box<dyn SigningKey>],
        expires: SystemTime,
        also: &'a [Elsewhere],
    ) -> Moving<'a> {
        let Self { reference, registry, packed, .. } = self;
        let digest = Some(packed.digest);
        Moving { registry, reference, digest, channel, keys, expires, sequence: None, also }
    }
}

/// How a version stands to those that a registry has.
struct Standing {
    is_there: bool,
    is_older: bool,
}

impl Release {
    /// Checks version and changelog, builds, lints and packs.
    pub fn prepare(
        &self,
        keys: &[Box<dyn SigningKey>],
        output: &Output,
        config: &Config,
    ) -> Result<Prepared> {
        let project = build::in_folder(build::read(&self.folder)?, self.out.clone());
        let reference = self.reference(&project, config)?;
        let registry = place::registry(&reference, self.transport, config)?.without_mirrors();
        let mut steps = Vec::new();
        let mut done = |step, what| steps.push(Step::new(step, State::Done, what));
        let Standing { is_there, is_older } = self.version(&registry, &reference, &mut done)?;
        self.has_heading(&project, &mut done)?;
        let packed = self.packed(&project, output, config, &mut done)?;
        let layout = project.out.join("package");
        let store = place::layout(&layout)?;
        let publics = keys.iter().map(|key| key.public());
        let publics: Vec<PublicKey> =
            publics.collect::<std::result::Result<_, _>>().map_err(failed)?;
        let bundles = signatures::bundles(&store, packed.digest).map_err(failed)?;
        let mut all = said(&bundles, packed.digest, &publics);
        let there = match is_there {
            true => {
                Some(said(&same(&registry, &reference, packed.digest)?, packed.digest, &publics))
            }
            false => None,
        };
        all.extend(there.iter().flatten().cloned());
        let said = all;
        Ok(Prepared { reference, registry, project, packed, store, is_older, said, there, steps })
    }

    fn reference(&self, project: &Project, config: &Config) -> Result<PackageRef> {
        let to = self.to.as_ref().or(config.hub.as_ref());
        let to = to.ok_or_else(|| {
            Error::usage("no registry is named")
                .hint("give --to host[:port][/path], or set SKEP_HUB=host[:port]")
        })?;
        let package = &project.source.package;
        place::within(to, &format!("{}:{}", package.name, package.version).parse().map_err(failed)?)
    }

    /// Whether this version is in the registry. If not, it must be the newest.
    fn version(
        &self,
        registry: &Registry,
        reference: &PackageRef,
        done: &mut impl FnMut(&'static str, String),
    ) -> Result<Standing> {
        let Some(version) = &reference.version else {
            return Ok(Standing { is_there: false, is_older: false });
        };
        let versions = versions(registry, reference)?;
        let is_older =
            versions.iter().any(|other| !other.is_prerelease() && version.is_lower(other));
        if versions.contains(version) {
            let lower =
                if is_older { ", below a newer one: it moves no channel by itself" } else { "" };
            done("version", format!("{version}, which is there already{lower}"));
            return Ok(Standing { is_there: true, is_older });
        }
        let new = Standing { is_there: false, is_older };
        match versions.first() {
            Some(newest) if !self.older && !newest.is_lower(version) => Err(Error::new(
                Kind::Failed,
                format!(
                    "{version} is not higher than {newest}, the newest version in {}",
                    registry.host()
                ),
            )
            .hint(
                "raise [package] version in skep.toml; --older releases a mend of an older version",
            )),
            Some(newest) => {
                done("version", format!("{version}; the newest there is {newest}"));
                Ok(new)
            }
            None => {
                done("version", format!("{version}, the first"));
                Ok(new)
            }
        }
    }

    fn has_heading(
        &self,
        project: &Project,
        done: &mut impl FnMut(&'static str, String),
    ) -> Result<()> {
        if self.no_changelog {
            return Ok(());
        }
        let (file, version) = (self.folder.join(&self.changelog), &project.source.package.version);
        let help = "say in it what changed, name another with --changelog, or leave it out with --no-changelog";
        let text = named::read(&file, regular::text).map_err(|error| error.hint(help))?;
        let shown = file.display();
        let heading = changelog::heading(&text, version);
        let heading = heading.ok_or_else(|| {
            Error::new(Kind::Failed, format!("{shown} has no heading for {version}")).hint(help)
        })?;
        done("changelog", format!("{shown}: {heading}"));
        Ok(())
    }

    /// Builds as the lock has it, lints and packs.
    fn packed(
        &self,
        project: &Project,
        output: &Output,
        config: &Config,
        done: &mut impl FnMut(&'static str, String),
    ) -> Result<Packed> {
        let (clang, cache) = (self.clang.clone(), config.cache_dir.clone());
        let dependencies = dependencies(project, true, output, config)?;
        let options = Options { clang, cache, locked: true, dependencies, ..Options::default() };
        let built = build::run(project, &options, output)?;
        let arches: BTreeSet<String> = built
            .objects
            .values()
            .flat_map(|arches| arches.keys())
            .map(ToString::to_string)
            .collect();
        let arches: Vec<String> = arches.into_iter().collect();
        done("build", format!("for {}, as skep.lock pins it", arches.join(" and ")));
        let findings = self.allowed.findings(project, output)?;
        if !findings.is_empty() {
            let shown = project.folder.join("skep.toml");
            let lines = findings.iter().map(|finding| format!("{}:{finding}", shown.display()));
            let error = Error::new(Kind::Failed, "skep lint finds what would be better");
            let error = lines.fold(error, Error::because);
            return Err(error.hint("mend it, or leave a rule out with --allow RULE"));
        }
        done("lint", "nothing to better".to_owned());
        let layout = project.out.join("package");
        let packed = pack::packed(project, &built, &layout, output)?;
        done("pack", format!("{} in {}", packed.digest, layout.display()));
        Ok(packed)
    }

    /// What was done, and what is left.
    pub fn plan(
        &self,
        prepared: &Prepared,
        keys: &[Box<dyn SigningKey>],
        expires: SystemTime,
        config: &Config,
    ) -> Result<Plan> {
        let Prepared { reference, packed, said, there, .. } = prepared;
        let mut steps = prepared.steps.clone();
        let by = match keys.first() {
            Some(key) => format!("by key {}", key.public().map_err(failed)?.id()),
            None => "by a key, which is not given here".to_owned(),
        };
        let state = |is_there: bool| if is_there { State::There } else { State::Next };
        let mut wanted = vec![media::PREDICATE_SIGN];
        steps.push(Step::new("sign", state(said.contains(media::PREDICATE_SIGN)), by));
        if !self.no_attest {
            wanted.extend(ATTESTED);
            let all = ATTESTED.iter().all(|kind| said.contains(*kind));
            steps.push(Step::new("attest", state(all), ATTESTED.join(", ")));
        }
        let is_whole = |there: &BTreeSet<String>| wanted.iter().all(|kind| there.contains(*kind));
        let pushed = there.as_ref().is_some_and(is_whole);
        steps.push(Step::new("push", state(pushed), format!("to {reference}")));
        if let Some(channel) = self.channel(prepared) {
            let also = elsewhere(&self.also, reference, self.transport, config)?;
            let moving = prepared.moving(&channel, keys, expires, &also);
            let Known { pointer: now, found } = match keys.is_empty() {
                true => {
                    also.iter().try_for_each(Elsewhere::has_package)?;
                    Known { pointer: None, found: Vec::new() }
                }
                false => moving.now(config).map_err(|error| {
                    error.hint("skep channel move --sequence N puts it right; --no-channel leaves it alone")
                })?,
            };
            let is_there = |now: &skep_trust::channel::Pointer| {
                now.digest == packed.digest && now.expires > SystemTime::now()
            };
            let stands = now.as_ref().is_some_and(is_there);
            let from =
                now.map(|now| format!(" from {}, sequence {}", now.digest.short(), now.sequence));
            let found: String = found.iter().map(|found| format!("; {found}")).collect();
            let what = format!("{channel}{}{found}", from.unwrap_or_default());
            steps.push(Step::new("channel", state(stands), what));
        }
        Ok(Plan::new(reference, packed.digest, steps))
    }
}

/// The versions that a registry has, the newest first.
fn versions(registry: &Registry, reference: &PackageRef) -> Result<Vec<Version>> {
    let tags = interruptible(async {
        match registry.tags(reference).await {
            Err(RegistryError::NotFound { .. }) => Ok(Tags::default()),
            tags => tags.map_err(failed),
        }
    })?;
    Ok(tags.versions)
}

/// The bundles that the registry has of a version, if it is the very one.
fn same(registry: &Registry, reference: &PackageRef, packed: Digest) -> Result<Vec<Vec<u8>>> {
    let there = place::ask(registry.resolve(reference))?;
    if there != packed {
        return Err(place::another(reference, there, packed)
            .hint("a version never changes: raise [package] version in skep.toml"));
    }
    place::ask(registry.bundles(reference, there))
}

/// The types of all that a key has said about a digest.
fn said(bundles: &[Vec<u8>], digest: Digest, keys: &[PublicKey]) -> BTreeSet<String> {
    let opened = |bundle: &Vec<u8>| {
        let bundle = Bundle::parse(bundle).ok()?;
        keys.iter().find_map(|key| bundle.open(key).ok()?)
    };
    let statements = bundles.iter().filter_map(opened);
    let about_it = statements
        .filter(|statement| statement.subjects.iter().any(|subject| subject.digest == digest));
    about_it.map(|statement| statement.predicate_type).collect()
}
