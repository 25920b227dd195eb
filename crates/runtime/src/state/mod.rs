//! What the journal says: services, their generations, hooks and maps, and the operation under way.
//!
//! The state is the fold of all [`Record`]s, never changed otherwise.

mod apply;
mod hook;
mod record;
mod set;
mod settings;
mod then;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_kernel::program::LoadKind;
use skep_spec::life::{self, Interrupted};
use skep_spec::manifest::Export;
use skep_spec::{PackageName, Range, ServiceName, Version};

pub use hook::{Attachment, Hook, Mechanism};
pub use record::{Outcome, Record};
pub use set::{Owed, SetMember, Way};
pub use settings::Settings;
pub use skep_spec::life::Op;
pub use then::Then;

use crate::pins::Pins;
use crate::plan::{MapChange, Report};

/// Everything that outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The boot that pins and ids belong to.
    pub boot: String,
    /// Number of the last operation.
    pub last_txn: u64,
    /// By name.
    pub services: BTreeMap<ServiceName, Service>,
    /// The operation under way.
    pub pending: Option<Pending>,
    /// Operations that could be neither finished nor undone, by service. Each start tries again.
    #[serde(default)]
    pub aside: BTreeMap<ServiceName, Aside>,
    /// Hooks that no generation wants any more and that may still be attached.
    pub dead: Vec<DeadHook>,
    /// The services that an operation under way changes as a whole, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<SetMember>,
    /// Which way they go.
    #[serde(default, skip_serializing_if = "Way::is_there")]
    pub way: Way,
    /// What sets that are over left where it is and that is still to go back, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<Owed>,
}

/// An operation that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// As it was left.
    pub pending: Pending,
    /// Why it could not be ended.
    pub why: String,
}

/// A hook to be detached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadHook {
    /// Whose it was.
    pub service: ServiceName,
    /// Its name.
    pub name: String,
    /// What it is.
    pub hook: Hook,
}

/// A package installed under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Living generations by number: the active one, and the one that a rollback returns to.
    pub generations: BTreeMap<u64, Generation>,
    /// The one whose programs run.
    pub active: u64,
    /// The one before, kept for a rollback.
    pub previous: Option<u64>,
    /// The highest number ever given.
    pub last_generation: u64,
    /// The switch word as last stored; none where no hook has a stub.
    pub switch: Option<u64>,
    /// Hooks by name.
    pub hooks: BTreeMap<String, Hook>,
    /// What the upgrade to the active generation did with each map, for the way back.
    pub changes: BTreeMap<String, MapChange>,
    /// Entries that did not fit the active generation's maps when it took over, by map.
    #[serde(default)]
    pub no_room: BTreeMap<String, u64>,
    /// Events that generations lost which are gone, by function, since the maps last began empty.
    #[serde(default)]
    pub lost_events: BTreeMap<String, u64>,
    /// What of it was gone when it was last loaded again on this boot: its maps began empty then.
    #[serde(default)]
    pub lost: Option<String>,
    /// The generation that was kept for a rollback and is gone.
    #[serde(default)]
    pub previous_lost: Option<PreviousLost>,
    /// Whether somebody stopped it: nothing of it is attached, over reboots too, until it is started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Whether that was for a restart: it is to be started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarts: bool,
    /// Whether upgrades to other packages are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Its live parameters.
    #[serde(default, skip_serializing_if = "Settings::are_untouched")]
    pub settings: Settings,
}

/// A generation that nothing leads back to, since the kernel has it no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousLost {
    /// Its number.
    pub generation: u64,
    /// Its version.
    pub version: Version,
    /// What of it was gone.
    pub why: String,
}

/// A generation of a service, and what it is on this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// What never changes, as the standard's document has it.
    #[serde(flatten)]
    pub fixed: life::Generation,
    /// What it became on this boot.
    pub incarnation: Option<Incarnation>,
    /// What it needs of others, by package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub needs: BTreeMap<PackageName, Need>,
}

/// What a generation needs of another service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Who gives it.
    pub service: ServiceName,
    /// The versions that will do.
    pub version: Range,
    /// The maps that both have in common, by symbol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<String>,
}

impl Need {
    /// Whether a generation is of a version that will do.
    pub(crate) fn is_met(&self, by: Option<&Generation>) -> bool {
        by.is_some_and(|generation| self.version.holds(&generation.version))
    }
}

impl Deref for Generation {
    type Target = life::Generation;

    fn deref(&self) -> &life::Generation {
        &self.fixed
    }
}

/// What a generation is in the kernel of one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Programs by name.
    pub programs: BTreeMap<String, ProgramRecord>,
    /// Maps by name.
    pub maps: BTreeMap<String, MapRecord>,
    /// What was adapted, skipped or chosen.
    pub report: Report,
}

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramRecord {
    /// ELF symbol.
    pub function: String,
    /// The object that holds it.
    pub object: String,
    /// Its id in this kernel.
    pub id: u32,
    /// What it is to the kernel.
    pub kind: LoadKind,
    /// Its hook; none for programs that others call.
    pub hook: Option<String>,
}

/// The map that counts lost events; no symbol or data section has such a name.
pub(crate) const LOST: &str = ".skep-lost";

/// A map as one generation uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRecord {
    /// The object that defines it.
    pub object: String,
    /// The ELF symbol or section.
    pub symbol: String,
    /// The generation that brought it: `maps/<map>@<made_by>`.
    pub made_by: u64,
    /// Its id in this kernel.
    pub id: u32,
    /// Of a map that counts lost events: the function that each counter is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<String>,
    /// How others may open it, where its package exports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
}

