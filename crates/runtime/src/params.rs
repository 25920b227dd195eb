//! Parameters: what the operator set, as constants, map sizes and attach targets.

use std::collections::{BTreeMap, BTreeSet};

use skep_kernel::Opened;
use skep_object::btf::Kind;
use skep_object::{Facts, Global};
use skep_spec::Manifest;
use skep_spec::manifest::{Map, Param};
use skep_spec::nearest;
use skep_spec::param::{ParamError, ParamType, Value, parse_integer, parse_size, substitute};

use crate::error::RuntimeError;

/// Why a parameter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// The package has no such parameter.
    #[error("the package has no parameter '{name}'{hint}")]
    Unknown {
        /// What was set.
        name: String,
        /// The nearest one, or all.
        hint: String,
    },
    /// A value does not fit.
    #[error("parameter '{name}' cannot be {value}")]
    Value {
        /// The parameter.
        name: String,
        /// What was set.
        value: String,
        /// Why.
        source: ParamError,
    },
    /// No name of the variable's enum, and no number.
    #[error("parameter '{name}' cannot be {value}: its enum has no such name{hint}")]
    NoEnumerator {
        /// The parameter.
        name: String,
        /// What was set.
        value: String,
        /// The nearest one, or all.
        hint: String,
    },
    /// The manifest binds a parameter to a variable that no object has.
    #[error("parameter '{name}' sets the variable '{variable}', which no object has in {section}")]
    NoVariable {
        /// The parameter.
        name: String,
        /// The variable.
        variable: String,
        /// `.rodata` or `.data`.
        section: &'static str,
    },
    /// A map's size is no number.
    #[error("the size of map '{map}' is '{text}', which is no number from 1 to 2^32-1")]
    Size {
        /// The map.
        map: String,
        /// Its size.
        text: String,
    },
    /// A reference to a parameter without a value.
    #[error("the size of map '{map}' can't be known")]
    MapSize {
        /// The map.
        map: String,
        /// Why.
        source: ParamError,
    },
}

/// The values of a package's parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    declared: BTreeMap<String, Param>,
    maps: BTreeMap<String, Map>,
    values: BTreeMap<String, Value>,
    given: BTreeSet<String>,
}

/// One variable to be written before load.
struct Write<'a> {
    param: &'a str,
    variable: &'a str,
    section: &'static str,
    how: Param,
    value: Value,
}

impl Params {
    /// Checks what was given and fills in the defaults.
    pub(crate) fn resolve(
        manifest: &Manifest,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, ParamsError> {
        let mut values = BTreeMap::new();
        for (name, param) in &manifest.param {
            let value = given.get(name).map(|text| Value::Text(text.clone()));
            if let Some(value) = value.or_else(|| param.default.clone()) {
                // The objects say which names an enum has.
                if !may_be_name(param, &value) {
                    param.check(&value).map_err(|source| ParamsError::Value {
                        name: name.clone(),
                        value: value.text(),
                        source,
                    })?;
                }
                values.insert(name.clone(), value);
            }
        }
        if let Some(name) = given.keys().find(|name| !manifest.param.contains_key(*name)) {
            let hint = hint(name, manifest.param.keys().map(String::as_str));
            return Err(ParamsError::Unknown { name: name.clone(), hint });
        }
        let (declared, maps) = (manifest.param.clone(), manifest.map.clone());
        Ok(Self { declared, maps, values, given: given.keys().cloned().collect() })
    }

    /// Whether the operator gave it, or it has a default.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether an operator's value is in this variable of `.data`, so that an upgrade must not write over it.
    pub(crate) fn is_set_live(&self, variable: &str) -> bool {
        let bound = |name: &String| {
            self.declared.get(name).is_some_and(|param| param.data.as_deref() == Some(variable))
        };
        self.given.iter().any(bound)
    }

    /// The text with values in the places of `${param.NAME}`.
    pub(crate) fn substitute(&self, text: &str) -> Result<String, ParamError> {
        substitute(text, &self.values)
    }

    /// A parameter without anything in it that the text refers to.
    pub(crate) fn empty_in(&self, text: &str) -> Option<&str> {
        let mut empty = self.values.iter().filter(|(_, value)| value.text().is_empty());
        let named = |(name, _): &(&String, &Value)| text.contains(&format!("${{param.{name}}}"));
        empty.find(named).map(|(name, _)| name.as_str())
    }

    /// The size that the manifest gives a map.
    pub(crate) fn max_entries(&self, map: &str) -> Result<Option<u32>, ParamsError> {
        let Some(size) = self.maps.get(map).and_then(|m| m.max_entries.as_ref()) else {
            return Ok(None);
        };
        let text = self.substitute(&size.text());
        let text = text.map_err(|source| ParamsError::MapSize { map: map.to_owned(), source })?;
        let size = parse_size(&text).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        size.map(Some).ok_or_else(|| ParamsError::Size { map: map.to_owned(), text })
    }

    /// That each variable is in one of the objects, and that a name of an enum is one of it.
    pub(crate) fn check_variables<'a>(
        &self,
        objects: impl Iterator<Item = &'a Facts> + Clone,
    ) -> Result<(), ParamsError> {
        for write in self.writes() {
            let mut found = objects
                .clone()
                .filter_map(|facts| Some((facts, find(facts, write.variable, write.section)?)))
                .peekable();
            if found.peek().is_none() {
                return Err(ParamsError::NoVariable {
                    name: write.param.to_owned(),
                    variable: write.variable.to_owned(),
                    section: write.section,
                });
            }
            if may_be_name(&write.how, &write.value) {
                found.try_for_each(|(facts, global)| check_name(facts, global, &write))?;
            }
        }
        Ok(())
    }

