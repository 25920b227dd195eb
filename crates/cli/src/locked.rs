//! What a project is built against: as its lock pins it, and as it is at the hub.

use std::collections::BTreeMap;

use skep_kit::build::{Dependencies, Lock, Locked};
use skep_kit::project::Project;
use skep_spec::dependency::{Root, needs};
use skep_spec::manifest::Dependency;
use skep_spec::{Digest, PackageName, PackageRef};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::needed::{Asking, Needed, needed};
use crate::options::Transport;
use crate::output::Output;
use crate::place;

const TRANSPORT: Transport = Transport { plain_http: false };

/// What a project needs: as its lock has it, where that is still in every range; otherwise what the hub has now, with what the lock
/// has wherever it can stay.
///
/// # Errors
/// There is no set of versions that does, or `locked`, and the lock has none. The hub has other bytes under a version than the lock
/// pins.
pub fn dependencies(
    project: &Project,
    locked: bool,
    output: &Output,
    config: &Config,
) -> Result<Option<Dependencies>> {
    let wanted = &project.source.dependencies;
    if wanted.is_empty() {
        return Ok(Some(Dependencies::new()));
    }
    // What is wrong with the lock is the build's to say.
    let Ok(lock) = Lock::read(&project.folder, project.lock_folder(), false) else {
        return Ok(None);
    };
    let pinned = lock.dependencies();
    let holds = |(name, on): (&PackageName, &Dependency)| {
        pinned.get(name).is_some_and(|pin| !pin.indirect && on.version.holds(&pin.version))
    };
    let named = pinned.values().filter(|pin| !pin.indirect).count();
    if wanted.iter().all(holds) && named == wanted.len() {
        are_still(pinned, output, config)?;
        return Ok(Some(pinned.clone()));
    }
    if locked {
        let missing = wanted.iter().find(|one| !holds(*one));
        let what = missing.map_or_else(
            || "something that [dependencies] does not name".to_owned(),
            |(name, on)| format!("no {name} that is in {}", on.version),
        );
        let what = format!("--locked: skep.lock has {what}");
        return Err(
            Error::new(Kind::Failed, what).hint("build without --locked to pin what there is now")
        );
    }
    found(project, pinned, config).map(Some)
}

/// What there is now; what is pinned stays where every range allows it.
fn found(project: &Project, pinned: &Dependencies, config: &Config) -> Result<Dependencies> {
    let (about, wanted) = (&project.source.package, &project.source.dependencies);
    let needs = needs(wanted);
    let root = Root { name: &about.name, version: &about.version, needs: &needs };
    let chosen: BTreeMap<_, _> =
        pinned.iter().map(|(name, pin)| (name.clone(), pin.version.clone())).collect();
    let mut found = Dependencies::new();
    for one in needed(root, &chosen, None, Asking { transport: TRANSPORT, config })? {
        let Needed { name, version, digest, .. } = one;
        if let Some(pin) = pinned.get(&name).filter(|pin| pin.version == version) {
            is_same(&name, pin, digest)?;
        }
        let indirect = !wanted.contains_key(&name);
        found.insert(name, Locked { version, digest, indirect });
    }
    Ok(found)
}

/// That the hub has the very packages that are pinned; where it cannot be asked, that is said, and nothing else.
fn are_still(pinned: &Dependencies, output: &Output, config: &Config) -> Result<()> {
    let Some(hub) = &config.hub else { return Ok(()) };
    for (name, pin) in pinned {
        let reference = PackageRef::short(name, Some(&pin.version)).or_registry(hub);
        let registry = place::registry(&reference, TRANSPORT, config)?;
        match place::ask(registry.resolve(&reference)) {
            Ok(digest) => is_same(name, pin, digest)?,
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                let why = error.message();
                output.note(&format!("what skep.lock pins was not held against the hub: {why}"));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn is_same(name: &PackageName, pin: &Locked, found: Digest) -> Result<()> {
    if found == pin.digest {
        return Ok(());
    }
    let (version, pinned) = (&pin.version, pin.digest);
    let what = format!("skep.lock pins {name} {version} as {pinned}, and the hub has {found}");
    Err(Error::new(Kind::Failed, what).hint(format!(
        "a version that was published never changes: ask who publishes {name}; to build against what is there now, remove it from [dependencies] in skep.lock"
    )))
}
