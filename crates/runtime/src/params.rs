//! Parameters: what the operator set, as constants, map sizes and attach targets.

use std::collections::{BTreeMap, BTreeSet};

use skep_kernel::Opened;
use skep_object::bound::{Binding, Misbound, bindings, is_name};
use skep_object::{Facts, Global};
use skep_spec::Manifest;
use skep_spec::manifest::{Map, Param};
use skep_spec::nearest;
use skep_spec::param::{ParamError, Value, parse_entries, substitute};

use crate::choose::Objects;
use crate::error::RuntimeError;
use crate::install::Request;

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
    /// It cannot set its variable.
    #[error(transparent)]
    Bound(#[from] Misbound),
    /// What was set for the version that runs means nothing to the new one.
    #[error(
        "the new version has no parameter {}, which the running one was given: {}",
        gone.iter().map(|(name, _)| format!("'{name}'")).collect::<Vec<_>>().join(", "),
        gone.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    )]
    Gone {
        /// Names and values.
        gone: Vec<(String, String)>,
    },
    /// There is nothing to forget.
    #[error("the parameter '{name}' is not set{}", set_ones(there))]
    NotSet {
        /// What was to be forgotten.
        name: String,
        /// What is set.
        there: Vec<String>,
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
    /// Parameters whose value is forgotten: what was in their variables is not carried over either.
    forgotten: BTreeSet<String>,
}

/// What is written into a variable of a generation that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveWrite {
    pub(crate) object: String,
    /// The section that holds it.
    pub(crate) section: String,
    /// Where in that.
    pub(crate) offset: usize,
    pub(crate) bytes: Vec<u8>,
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
                let bound = param.rodata.is_some() || param.data.is_some();
                if !(bound && is_name(param, &value)) {
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
        let (given, forgotten) = (given.keys().cloned().collect(), BTreeSet::new());
        Ok(Self { declared, maps, values, given, forgotten })
    }

    /// The same where somebody wants the values of these forgotten.
    pub(crate) fn without(self, forgotten: &BTreeSet<String>) -> Self {
        Self { forgotten: forgotten.clone(), ..self }
    }

    /// What is to be in the variables of live parameters: the values, or what the object itself has there.
    pub(crate) fn live_writes(
        &self,
        objects: &Objects,
        names: &BTreeSet<String>,
    ) -> Result<Vec<LiveWrite>, ParamsError> {
        let mut writes = Vec::new();
        let declared = self.declared.iter().filter(|(name, _)| names.contains(*name));
        for (name, param) in declared {
            let Some(variable) = param.data.as_deref() else { continue };
            let only = Param { set: BTreeMap::new(), ..param.clone() };
            for (object, facts) in objects {
                let value = self.values.get(name);
                let mut written = Vec::new();
                for binding in bindings(name, &only, value, false) {
                    written.extend(binding.write(facts)?.map(|(section, offset, bytes)| {
                        LiveWrite {
                            object: object.clone(),
                            section: section.to_owned(),
                            offset,
                            bytes,
                        }
                    }));
                }
                if value.is_none() {
                    written.extend(initial(object, facts, variable));
                }
                writes.extend(written);
            }
        }
        Ok(writes)
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
        self.given.iter().chain(&self.forgotten).any(bound)
    }

    /// The text with values in the places of `${param.NAME}`.
    pub(crate) fn substitute(&self, text: &str) -> Result<String, ParamError> {
        substitute(text, |name| self.values.get(name))
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
        parse_entries(&text)
            .map(Some)
            .ok_or_else(|| ParamsError::Size { map: map.to_owned(), text })
    }

    /// That each variable is in one of the objects, of a type and size for its value.
    pub(crate) fn check_variables<'a>(
        &self,
        objects: impl Iterator<Item = &'a Facts> + Clone,
    ) -> Result<(), ParamsError> {
        Ok(self.bindings().try_for_each(|binding| binding.check(objects.clone()))?)
    }

    /// Writes the values into an object's constants and variables.
    pub(crate) fn write(&self, facts: &Facts, opened: &mut Opened) -> Result<(), RuntimeError> {
        for binding in self.bindings() {
            if let Some((section, offset, bytes)) =
                binding.write(facts).map_err(ParamsError::from)?
            {
                opened.set_global(section, offset, &bytes)?;
            }
        }
        Ok(())
    }

    fn bindings(&self) -> impl Iterator<Item = Binding<'_>> {
        self.values.iter().flat_map(|(name, value)| {
            let given = self.given.contains(name);
            let declared = self.declared.get_key_value(name);
            declared
                .into_iter()
                .flat_map(move |(name, how)| bindings(name, how, Some(value), given))
        })
    }
}

/// What an object has in a variable of its own.
fn initial(object: &str, facts: &Facts, variable: &str) -> Option<LiveWrite> {
    let is_it = |global: &&Global| {
        global.name == variable && [".data", ".bss"].iter().any(|s| global.section.starts_with(s))
    };
    let global = facts.globals.iter().find(is_it)?;
    let mut bytes = global.initial.clone();
    bytes.resize(usize::try_from(global.size).ok()?, 0);
    let (object, section) = (object.to_owned(), global.section.clone());
    Some(LiveWrite { object, section, offset: usize::try_from(global.offset).ok()?, bytes })
}

/// What a new version's parameters are made of: those of the version that runs, without what is to be forgotten, and
/// what is given anew.
///
/// # Errors
/// The new version has none of the names; what is to be forgotten is not set.
pub(crate) fn carried(
    manifest: &Manifest,
    running: &BTreeMap<String, String>,
    request: &Request,
) -> Result<BTreeMap<String, String>, ParamsError> {
    if let Some(name) = request.unset.iter().find(|name| !running.contains_key(*name)) {
        let there = running.keys().cloned().collect();
        return Err(ParamsError::NotSet { name: name.clone(), there });
    }
    let mut params = running.clone();
    params.retain(|name, _| !request.unset.contains(name));
    let gone = params.iter().filter(|(name, _)| !manifest.param.contains_key(*name));
    let gone: Vec<_> = gone.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !gone.is_empty() {
        return Err(ParamsError::Gone { gone });
    }
    params.extend(request.params.clone());
    Ok(params)
}

fn set_ones(there: &[String]) -> String {
    match there {
        [] => ": none is".to_owned(),
        there => format!("; set are: {}", there.join(", ")),
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
