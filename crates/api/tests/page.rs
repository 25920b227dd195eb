//! `docs/reference/api.md` has every type that is on the wire, with each of its members and values, and no others.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use serde_json::Value;
use skep_api::{
    Applied, Code, CodeOf, Committed, Deed, Desired, DesiredState, Detail, ErrorBody, EventLine,
    Install, Instruction, MapEnd, MapEntry, MapKey, MapRow, MapUpdate, Maps, Metric, Metrics,
    NextKernel, Node, Operation, Outdated, ParamsSet, Past, Plan, ProgramRow, Programs, Removed,
    ServiceOutlook, SetParams, Start, Stats, Status, Stop, TestRun, TestRunResult, Touched,
    Upgrade, Watch, Which,
};

const PAGE: &str = include_str!("../../../docs/reference/api.md");

/// What a request or an answer can be, and all that is in it, by the type's name.
fn types() -> BTreeMap<String, BTreeSet<String>> {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    generator.subschema_for::<Install>();
    generator.subschema_for::<Upgrade>();
    generator.subschema_for::<Operation>();
    generator.subschema_for::<Status>();
    generator.subschema_for::<Detail>();
    generator.subschema_for::<Plan>();
    generator.subschema_for::<Removed>();
    generator.subschema_for::<Stop>();
    generator.subschema_for::<Start>();
    generator.subschema_for::<Touched>();
    generator.subschema_for::<Committed>();
    generator.subschema_for::<Past>();
    generator.subschema_for::<Deed>();
    generator.subschema_for::<SetParams>();
    generator.subschema_for::<ParamsSet>();
    generator.subschema_for::<NextKernel>();
    generator.subschema_for::<ServiceOutlook>();
    generator.subschema_for::<Which>();
    generator.subschema_for::<Outdated>();
    generator.subschema_for::<Desired>();
    generator.subschema_for::<Applied>();
    generator.subschema_for::<DesiredState>();
    generator.subschema_for::<Node>();
    generator.subschema_for::<Watch>();
    generator.subschema_for::<EventLine>();
    generator.subschema_for::<ErrorBody>();
    generator.subschema_for::<Maps>();
    generator.subschema_for::<Metrics>();
    generator.subschema_for::<Programs>();
    generator.subschema_for::<ProgramRow>();
    generator.subschema_for::<Instruction>();
    generator.subschema_for::<CodeOf>();
    generator.subschema_for::<Code>();
    generator.subschema_for::<Stats>();
    generator.subschema_for::<TestRun>();
    generator.subschema_for::<TestRunResult>();
    generator.subschema_for::<Metric>();
    generator.subschema_for::<MapRow>();
    generator.subschema_for::<MapKey>();
    generator.subschema_for::<MapUpdate>();
    generator.subschema_for::<MapEntry>();
    generator.subschema_for::<MapEnd>();
    let types = generator.definitions().iter();
    let words = types.map(|(name, schema)| {
        let mut found = BTreeSet::new();
        words(schema, &mut found);
        (name.clone(), found)
    });
    words.collect()
}

/// The members of objects and the values of texts in a schema, without those of the types that it refers to.
fn words(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Array(list) => list.iter().for_each(|schema| words(schema, found)),
        Value::Object(members) => {
            for (keyword, inner) in members {
                match (keyword.as_str(), inner) {
                    ("properties", Value::Object(properties)) => {
                        found.extend(properties.keys().cloned());
                        properties.values().for_each(|schema| words(schema, found));
                    }
                    ("const", Value::String(word)) => drop(found.insert(word.clone())),
                    ("enum", Value::Array(list)) => {
                        found.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    ("required" | "description", _) => {}
                    (_, inner) => words(inner, found),
                }
            }
        }
        _ => {}
    }
}

/// The first cells of the rows under each heading that is a type.
fn sections(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let types = page.split("\n## ").find(|part| part.starts_with("Types\n")).unwrap();
    let section = |text: &str| {
        let (name, rest) = text.split_once("`\n").unwrap();
        let row = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
        (name.to_owned(), rest.lines().filter_map(row).collect())
    };
    types.split("\n### `").skip(1).map(section).collect()
}

#[test]
fn the_page_has_every_type_member_and_value() {
    let (types, sections) = (types(), sections(PAGE));
    for (name, words) in &types {
        let there = sections.get(name).unwrap_or_else(|| panic!("no section for {name}"));
        assert_eq!(there, words, "{name}");
    }
    let names = |of: &BTreeMap<String, BTreeSet<String>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&sections), names(&types));
}
