//! Which operations had begun and not ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

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
    pub(super) state: Kept,
}

/// What is read here of a checkpoint's state.
#[derive(Default, Deserialize)]
pub(super) struct Kept {
    #[serde(default, deserialize_with = "text")]
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

/// A member that is a text where it is there at all.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    String::deserialize(from).map(Some)
}

impl Kept {
    /// Whether each operation that waits is under the name of its service.
    pub(super) fn is_in_order(&self) -> bool {
        self.aside.iter().all(|(service, aside)| aside.pending.service == *service)
    }

    /// The service of the operation under way, and all operations by service.
    fn begun(self) -> (Option<String>, BTreeMap<String, Interrupted>) {
        let now = self.pending.as_ref().map(|left| left.service.clone());
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
        let (mut now, mut boot) = (None, None);
        for entry in &self.records {
            let said = entry.said().unwrap_or_default();
            match entry.name {
                "Begin" | "TakeUp" => now = Some(said.service),
                "SetAside" => now = None,
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
            let Some((step, service)) = step.zip(now.clone()) else { continue };
            if let Some(progress) = Interrupted::after(begun.remove(&service), step) {
                begun.insert(service, progress);
            }
        }
        begun
    }
}
