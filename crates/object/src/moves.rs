//! What a manifest's tables for upgrades name: whether the values of their maps have it.

use std::collections::BTreeSet;
use std::ops::Bound;

use skep_spec::Manifest;
use skep_spec::manifest::Map;
use skep_spec::nearest::Search;
use skep_spec::source::key;

use crate::{Facts, MapFacts, MapOrigin, layout};

/// A name that does nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misnamed {
    /// No value of the map has the field.
    #[error("[map.{}] names the {what} '{name}' in {table}, {why}", key(map))]
    Field {
        /// The map.
        map: String,
        /// `field`, or `variable` of a section.
        what: &'static str,
        /// `fields` or `rename`.
        table: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it, and the nearest that would do.
        why: String,
    },
    /// Variables are renamed.
    #[error(
        "[map.{}] renames '{name}', and variables are carried over by their names alone: put what is renamed into a map of its own",
        key(map)
    )]
    Variable {
        /// The section.
        map: String,
        /// The new name.
        name: String,
    },
}

impl Misnamed {
    /// Where the manifest says it: keys from the outside in.
    #[must_use]
    pub fn key(&self) -> Vec<String> {
        let (map, table, name) = match self {
            Self::Field { map, table, name, .. } => (map, *table, name),
            Self::Variable { map, name } => (map, "rename", name),
        };
        ["map", map, table, name].map(str::to_owned).into()
    }
}

/// What `fields` and `rename` name of the values of maps that no object's map of that name has. What `rename` calls the
/// version before is for the upgrade to see.
#[must_use]
pub fn misnamed(manifest: &Manifest, objects: &[&Facts]) -> Vec<Misnamed> {
    let (mut found, mut search) = (Vec::new(), Search::default());
    for (name, told) in &manifest.map {
        let mut maps = objects.iter().filter_map(|facts| Some((*facts, facts.map(name)?)));
        let known: Option<Vec<BTreeSet<String>>> = maps.clone().map(|(f, m)| names(f, m)).collect();
        // A type that cannot be told may have any.
        let Some(known) = known.filter(|known| !known.is_empty()) else { continue };
        let known: BTreeSet<String> = known.into_iter().flatten().collect();
        let is_section = maps.any(|(_, map)| map.origin == MapOrigin::Data);
        found.extend(of_map(name, told, &known, is_section, &mut search));
    }
    found
}

fn of_map(
    map: &str,
    told: &Map,
    known: &BTreeSet<String>,
    is_section: bool,
    search: &mut Search,
) -> Vec<Misnamed> {
    let outer: BTreeSet<&str> = known.iter().flat_map(|path| outward(path)).collect();
    let leaves: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    let what = if is_section { "variable" } else { "field" };
    let mut found = Vec::new();
    let mut hold = |table, name: &String, there: &BTreeSet<&str>| {
        let (map, name) = (map.to_owned(), name.clone());
        if is_section && table == "rename" {
            found.push(Misnamed::Variable { map, name });
        } else if !there.contains(name.as_str()) {
            let why = why_not(&name, &leaves, there, search);
            found.push(Misnamed::Field { map, what, table, name, why });
        }
    };
    told.fields.keys().for_each(|name| hold("fields", name, &outer));
    told.rename.keys().for_each(|name| hold("rename", name, &leaves));
    found
}

fn why_not(
    name: &str,
    leaves: &BTreeSet<&str>,
    there: &BTreeSet<&str>,
    search: &mut Search,
) -> String {
    let within = |mark: &str| {
        let start = format!("{name}{mark}");
        let behind = (Bound::Included(start.as_str()), Bound::Unbounded);
        let first = leaves.range::<str, _>(behind).next();
        first.copied().filter(|path| path.starts_with(&start))
    };
    if within("[").is_some() {
        return "an array of structs, whose elements no name reaches".to_owned();
    }
    // What has an index cannot be written in a manifest.
    let is_written = |path: &&str| !path.is_empty() && !path.contains('[');
    let named = there.iter().copied().filter(is_written);
    match within(".").or_else(|| search.nearest(name, named)) {
        Some(near) => format!("which is not there; did you mean '{near}'?"),
        None => "which is not there".to_owned(),
    }
}

