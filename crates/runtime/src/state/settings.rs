//! Settings: live parameters, which belong to a service and not to a generation of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The live parameters that the operator set while the service ran, or at an upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How often they changed.
    pub revision: u64,
    /// Their values as text; none for one that was forgotten, and counts as not given whatever a generation was given.
    pub params: BTreeMap<String, Option<String>>,
    /// Those that were written down and whose variables may not have been written yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unwritten: BTreeSet<String>,
}

impl Settings {
    /// Whether there never were any.
    pub(crate) fn are_untouched(&self) -> bool {
        self.revision == 0
    }

    /// What counts for a generation that was given these parameters.
    #[must_use]
    pub fn over(&self, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = given.clone();
        for (name, value) in &self.params {
            match value {
                Some(value) => drop(all.insert(name.clone(), value.clone())),
                None => drop(all.remove(name)),
            }
        }
        all
    }

    /// The settings once these values are set and those forgotten, of the parameters that `is_live`.
    pub(crate) fn after(
        &self,
        (set, unset): (&BTreeMap<String, String>, &BTreeSet<String>),
        is_live: impl Fn(&str) -> bool,
    ) -> Self {
        let mut params = self.params.clone();
        for name in unset {
            match is_live(name) {
                true => drop(params.insert(name.clone(), None)),
                false => drop(params.remove(name)),
            }
        }
        for (name, value) in set {
            match is_live(name) {
                true => drop(params.insert(name.clone(), Some(value.clone()))),
                false => drop(params.remove(name)),
            }
        }
        let revision = self.revision + u64::from(params != self.params);
        Self { revision, params, unwritten: self.unwritten.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_was_set_last_counts_and_the_revision_counts_changes() {
        let given = texts(&[("pid", "7"), ("rate", "1")]);
        let none = BTreeSet::new();
        let live = |name: &str| name == "rate" || name == "limit";
        let set = |before: &Settings, set: &[(&str, &str)], unset: &BTreeSet<String>| {
            before.after((&texts(set), unset), live)
        };
        let one = set(&Settings::default(), &[("rate", "5"), ("limit", "9")], &none);
        assert_eq!(one.over(&given), texts(&[("pid", "7"), ("rate", "5"), ("limit", "9")]));
        assert_eq!((one.revision, one.are_untouched()), (1, false));
        assert_eq!(set(&one, &[("rate", "5")], &none).revision, 1);
        let forgotten = BTreeSet::from(["rate".to_owned(), "limit".to_owned()]);
        let two = set(&one, &[], &forgotten);
        assert_eq!(two.over(&given), texts(&[("pid", "7")]));
        assert_eq!((two.revision, two.params.len()), (2, 2), "older versions must hear of it");
        let frozen = set(&one, &[("pid", "8")], &none);
        assert_eq!(frozen, one, "what is no setting is the generation's");
    }
}
