//! What is allowed in a `skep.toml` and better otherwise: rules with stable names.

mod permissions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use skep_object::{Facts, MapKind, MapOrigin, shown};
use skep_spec::life::Writers;
use skep_spec::manifest::{OutputKind, Param};
use skep_spec::param::{Value, references};
use skep_spec::source::{Source, place};

/// A rule. Its name never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Nobody can tell in a list what the package does.
    MissingSummary,
    /// A parameter without `doc`.
    MissingDoc,
    /// No `[permissions]`.
    MissingPermissions,
    /// A map that keeps something and says nothing about upgrades.
    MissingUpgrade,
    /// A permission that the code does not use.
    UnneededPermission,
    /// A permission for everything, or for far more than the code needs.
    WidePermission,
    /// A map whose size an operator may set without a limit.
    UnboundedMap,
    /// A map that asks to be pinned under its name, which no node does.
    PinnedMap,
    /// Instructions that belong to no function.
    LooseCode,
    /// What the manifest says of a map's writers is not what the code does.
    FalseWriters,
    /// Two fields of a map that were one field of the old version, of which only one can take it.
    TwiceRenamed,
    /// What is for the GPL only, in an object of another licence.
    LicenseObject,
    /// A hook that `[permissions]` do not cover.
    PermissionHook,
    /// A helper that they do not cover.
    PermissionHelper,
    /// A kfunc that they do not cover.
    PermissionKfunc,
    /// Maps that take more than they allow.
    PermissionMemory,
    /// A call whose target cannot be told.
    UnknownCall,
    /// A name with both `-` and `_`.
    StyleName,
    /// A summary that is a sentence, or long.
    StyleSummary,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 19] = [
        Self::MissingSummary,
        Self::MissingDoc,
        Self::MissingPermissions,
        Self::MissingUpgrade,
        Self::UnneededPermission,
        Self::WidePermission,
        Self::UnboundedMap,
        Self::PinnedMap,
        Self::LooseCode,
        Self::FalseWriters,
        Self::TwiceRenamed,
        Self::LicenseObject,
        Self::PermissionHook,
        Self::PermissionHelper,
        Self::PermissionKfunc,
        Self::PermissionMemory,
        Self::UnknownCall,
        Self::StyleName,
        Self::StyleSummary,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingSummary => "missing-summary",
            Self::MissingDoc => "missing-doc",
            Self::MissingPermissions => "missing-permissions",
            Self::MissingUpgrade => "missing-upgrade",
            Self::UnneededPermission => "unneeded-permission",
            Self::WidePermission => "wide-permission",
            Self::UnboundedMap => "unbounded-map",
            Self::PinnedMap => "pinned-map",
            Self::LooseCode => "loose-code",
            Self::FalseWriters => "false-writers",
            Self::TwiceRenamed => "twice-renamed",
            Self::LicenseObject => "license.object",
            Self::PermissionHook => "permission.hook",
            Self::PermissionHelper => "permission.helper",
            Self::PermissionKfunc => "permission.kfunc",
            Self::PermissionMemory => "permission.memory",
            Self::UnknownCall => "unknown-call",
            Self::StyleName => "style-name",
            Self::StyleSummary => "style-summary",
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Something that would be better otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// By which rule.
    pub rule: Rule,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, line, column, message } = self;
        write!(f, "{line}:{column}: {message} ({})", rule.name())
    }
}

/// Every finding, in the order of the text. `facts` are those of the built objects; without, rules that need them are silent.
#[must_use]
pub fn lint(text: &str, source: &Source, facts: &[&Facts]) -> Vec<Finding> {
    let mut lint = Lint { text, source, facts, found: Vec::new() };
    lint.package();
    lint.params();
    lint.permissions();
    lint.maps();
    lint.loose();
    lint.writers();
    lint.renames();
    lint.names();
    lint.found.sort_by_key(|finding| (finding.line, finding.column, finding.rule));
    lint.found
}

/// Of how many sections it is said that they have instructions of no function.
const MOST_SECTIONS: usize = 16;