impl MapRecord {
    /// Whether it counts lost events.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.symbol == LOST
    }
}

/// An operation between its `Begin` and its `End`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The operation's number.
    pub txn: u64,
    /// On which service.
    pub service: ServiceName,
    /// What it does.
    pub op: Op,
    /// The generation that runs when it begins.
    pub from: Option<u64>,
    /// The generation that is to run; of a removal the one that ran, of a commit none.
    pub to: Option<Generation>,
    /// What becomes of each map.
    pub changes: BTreeMap<String, MapChange>,
    /// What the service is to be behind it, where that is not what such an operation makes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// New hooks, and those whose attachment the operation learned.
    pub hooks: BTreeMap<String, Hook>,
    /// The switch word to be stored; `Some(None)` where no hook has a stub.
    pub switching: Option<Option<u64>>,
    /// How far it is, where a crash is concerned.
    #[serde(flatten)]
    pub progress: Interrupted,
    /// No run of the old generation is left.
    pub quiesced: bool,
    /// Maps whose contents have moved.
    pub merged: BTreeSet<String>,
    /// The generation that this operation ends; freed once it is quiet.
    pub retiring: Option<u64>,
    /// The settings that count once it has switched, where they change with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
}

impl Service {
    /// The generation that runs.
    #[must_use]
    pub fn active(&self) -> Option<&Generation> {
        self.generations.get(&self.active)
    }

    /// The generation that a rollback returns to.
    #[must_use]
    pub fn previous(&self) -> Option<&Generation> {
        self.generations.get(&self.previous?)
    }

    /// The generation whose programs lie in the idle slots.
    #[must_use]
    pub const fn waiting(&self) -> Option<u64> {
        if self.stopped { Some(self.active) } else { self.previous }
    }

    /// The program that `generation` has on `hook`.
    #[must_use]
    pub fn program_on(&self, generation: u64, hook: &str) -> Option<(&str, &ProgramRecord)> {
        self.generations.get(&generation)?.program_on(hook)
    }
}

impl Generation {
    /// Its program on `hook`, by name.
    #[must_use]
    pub fn program_on(&self, hook: &str) -> Option<(&str, &ProgramRecord)> {
        let mut programs = self.incarnation.as_ref()?.programs.iter();
        let found = programs.find(|(_, p)| p.hook.as_deref() == Some(hook));
        found.map(|(name, program)| (name.as_str(), program))
    }
}

impl fmt::Display for PreviousLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, version, why } = self;
        write!(
            f,
            "generation {generation} ({version}), which was kept for that, is gone, since {why}"
        )
    }
}

impl State {
    /// The operation on a service that has not ended.
    pub(crate) fn begun(&self, name: &ServiceName) -> Option<&Pending> {
        let under_way = self.pending.as_ref().filter(|pending| pending.service == *name);
        under_way.or_else(|| self.aside.get(name).map(|aside| &aside.pending))
    }

    /// Every pin that should be there, under `root`.
    #[must_use]
    pub fn pins(&self, root: &Path) -> BTreeSet<PathBuf> {
        self.services.iter().flat_map(|(name, s)| s.pins(&Pins::new(root, name))).collect()
    }

    /// Every pin among them that stands for all parts of an attachment.
    #[must_use]
    pub fn links(&self, root: &Path) -> BTreeSet<PathBuf> {
        self.services.iter().flat_map(|(name, s)| s.links(&Pins::new(root, name))).collect()
    }

    /// Every key that the holder should hold.
    #[must_use]
    pub fn held_keys(&self) -> BTreeSet<String> {
        let services = self.services.values().flat_map(|service| service.hooks.values());
        let aside = self.aside.values().flat_map(|aside| aside.pending.hooks.values());
        let keys = services.chain(aside).filter_map(|hook| hook.attachment.held_key());
        keys.map(str::to_owned).collect()
    }

    /// A service, or what an operation that waits left of one that is not there yet or any more.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<Cow<'_, Service>> {
        if let Some(service) = self.services.get(name) {
            return Some(Cow::Borrowed(service));
        }
        let to = self.begun(name)?.to.clone()?;
        let (active, to) = (to.number, Generation { incarnation: None, ..to });
        let generations = BTreeMap::from([(active, to)]);
        Some(Cow::Owned(Service { generations, active, ..Service::default() }))
    }
}

impl Service {
    fn links(&self, pins: &Pins) -> Vec<PathBuf> {
        let links =
            self.hooks.iter().filter(|(_, h)| matches!(h.attachment, Attachment::Link { .. }));
        links.map(|(name, _)| pins.link(name)).collect()
    }

    fn pins(&self, pins: &Pins) -> BTreeSet<PathBuf> {
        let mut paths = BTreeSet::from_iter(self.links(pins));
        if self.switch.is_some() {
            paths.insert(pins.switch());
        }
        for (name, hook) in &self.hooks {
            if hook.mechanism == Mechanism::Stub {
                paths.extend([pins.stub(name), pins.slots(name)]);
            }
        }
        for (number, generation) in &self.generations {
            let Some(incarnation) = &generation.incarnation else { continue };
            paths.extend(incarnation.programs.keys().map(|name| pins.program(*number, name)));
            paths.extend(incarnation.maps.iter().map(|(name, map)| pins.map(name, map.made_by)));
        }
        let active = self.active().and_then(|active| active.incarnation.as_ref());
        let maps = active.into_iter().flat_map(|incarnation| &incarnation.maps);
        let exported = maps.filter(|(_, map)| map.export.is_some());
        paths.extend(exported.map(|(name, _)| pins.export(name)));
        paths
    }
}