    /// Writes the values into an object's constants and variables.
    pub(crate) fn write(&self, facts: &Facts, opened: &mut Opened) -> Result<(), RuntimeError> {
        for write in self.writes() {
            let Some(global) = find(facts, write.variable, write.section) else { continue };
            let value = enum_value(facts, global, &write).unwrap_or(write.value);
            let size = usize::try_from(global.size).unwrap_or(usize::MAX);
            let bytes = write.how.encode(&value, size).map_err(|source| ParamsError::Value {
                name: write.param.to_owned(),
                value: value.text(),
                source,
            })?;
            let offset = usize::try_from(global.offset).unwrap_or(usize::MAX);
            opened.set_global(&global.section, offset, &bytes)?;
        }
        Ok(())
    }

    fn writes(&self) -> Vec<Write<'_>> {
        let mut writes = Vec::new();
        for (name, value) in &self.values {
            let Some(how) = self.declared.get(name) else { continue };
            let mut add = |variable, section, how: &Param, value: &Value| {
                let (how, value) = (how.clone(), value.clone());
                writes.push(Write { param: name, variable, section, how, value });
            };
            if let Some(variable) = &how.rodata {
                add(variable.as_str(), ".rodata", how, value);
            }
            if let Some(variable) = &how.data {
                add(variable.as_str(), ".data", how, value);
            }
            if self.given.contains(name) {
                for (variable, value) in &how.set {
                    add(variable.as_str(), ".rodata", &constant(how, value), value);
                }
            }
        }
        writes
    }
}

/// How a constant of `set` is written: as what it looks like.
fn constant(how: &Param, value: &Value) -> Param {
    let number = |text: &str| text.parse::<i128>().is_ok();
    let r#type = match value {
        Value::Bool(_) => ParamType::Bool,
        Value::Int(_) => ParamType::Int,
        Value::Text(text) if number(text) => ParamType::Int,
        Value::Text(_) => ParamType::String,
    };
    Param { r#type, unit: None, range: None, ..how.clone() }
}

/// The variable of this name; `.data` means `.bss` too, where a variable without a value lies.
fn find<'a>(facts: &'a Facts, variable: &str, section: &str) -> Option<&'a Global> {
    facts.globals.iter().find(|global| {
        let fits = global.section.starts_with(section)
            || (section == ".data" && global.section.starts_with(".bss"));
        fits && global.name == variable
    })
}

/// Whether a value is no number, and its variable's type may have it as a name.
fn may_be_name(param: &Param, value: &Value) -> bool {
    let bound = param.rodata.is_some() || param.data.is_some();
    param.r#type == ParamType::Enum && bound && parse_integer(&value.text()).is_none()
}

/// The names of a variable's enum, with their numbers.
fn enumerators<'a>(facts: &'a Facts, global: &Global) -> Option<Vec<(&'a str, i128)>> {
    let btf = facts.btf.as_ref()?;
    let (Kind::Enum(e) | Kind::Enum64(e)) = btf.kind(btf.skip_modifiers(global.ty?)) else {
        return None;
    };
    let number = |value: i64| match e.signed {
        true => i128::from(value),
        false => i128::from(value.cast_unsigned()),
    };
    Some(e.values.iter().map(|value| (btf.name(value), number(value.value))).collect())
}

/// The number of an enumerator's name.
fn enum_value(facts: &Facts, global: &Global, write: &Write<'_>) -> Option<Value> {
    if !may_be_name(&write.how, &write.value) {
        return None;
    }
    let (all, text) = (enumerators(facts, global)?, write.value.text());
    all.iter().find(|(name, _)| *name == text).map(|(_, number)| Value::integer(*number))
}

fn check_name(facts: &Facts, global: &Global, write: &Write<'_>) -> Result<(), ParamsError> {
    let (name, text) = (write.param.to_owned(), write.value.text());
    match (enum_value(facts, global, write), enumerators(facts, global)) {
        (None, Some(names)) => Err(ParamsError::NoEnumerator {
            name,
            value: text,
            hint: hint(&write.value.text(), names.iter().map(|(name, _)| *name)),
        }),
        (number, _) => write
            .how
            .check(number.as_ref().unwrap_or(&write.value))
            .map_err(|source| ParamsError::Value { name, value: text, source }),
    }
}

fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest::nearest(name, known.clone()) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => match known.collect::<Vec<_>>().as_slice() {
            [] => ": it takes none".to_owned(),
            known => format!("; it takes: {}", known.join(", ")),
        },
    }
}
