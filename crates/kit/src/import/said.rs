//! What a peer's own description says of the objects beside it.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::Facts;
use skep_object::event::{Decoder, event_type};
use skep_spec::Version;
use skep_spec::license::Expression;
use skep_spec::manifest::Field;

use super::{label, quoted};

/// What is taken over from a description, where the objects bear it out. Nothing is said of objects alone.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Whether something is said at all: the loader that it is said to runs all programs, or none.
    pub whole: bool,
    /// What it is called.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<Version>,
    /// Its licence.
    pub license: Option<Expression>,
    /// What it does, in one line.
    pub summary: Option<String>,
    /// The functions that it offers, each with its type; all of the objects' where it does not say.
    pub programs: Option<BTreeMap<String, String>>,
    /// The only variables that are parameters; all constants where it does not say.
    pub params: Option<Vec<SaidParam>>,
    /// What comes out.
    pub outputs: Vec<SaidOutput>,
}

/// A variable that an operator may set.
#[derive(Clone, Debug, Default)]
pub struct SaidParam {
    /// Its symbol.
    pub variable: String,
    /// What operators call it.
    pub name: String,
    /// What it means.
    pub doc: Option<String>,
    /// Its value when none is given, as text.
    pub default: Option<String>,
}

/// What comes out of a map.
#[derive(Clone, Debug)]
pub struct SaidOutput {
    /// Its name.
    pub name: String,
    /// The map.
    pub map: String,
    /// The kind of it.
    pub kind: SaidKind,
}

/// What a map's contents are.
#[derive(Clone, Debug)]
pub enum SaidKind {
    /// Records of a buffer.
    Event {
        /// Their struct.
        of: Option<String>,
        /// How fields are shown.
        fields: BTreeMap<String, Field>,
    },
    /// Entries, read from time to time.
    Snapshot,
    /// Slots of a histogram.
    Histogram {
        /// `log2` or `linear`.
        scale: &'static str,
        /// What is counted.
        unit: Option<String>,
    },
}

impl SaidParam {
    /// Its label: words with the mark that its name has.
    pub(super) fn label(&self) -> String {
        label(&self.name, if self.name.contains('-') { '-' } else { '_' })
    }
}

impl SaidOutput {
    /// Its table; nothing where no object has the map.
    pub(super) fn table(
        &self,
        name: &str,
        facts: &[&Facts],
        unmapped: &mut BTreeSet<String>,
    ) -> Option<String> {
        let holders: Vec<&Facts> =
            facts.iter().filter(|facts| facts.map(&self.map).is_some()).copied().collect();
        if holders.is_empty() {
            unmapped
                .insert(format!("there is no map '{}' for the output '{}'", self.map, self.name));
            return None;
        }
        let head =
            |kind| format!("\n[output.{name}]\nkind = \"{kind}\"\nmap = {}\n", quoted(&self.map));
        match &self.kind {
            SaidKind::Event { of, fields } => {
                let shown = self.event(of.as_deref(), fields, &holders, unmapped)?;
                Some(head("event") + &shown)
            }
            SaidKind::Snapshot => Some(head("snapshot")),
            SaidKind::Histogram { scale, unit } => {
                let unit = unit.as_deref().and_then(line);
                let unit = unit.map(|unit| format!(", unit = {}", quoted(&unit)));
                let unit = unit.unwrap_or_default();
                let slots = self.slots(&holders, unmapped)?;
                let buckets = format!("buckets = {{ scale = \"{scale}\"{unit} }}\n");
                Some(head("histogram") + &slots + &buckets)
            }
        }
    }

    /// Which field of the map's value has the slots, where it is not the whole.
    fn slots(&self, holders: &[&Facts], unmapped: &mut BTreeSet<String>) -> Option<String> {
        let of = |facts: &&Facts| {
            let value = facts.map(&self.map)?.value_type?;
            Some(Decoder::new(facts.btf.as_ref()?, value, &BTreeMap::new()).ok()?.counts())
        };
        let all: Option<BTreeSet<Vec<String>>> = holders.iter().map(of).collect();
        let all: Vec<Vec<String>> = all.into_iter().flatten().collect();
        if let [one] = all.as_slice()
            && let [field] = one.as_slice()
        {
            let value = format!("value = {}\n", quoted(field));
            return Some(if field.is_empty() { String::new() } else { value });
        }
        unmapped.insert(format!(
            "nobody can tell which array of the map '{}' is the histogram '{}': give it an [output] with value",
            self.map, self.name
        ));
        None
    }

    /// The struct and the fields of records, as far as every object has them so.
    fn event(
        &self,
        of: Option<&str>,
        fields: &BTreeMap<String, Field>,
        holders: &[&Facts],
        unmapped: &mut BTreeSet<String>,
    ) -> Option<String> {
        let told =
            of.filter(|of| holders.iter().all(|h| event_type(h, &self.map, Some(of)).is_some()));
        if told.is_none()
            && let Some(of) = of
        {
            unmapped.insert(format!(
                "the records of '{}' are no struct '{of}' of the object",
                self.map
            ));
        }
        let types: Option<Vec<_>> = holders
            .iter()
            .map(|facts| Some((facts.btf.as_ref()?, event_type(facts, &self.map, told)?)))
            .collect();
        let types = types?;
        let mut text = told.map_or_else(String::new, |of| format!("struct = {}\n", quoted(of)));
        for (path, field) in fields {
            let alone = BTreeMap::from([(path.clone(), field.clone())]);
            match types.iter().all(|(btf, ty)| Decoder::new(btf, *ty, &alone).is_ok()) {
                true => text += &shown(path, field),
                false => {
                    let how = field.format.as_deref().or(field.name.as_deref()).unwrap_or_default();
                    unmapped.insert(format!(
                        "the field '{path}' of '{}' cannot be shown as '{how}'",
                        self.name
                    ));
                }
            }
        }
        Some(text)
    }
}

fn shown(path: &str, field: &Field) -> String {
    let keys = [("format", &field.format), ("unit", &field.unit), ("name", &field.name)];
    let keys = keys.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
    let keys = keys.map(|(key, value)| format!("{key} = {}", quoted(value)));
    let keys = keys.collect::<Vec<_>>().join(", ");
    format!("fields.{} = {{ {keys} }}\n", skep_spec::source::key(path))
}

/// A text as one line of what is not too long, if anything is left of it.
pub(super) fn line(text: &str) -> Option<String> {
    const MOST: usize = 300;
    let line: String = one_line(text).chars().take(MOST).collect();
    (!line.is_empty()).then_some(line)
}

/// A text without ends of lines and other control characters: names in it may be a stranger's.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
