//! Fields of data sources: how Inspektor Gadget shows them, by the types of the struct and by annotations, in our words.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::btf::{Composite, Kind};
use skep_object::{Btf, Facts, TypeId};
use skep_spec::manifest::Field;

use super::yaml::{Yaml, YamlError};

/// Types of `include/gadget/types.h`, and templates of annotations, that have a format of ours, with its unit.
const FORMATS: [(&str, &str, Option<&str>); 11] = [
    ("gadget_timestamp", "ktime", None),
    ("gadget_errno", "errno", None),
    ("gadget_signal", "signal", None),
    ("gadget_comm", "comm", None),
    ("gadget_pcomm", "comm", None),
    ("gadget_bytes", "size", Some("B")),
    ("gadget_duration", "duration", Some("ns")),
    ("timestamp", "ktime", None),
    ("comm", "comm", None),
    ("bytes", "size", Some("B")),
    ("duration", "duration", Some("ns")),
];
/// Counts by another clock than `ktime`: the machine's sleep is in it.
const TIME: &str = "gadget_timestamp";
/// Templates whose only word for us is that.
const LIKE_COMM: &str = "pcomm";
/// Fields with this at the end are shown under their name without it, by a part of Inspektor Gadget that knows their type.
const RAW: &str = "_raw";

/// Deepest struct in a struct, and most fields, that are looked at.
const DEPTH_MAX: usize = 8;
const FIELDS_MAX: usize = 512;

/// Fields by name, each with its annotations.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotated(BTreeMap<String, BTreeMap<String, String>>);

impl Annotated {
    pub(super) fn parse(yaml: &Yaml) -> Result<Self, YamlError> {
        let mut fields = BTreeMap::new();
        for (name, field) in yaml.map("fields")? {
            let mut annotations = BTreeMap::new();
            for (key, value) in field.map(name)? {
                if key != "annotations" {
                    annotations.insert(key.clone(), String::new());
                    continue;
                }
                for (key, value) in value.map(key)? {
                    annotations.insert(key.clone(), value.text(key)?.to_owned());
                }
            }
            fields.insert(name.clone(), annotations);
        }
        Ok(Self(fields))
    }

    /// All annotations, each with the fields that have it.
    pub(super) fn all(&self) -> Vec<String> {
        let mut left = Left::default();
        for (name, annotations) in &self.0 {
            annotations.keys().for_each(|key| left.add(key, name));
        }
        left.told()
    }

    /// How the fields of a struct are shown, and the annotations that have no word of ours.
    pub(super) fn shown(self, facts: &Facts, of: &str) -> (BTreeMap<String, Field>, Vec<String>) {
        let typed = facts.btf.as_ref().map(|btf| typed(btf, of)).unwrap_or_default();
        let (mut shown, mut left) = (BTreeMap::<String, Field>::new(), Left::default());
        for (path, ty) in &typed {
            let Some((_, format, unit)) = FORMATS.iter().find(|(name, ..)| name == ty) else {
                continue;
            };
            if ty == TIME {
                left.add("the machine's sleep, which is in their time and not in ktime's", path);
            }
            let name = path.strip_suffix(RAW).map(str::to_owned);
            let (format, unit) = (Some((*format).to_owned()), unit.map(str::to_owned));
            shown.insert(path.clone(), Field { format, unit, name, process: None });
        }
        for (name, annotations) in self.0 {
            let raw = format!("{name}{RAW}");
            let path = [name.clone(), raw].into_iter().find(|path| typed.contains_key(path));
            for (key, value) in &annotations {
                let field = path.as_ref().map(|path| (path, shown.get(path)));
                let taken = field.and_then(|(path, field)| Some((path, taken(field, key, value)?)));
                match taken {
                    Some((path, field)) => _ = shown.insert(path.clone(), field),
                    None => left.add(key, &name),
                }
            }
        }
        (shown, left.told())
    }
}

/// A field with an annotation that has a word of ours.
fn taken(field: Option<&Field>, key: &str, value: &str) -> Option<Field> {
    let field = field.cloned().unwrap_or_default();
    match key {
        "columns.alias" => Some(Field { name: Some(value.to_owned()), ..field }),
        "columns.hex" if value == "true" => {
            Some(Field { format: Some("hex".to_owned()), unit: None, ..field })
        }
        "template" => {
            let value = if value == LIKE_COMM { "comm" } else { value };
            let (_, format, unit) = FORMATS.iter().find(|(name, ..)| *name == value)?;
            let (format, unit) = (Some((*format).to_owned()), unit.map(str::to_owned));
            Some(Field { format, unit, ..field })
        }
        _ => None,
    }
}

/// Annotations without a word of ours, each with its fields.
#[derive(Default)]
struct Left(BTreeMap<String, BTreeSet<String>>);

impl Left {
    fn add(&mut self, key: &str, field: &str) {
        self.0.entry(key.to_owned()).or_default().insert(field.to_owned());
    }

    fn told(self) -> Vec<String> {
        let of = |(key, fields): (String, BTreeSet<String>)| {
            format!("{key} ({})", fields.into_iter().collect::<Vec<_>>().join(", "))
        };
        self.0.into_iter().map(of).collect()
    }
}

/// The fields of a struct by path, each with the name of its type, or of what its array is of.
fn typed(btf: &Btf, of: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let first = btf.find(of, |kind| matches!(kind, Kind::Struct(_)));
    let mut open: Vec<(String, TypeId, usize)> =
        first.map(|ty| (String::new(), ty, 0)).into_iter().collect();
    while let Some((path, ty, depth)) = open.pop() {
        let Kind::Struct(Composite { members, .. }) = btf.kind(btf.skip_modifiers(ty)) else {
            continue;
        };
        for member in members {
            if fields.len() >= FIELDS_MAX {
                return fields;
            }
            let path = match path.as_str() {
                "" => btf.name(member).to_owned(),
                outer => format!("{outer}.{}", btf.name(member)),
            };
            fields.insert(path.clone(), named(btf, member.ty));
            if depth < DEPTH_MAX {
                open.push((path, member.ty, depth + 1));
            }
        }
    }
    fields
}

/// What a type is called, behind `const` and in an array.
fn named(btf: &Btf, ty: TypeId) -> String {
    match btf.kind(ty) {
        Kind::Array(array) => btf.name(btf.ty(array.element)).to_owned(),
        Kind::Const(inner) | Kind::Volatile(inner) => btf.name(btf.ty(*inner)).to_owned(),
        _ => btf.name(btf.ty(ty)).to_owned(),
    }
}