struct Lint<'a> {
    text: &'a str,
    source: &'a Source,
    facts: &'a [&'a Facts],
    found: Vec<Finding>,
}

impl Lint<'_> {
    fn add(&mut self, rule: Rule, path: &[&str], message: String) {
        let [line, column] = place(self.text, path);
        self.found.push(Finding { rule, line, column, message });
    }

    fn package(&mut self) {
        match &self.source.package.summary {
            None => {
                let message = "[package] has no summary: say in some words what it does".to_owned();
                self.add(Rule::MissingSummary, &["package"], message);
            }
            Some(summary) if summary.ends_with('.') || summary.chars().count() > 80 => {
                let message =
                    "the summary should be a line of at most 80 characters, without a full stop";
                self.add(Rule::StyleSummary, &["package", "summary"], message.to_owned());
            }
            Some(_) => {}
        }
    }

    fn params(&mut self) {
        let source = self.source;
        for (name, _) in source.param.iter().filter(|(_, param)| param.doc.is_none()) {
            let message = format!("[param.{name}] has no doc: operators see it when they set it");
            self.add(Rule::MissingDoc, &["param", name], message);
        }
    }

    fn maps(&mut self) {
        let source = self.source;
        for (name, map) in &source.map {
            let Some(Value::Text(text)) = &map.max_entries else { continue };
            let open = |param: &&str| {
                source.param.get(*param).is_some_and(|param: &Param| param.range.is_none())
            };
            let Some(param) = references(text).unwrap_or_default().into_iter().find(open) else {
                continue;
            };
            let message = format!(
                "[map.{name}] is as large as the parameter '{param}' says, which has no range"
            );
            self.add(Rule::UnboundedMap, &["map", name, "max_entries"], message);
        }
        let maps = self.facts.iter().flat_map(|facts| &facts.maps);
        let pinned: BTreeSet<&str> =
            maps.filter(|map| map.pinned).map(|map| map.name.as_str()).collect();
        for name in pinned {
            let message = format!(
                "the map '{name}' asks to be pinned by name (LIBBPF_PIN_BY_NAME), and no node does that: leave its 'pinning' out"
            );
            self.add(Rule::PinnedMap, &["map", name], message);
        }
        for name in self.keepers() {
            let said = source
                .map
                .get(&name)
                .is_some_and(|map| map.upgrade.is_some() || map.role.is_some());
            if !said {
                let message = format!(
                    "the map '{name}' keeps numbers and [map.{name}] does not say what an upgrade does: keep, migrate or reset"
                );
                self.add(Rule::MissingUpgrade, &["map", &name], message);
            }
        }
    }

    fn loose(&mut self) {
        let mut sections = BTreeMap::<&str, u64>::new();
        for loose in self.facts.iter().flat_map(|facts| &facts.loose) {
            *sections.entry(&loose.section).or_default() += loose.instructions();
        }
        for (section, count) in sections.iter().take(MOST_SECTIONS) {
            let message = format!(
                "instructions of the section '{}' belong to no function ({count}): no node runs them, and nobody can say what they would do; give each function its type and size, or leave them out",
                shown(section)
            );
            self.add(Rule::LooseCode, &["object"], message);
        }
    }

    /// What `writers` claims, of maps that the objects have.
    fn writers(&mut self) {
        let source = self.source;
        for (name, map) in &source.map {
            let Some(claim) = map.writers.as_deref() else { continue };
            let having = self.facts.iter().filter(|facts| facts.map(name).is_some());
            let Some(found) = having.map(|facts| facts.writers(name)).max() else { continue };
            let (word, does) = match found {
                Writers::None => ("none", "no program writes it"),
                Writers::Atomic => ("atomic", "the code writes it atomically"),
                Writers::Plain | Writers::PlainPerCpu => ("plain", "the code writes it plainly"),
            };
            if claim != word {
                let message = format!("[map.{name}] says writers = \"{claim}\", and {does}");
                self.add(Rule::FalseWriters, &["map", name, "writers"], message);
            }
        }
    }

    fn renames(&mut self) {
        let source = self.source;
        for (name, map) in &source.map {
            let mut taken = BTreeMap::new();
            for (new, old) in &map.rename {
                if let Some(first) = taken.insert(old, new) {
                    let message = format!(
                        "[map.{name}] renames '{old}' to '{first}' and to '{new}': only the first of them in the new type takes it"
                    );
                    self.add(Rule::TwiceRenamed, &["map", name, "rename", new], message);
                }
            }
        }
    }

    /// Maps that keep something over runs: of the objects, or without them those that metrics name.
    fn keepers(&self) -> Vec<String> {
        let of_facts = self.facts.iter().flat_map(|facts| &facts.maps).filter(|map| {
            let carries =
                [MapKind::RingBuf, MapKind::PerfEventArray, MapKind::ProgArray, MapKind::StructOps];
            map.origin != MapOrigin::Data && !carries.contains(&map.kind)
        });
        let mut names: Vec<String> = of_facts.map(|map| map.name.clone()).collect();
        if self.facts.is_empty() {
            let metrics = [OutputKind::Counter, OutputKind::Gauge, OutputKind::Histogram];
            let outputs = self.source.output.values();
            let outputs = outputs.filter(|output| metrics.contains(&output.kind));
            names.extend(outputs.map(|output| output.map.clone()));
        }
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names.dedup();
        names
    }

    fn names(&mut self) {
        let source = self.source;
        let named = |table, names: Vec<&String>| {
            names.into_iter().cloned().map(move |name| (table, name)).collect::<Vec<_>>()
        };
        let all = [
            named("program", source.program.keys().collect()),
            named("param", source.param.keys().collect()),
            named("output", source.output.keys().collect()),
            named("object", source.object.keys().collect()),
        ];
        for (table, name) in all.concat() {
            if name.contains('-') && name.contains('_') {
                let message = format!("'{name}' has both - and _: use one of them");
                self.add(Rule::StyleName, &[table, &name], message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_reference_lists_every_rule() {
        let page = include_str!("../../../docs/reference/manifest.md");
        let (_, section) = page.split_once("\n## skep lint\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let told = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(told.collect::<Vec<_>>(), Rule::ALL.map(Rule::name));
    }

    #[test]
    fn each_finding_says_where_and_by_which_rule() {
        let text = r#"spec = "1.0"
[package]
name = "acme/exec"
version = "1.0.0"
license = "MIT"
summary = "Shows what is executed."
[object.exec]
sources = ["exec.bpf.c"]
[param.most_in-flight]
type = "uint"
[map.flights]
max_entries = "${param.most_in-flight}"
[map.totals]
upgrade = "migrate"
rename = { bytes = "n", packets = "n" }
[output.execs]
kind = "counter"
map = "counts"
[permissions]
hooks = ["*"]
"#;
        let source = skep_spec::source::parse(text).unwrap();
        let found: Vec<String> = lint(text, &source, &[]).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        6:1: the summary should be a line of at most 80 characters, without a full stop (style-summary)
        9:8: [param.most_in-flight] has no doc: operators see it when they set it (missing-doc)
        9:8: 'most_in-flight' has both - and _: use one of them (style-name)
        11:2: the map 'counts' keeps numbers and [map.counts] does not say what an upgrade does: keep, migrate or reset (missing-upgrade)
        12:1: [map.flights] is as large as the parameter 'most_in-flight' says, which has no range (unbounded-map)
        15:25: [map.totals] renames 'n' to 'bytes' and to 'packets': only the first of them in the new type takes it (twice-renamed)
        20:1: hooks allows everything: name what the code needs (wide-permission)
        ");
    }

    /// Of the programs of a vector.
    #[test]
    fn what_allows_far_more_than_the_code_needs_is_found() {
        let elf = include_bytes!("../../../spec/vectors/files/objects/touch.o");
        let facts = [&Facts::parse(elf).unwrap()];
        let found = |more: &str| {
            let text = format!(
                "spec = \"1.0\"\n[package]\nname = \"a/b\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                 [object.o]\nsources = [\"o.c\"]\n{more}"
            );
            let source = skep_spec::source::parse(&text).unwrap();
            let rules = [Rule::WidePermission, Rule::FalseWriters];
            let found = lint(&text, &source, &facts).into_iter();
            let found = found.filter(|finding| rules.contains(&finding.rule));
            found.map(|finding| finding.to_string()).collect::<Vec<_>>().join("\n")
        };
        let wide = "[permissions]\nhooks = [\"t*\", \"xdp\", \"kprobe/vfs_*\"]\n\
                    helpers = [\"map_*\", \"ringbuf_*\", \"g*\"]\nmap-memory = \"900GiB\"\n";
        insta::assert_snapshot!(found(wide), @"
        9:1: hooks allows 't*', and so 'tp_btf' too, which reads kernel memory, as no program does: name what the code needs (wide-permission)
        10:1: helpers allows 'g*', and so 'get_current_task_btf' too, which reads kernel memory, as no program does: name what the code needs (wide-permission)
        11:1: map-memory allows 900GiB, and all maps together take 28720 bytes (wide-permission)
        ");
        assert_eq!(found("[permissions]\nhooks = [\"tracepoint\"]\nmap-memory = \"16MiB\"\n"), "");
        let claims = "[map.counts]\nwriters = \"none\"\n[map.totals]\nwriters = \"atomic\"\n\
                      [map.events]\nwriters = \"plain\"\n[map.nowhere]\nwriters = \"plain\"\n";
        insta::assert_snapshot!(found(claims), @r#"
        9:1: [map.counts] says writers = "none", and the code writes it atomically (false-writers)
        11:1: [map.totals] says writers = "atomic", and the code writes it plainly (false-writers)
        13:1: [map.events] says writers = "plain", and no program writes it (false-writers)
        "#);
        assert_eq!(found("[map.counts]\nwriters = \"atomic\"\n"), "");
    }

    #[test]
    fn instructions_of_no_function_are_found() {
        let vectors = include_str!("../../../spec/vectors/04-objects/facts.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let mut cases = vectors["cases"].as_array().unwrap().iter();
        let name = "instructions before, between and behind functions";
        let case = cases.find(|case| case["name"] == name).unwrap();
        let elf = case["input"]["data"].as_str().unwrap();
        let facts = Facts::parse(&STANDARD.decode(elf).unwrap()).unwrap();
        let text = "spec = \"1.0\"\n[package]\nname = \"a/b\"\nversion = \"1.0.0\"\nlicense = \"GPL-2.0-only\"\n\
                    [object.o]\nsources = [\"o.c\"]\n";
        let source = skep_spec::source::parse(text).unwrap();
        let found = lint(text, &source, &[&facts]).into_iter();
        let found = found.filter(|finding| finding.rule == Rule::LooseCode);
        let found: Vec<String> = found.map(|finding| finding.to_string()).collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        6:2: instructions of the section '.text' belong to no function (1): no node runs them, and nobody can say what they would do; give each function its type and size, or leave them out (loose-code)
        6:2: instructions of the section 'xdp' belong to no function (4): no node runs them, and nobody can say what they would do; give each function its type and size, or leave them out (loose-code)
        ");
    }

    #[test]
    fn a_map_that_asks_for_a_pin_is_found() {
        let elf = include_bytes!("../../../spec/vectors/files/objects/arena.o");
        let text = "spec = \"1.0\"\n[package]\nname = \"a/b\"\nversion = \"1.0.0\"\nlicense = \"GPL-2.0-only\"\n\
                    [object.o]\nsources = [\"o.c\"]\n[map.shared_by_name]\nupgrade = \"keep\"\n";
        let source = skep_spec::source::parse(text).unwrap();
        let facts = Facts::parse(elf).unwrap();
        let found = lint(text, &source, &[&facts]);
        let found: Vec<String> = found
            .iter()
            .filter(|finding| finding.rule == Rule::PinnedMap)
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(found.join("\n"), @"8:6: the map 'shared_by_name' asks to be pinned by name (LIBBPF_PIN_BY_NAME), and no node does that: leave its 'pinning' out (pinned-map)");
    }
}
