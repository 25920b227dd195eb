//! Which operations had begun and not ended.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Journal;
use crate::life::{Interrupted, Op, Step};

/// What is read here of a record.
#[derive(Default, Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) service: String,
    pub(super) op: Option<Op>,
    pub(super) boot_id: Option<String>,
    #[serde(default)]
    state: Kept,
}

/// What is read here of a checkpoint's state.
#[derive(Default, Deserialize)]
struct Kept {
    boot: Option<String>,
    pending: Option<Left>,
    #[serde(default)]
    aside: BTreeMap<String, Aside>,
}

#[derive(Deserialize)]
struct Aside {
    pending: Left,
}

#[derive(Deserialize)]
struct Left {
    service: String,
    #[serde(flatten)]
    progress: Interrupted,
}

impl Kept {
    /// The service of the operation under way, and all operations by service.
    fn begun(self) -> (String, BTreeMap<String, Interrupted>) {
        let now = self.pending.as_ref().map(|left| left.service.clone()).unwrap_or_default();
        let aside = self.aside.into_values().map(|aside| aside.pending);
        let left = aside.chain(self.pending).map(|left| (left.service, left.progress));
        (now, left.collect())
    }
}

impl Journal<'_> {
    /// The operations that had begun and not ended, by service: the one under way, and those that were set aside.
    #[must_use]
    pub fn interrupted(&self) -> BTreeMap<String, Interrupted> {
        let mut begun: BTreeMap<String, Interrupted> = BTreeMap::new();
        let (mut now, mut boot) = (String::new(), None);
        for entry in &self.records {
            let said = entry.said().unwrap_or_default();
            match entry.name {
                "Begin" | "TakeUp" => now = said.service,
                "Lost" => _ = begun.remove(&said.service),
                "Checkpoint" => {
                    boot = said.state.boot.clone().or(boot);
                    (now, begun) = said.state.begun();
                }
                "Boot" if said.boot_id != boot => {
                    boot = said.boot_id;
                    begun.clear();
                }
                _ => {}
            }
            let step = entry.step().ok().flatten().filter(|step| *step != Step::Boot);
            let Some(step) = step else { continue };
            if let Some(progress) = Interrupted::after(begun.remove(&now), step) {
                begun.insert(now.clone(), progress);
            }
        }
        begun
    }
}