/// A path, and what it is in, from the inside out.
fn outward(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| Some(path.rsplit_once('.')?.0))
}

/// What can be named of a map's value; none where nobody knows.
fn names(facts: &Facts, map: &MapFacts) -> Option<BTreeSet<String>> {
    if map.origin == MapOrigin::Data {
        let own = facts.globals.iter().filter(|global| global.section == map.name);
        return Some(own.map(|global| global.name.clone()).collect());
    }
    layout::paths(facts.btf.as_ref()?, map.value_type?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// An object with a map of structs and a variable, by clang.
    fn facts() -> Facts {
        const SOURCE: &str = "struct in { long x; }; struct val { long hits; struct in of; struct in l[2]; };\n\
            #define MAP(name, of) struct { int (*type)[1]; int (*max_entries)[8]; int *key; of *value; } name \\\n\
            __attribute__((section(\".maps\")));\n\
            MAP(conns, struct val)\n\
            long total; __attribute__((section(\"xdp\"))) int x(void *c) { return total++; }\n";
        let folder = tempfile::tempdir().unwrap();
        let (c, object) = (folder.path().join("m.c"), folder.path().join("m.o"));
        std::fs::write(&c, SOURCE).unwrap();
        let mut clang = std::process::Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
        assert!(clang.status().unwrap().success());
        Facts::parse(&std::fs::read(object).unwrap()).unwrap()
    }

    #[test]
    fn what_no_value_has_is_told_with_what_is_like_it() {
        let facts = facts();
        let said = |map: &str, table: &str| {
            let source = format!(
                "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                 [object.a]\nsources = [\"a.bpf.c\"]\n[map.{map}]\nupgrade = \"migrate\"\n{table}\n"
            );
            let manifest = skep_spec::source::parse(&source).unwrap().resolve(&BTreeMap::new());
            let found = misnamed(&manifest, &[&facts]);
            found.iter().map(Misnamed::to_string).collect::<Vec<_>>()
        };
        for (map, table) in [
            ("conns", "fields = { hits = \"sum\", of = \"max\", \"of.x\" = \"min\" }"),
            ("conns", "rename = { hits = \"anything\", \"of.x\" = \"x\" }"),
            ("\".bss\"", "fields = { total = \"sum\" }"),
        ] {
            assert_eq!(said(map, table), Vec::<String>::new(), "{table}");
        }
        let no_value = "which is not there";
        for (map, table, expected) in [
            (
                "conns",
                "fields = { hit = \"sum\" }",
                format!("[map.conns] names the field 'hit' in fields, {no_value}; did you mean 'hits'?"),
            ),
            (
                "conns",
                "fields = { colour = \"sum\" }",
                format!("[map.conns] names the field 'colour' in fields, {no_value}"),
            ),
            (
                "conns",
                "fields = { l = \"sum\" }",
                "[map.conns] names the field 'l' in fields, an array of structs, whose elements no name reaches".to_owned(),
            ),
            (
                "conns",
                "rename = { of = \"in\" }",
                format!("[map.conns] names the field 'of' in rename, {no_value}; did you mean 'of.x'?"),
            ),
            (
                "\".bss\"",
                "fields = { totl = \"sum\" }",
                format!("[map.\".bss\"] names the variable 'totl' in fields, {no_value}; did you mean 'total'?"),
            ),
            (
                "\".bss\"",
                "rename = { total = \"sum\" }",
                "[map.\".bss\"] renames 'total', and variables are carried over by their names alone: put what is renamed into a map of its own".to_owned(),
            ),
        ] {
            assert_eq!(said(map, table), [expected], "{table}");
        }
        let all =
            said("conns", "fields = { hit = \"sum\", colour = \"max\" }\nrename = { of = \"in\" }");
        assert_eq!(all.len(), 3, "{all:?}");
    }
}
