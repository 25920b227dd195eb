//! Rules about `[permissions]`: not for what no program uses, not for far more than they need.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::declared::declared;
use skep_object::permissions::{Power, TABLE, derive};
use skep_spec::manifest::Permissions;
use skep_spec::param::{parse_size, references};
use skep_spec::permission::{covers_hook, covers_name};

use super::{Lint, Rule};

/// How many times what the maps take may be allowed without a word, and how many bytes more.
const TIMES: u64 = 16;
const MORE: u64 = 16 << 20;

impl Lint<'_> {
    pub(super) fn permissions(&mut self) {
        let Some(permissions) = &self.source.permissions else {
            let message = "there are no [permissions]: 'skep pack' shows those that cover the code";
            return self.add(Rule::MissingPermissions, &[], message.to_owned());
        };
        for (key, list) in [
            ("hooks", &permissions.hooks),
            ("helpers", &permissions.helpers),
            ("kfuncs", &permissions.kfuncs),
        ] {
            for entry in list {
                if let Some((rule, message)) = self.permission(key, entry) {
                    self.add(rule, &["permissions", key], message);
                }
            }
        }
        self.memory(permissions);
    }

    fn permission(&self, key: &str, entry: &String) -> Option<(Rule, String)> {
        if entry == "*" {
            let message = format!("{key} allows everything: name what the code needs");
            return Some((Rule::WidePermission, message));
        }
        if self.facts.is_empty() {
            return None;
        }
        if !self.is_used(key, entry) {
            let message = format!("{key} allows '{entry}', which no program uses");
            return Some((Rule::UnneededPermission, message));
        }
        let (name, power) = self.beyond(key, entry.strip_suffix('*')?)?;
        let message = format!(
            "{key} allows '{entry}', and so '{name}' too, which {power}, as no program does: name what the code needs"
        );
        Some((Rule::WidePermission, message))
    }

    /// The gravest that a beginning covers and whose power none of the code has.
    fn beyond(&self, key: &str, beginning: &str) -> Option<(&'static str, Power)> {
        let had: BTreeSet<Power> =
            self.facts.iter().flat_map(|facts| derive(facts).powers).collect();
        TABLE.iter().filter(|row| !had.contains(&row.power)).find_map(|row| {
            let names = match key {
                "hooks" => row.hooks,
                "helpers" => row.helpers,
                _ => row.kfuncs,
            };
            let name = names.iter().find(|name| name.starts_with(beginning))?;
            Some((*name, row.power))
        })
    }

    /// Whether a permission covers anything of the code, at the targets that the manifest gives.
    fn is_used(&self, key: &str, entry: &String) -> bool {
        let alone = std::slice::from_ref(entry);
        let covers = |name: &String| covers_name(alone, name);
        let given =
            || self.source.program.values().filter_map(|own| own.target.as_ref()?.parse().ok());
        let mut programs = self.facts.iter().flat_map(|facts| &facts.programs);
        match key {
            "hooks" => {
                programs.any(|program| covers_hook(alone, &program.target))
                    || given().any(|hook| covers_hook(alone, &hook))
            }
            "helpers" => programs.any(|program| program.helpers.iter().any(covers)),
            _ => programs.any(|program| program.kfuncs.iter().any(covers)),
        }
    }

    /// What operators may make larger is left alone.
    fn memory(&mut self, permissions: &Permissions) {
        let Some(text) = &permissions.map_memory else { return };
        let Some(allowed) = parse_size(text).and_then(|size| u64::try_from(size).ok()) else {
            return;
        };
        let sizes = self.source.map.values().filter_map(|map| map.max_entries.as_ref());
        let is_open = |text: String| references(&text).is_ok_and(|names| !names.is_empty());
        if self.facts.is_empty() || sizes.map(|size| size.text()).any(is_open) {
            return;
        }
        let manifest = self.source.resolve(&BTreeMap::new());
        let sized = self.facts.iter().map(|facts| declared(&manifest, facts, &BTreeMap::new()));
        let maps = sized.flat_map(|facts| facts.maps);
        let needed = maps.map(|map| map.memory().on(1)).fold(0, u64::saturating_add);
        if allowed > needed.saturating_mul(TIMES) && allowed - needed > MORE {
            let message =
                format!("map-memory allows {text}, and all maps together take {needed} bytes");
            self.add(Rule::WidePermission, &["permissions", "map-memory"], message);
        }
    }
}
