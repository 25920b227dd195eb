//! Parameters held against the variables that they set.

mod place;
mod types;

pub use self::types::natural;

use std::borrow::Cow;
use std::collections::BTreeMap;

use skep_spec::manifest::{Manifest, Param};
use skep_spec::nearest::nearest;
use skep_spec::param::{ParamError, ParamType, Value, parse_integer};

use self::place::Place;
use self::types::{enumerators, takes};
use crate::{Facts, Global};

/// One variable that a parameter sets before the objects are loaded.
#[derive(Clone, Debug)]
pub struct Binding<'a> {
    /// The parameter's name.
    pub param: &'a str,
    /// The variable.
    pub variable: &'a str,
    /// How its value is written.
    how: Cow<'a, Param>,
    /// What is written, where that is known.
    value: Option<&'a Value>,
    place: Place,
}

/// A parameter that cannot set its variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbound {
    /// No object has it where it should be.
    #[error("[param.{param}] {said}")]
    Section {
        /// The parameter.
        param: String,
        /// What is wrong, and what to write.
        said: String,
    },
    /// Nobody could tell which of two variables is meant.
    #[error(
        "[param.{param}] sets '{variable}', and the object has two static variables of that name in {section}: rename one"
    )]
    TwoVariables {
        /// The parameter.
        param: String,
        /// The variable.
        variable: String,
        /// The section that has both.
        section: String,
    },
    /// Two parameters set one variable.
    #[error(
        "[param.{}] and [param.{}] both set the variable '{variable}', and only one of them could: give each its own",
        params[0], params[1]
    )]
    TwoParams {
        /// The parameters.
        params: [String; 2],
        /// The variable.
        variable: String,
    },
    /// The type does not fit the variable's.
    #[error("[param.{param}] is of the type {}, and its variable '{variable}' is {ty}: {takes}", ptype.name())]
    Type {
        /// The parameter.
        param: String,
        /// Its type.
        ptype: ParamType,
        /// The variable.
        variable: String,
        /// The variable's type as C writes it.
        ty: String,
        /// What would do.
        takes: String,
    },
    /// No parameter can have a value that this variable takes.
    #[error("the variable '{variable}' is {ty}, which cannot be set")]
    Unwritable {
        /// The variable.
        variable: String,
        /// Its type as C writes it.
        ty: String,
    },
    /// No name of the variable's enum, and no number.
    #[error(
        "parameter '{param}' cannot be {value}: its enum has no such name{}",
        near(value, names)
    )]
    NoEnumerator {
        /// The parameter.
        param: String,
        /// What was set.
        value: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// A value does not fit.
    #[error("parameter '{param}' cannot be {value}")]
    Value {
        /// The parameter.
        param: String,
        /// The value.
        value: String,
        /// Why.
        source: ParamError,
    },
}

fn near(value: &str, names: &[String]) -> String {
    match nearest(value, names.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean '{near}'?"),
        None if names.is_empty() => ": it takes none".to_owned(),
        None => format!("; it takes: {}", names.join(", ")),
    }
}

/// A section, an offset into it, and the bytes that go there.
type Written<'f> = (&'f str, usize, Vec<u8>);

/// Holds the parameters of a manifest, with their defaults, against the objects that they set.
///
/// # Errors
/// The first that cannot set its variable, or that another one sets too.
pub fn all_bound<'a>(
    manifest: &Manifest,
    objects: impl Iterator<Item = &'a Facts> + Clone,
) -> Result<(), Misbound> {
    misbound(manifest, objects).into_iter().next().map_or(Ok(()), |(_, wrong)| Err(wrong))
}

/// Every one of them that cannot, behind the keys that lead to what is wrong.
pub fn misbound<'a>(
    manifest: &Manifest,
    objects: impl Iterator<Item = &'a Facts> + Clone,
) -> Vec<(Vec<String>, Misbound)> {
    let params = manifest.param.iter();
    let all = params.flat_map(|(name, param)| bindings(name, param, param.default.as_ref(), true));
    let all: Vec<Binding<'_>> = all.collect();
    let mut found = shared(&all);
    // A search through all variables for each binding would take long.
    let objects: Vec<(&Facts, _)> = objects.map(|facts| (facts, by_name(facts))).collect();
    let check = |binding: &Binding<'_>| {
        let named = objects.iter().map(|(facts, globals)| {
            (*facts, globals.get(binding.variable).into_iter().flatten().copied())
        });
        let wrong = binding.held(named).err()?;
        Some((binding.key(&wrong), wrong))
    };
    found.extend(all.iter().filter_map(check));
    found
}

fn by_name(facts: &Facts) -> BTreeMap<&str, Vec<&Global>> {
    let mut globals: BTreeMap<&str, Vec<&Global>> = BTreeMap::new();
    for global in &facts.globals {
        globals.entry(&global.name).or_default().push(global);
    }
    globals
}

/// The variables that a parameter with this value sets, with the constants of `set` or without.
pub fn bindings<'a>(
    name: &'a str,
    param: &'a Param,
    value: Option<&'a Value>,
    with_set: bool,
) -> impl Iterator<Item = Binding<'a>> {
    let binding = move |place, variable: &'a str, value| {
        let how = Cow::Borrowed(param);
        Binding { param: name, variable, how, value, place }
    };
    let own = [(Place::Rodata, &param.rodata), (Place::Data, &param.data)];
    let own = own.into_iter().filter_map(|(place, variable)| Some((place, variable.as_deref()?)));
    let set = param.set.iter().filter(move |_| with_set);
    own.map(move |(place, variable)| binding(place, variable, value))
        .chain(set.map(move |(variable, constant)| binding(Place::Set, variable, Some(constant))))
}

/// Constants of `set` may be the same in two parameters.
fn shared(bindings: &[Binding<'_>]) -> Vec<(Vec<String>, Misbound)> {
    let mut seen: BTreeMap<&str, &Binding<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for binding in bindings {
        let Some(other) = seen.insert(binding.variable, binding) else { continue };
        if other.constant().is_none() || other.constant() != binding.constant() {
            let wrong = Misbound::TwoParams {
                params: [other.param.to_owned(), binding.param.to_owned()],
                variable: binding.variable.to_owned(),
            };
            found.push((binding.key(&wrong), wrong));
        }
    }
    found
}

impl Binding<'_> {
    /// The keys that lead to what is wrong, from the outside in.
    fn key(&self, wrong: &Misbound) -> Vec<String> {
        let word = match (self.place, wrong) {
            (Place::Set, _) => "set",
            (_, Misbound::Type { .. }) => "type",
            (_, Misbound::NoEnumerator { .. } | Misbound::Value { .. }) => "default",
            (Place::Rodata, _) => "rodata",
            (Place::Data, _) => "data",
        };
        let variable = (word == "set").then_some(self.variable);
        ["param", self.param, word].into_iter().chain(variable).map(str::to_owned).collect()
    }

    fn constant(&self) -> Option<&Value> {
        self.value.filter(|_| self.place == Place::Set)
    }

    /// Holds it against the objects: its variable is in one of them, of a type and size for it and its value.
    ///
    /// # Errors
    /// It is not.
    pub fn check<'a>(
        &self,
        objects: impl Iterator<Item = &'a Facts> + Clone,
    ) -> Result<(), Misbound> {
        self.held(objects.map(|facts| (facts, facts.globals.iter())))
    }

    /// Against variables of each object, which have all of its name.
    fn held<'a, G: Iterator<Item = &'a Global>>(
        &self,
        objects: impl Iterator<Item = (&'a Facts, G)> + Clone,
    ) -> Result<(), Misbound> {
        let mut found = false;
        for (facts, globals) in objects.clone() {
            let Some(global) = self.variable(globals)? else { continue };
            found = true;
            self.suits(facts, global)?;
            self.bytes_of(facts, global)?;
        }
        if found { Ok(()) } else { Err(self.nowhere(objects.flat_map(|(_, globals)| globals))) }
    }

    /// The section, the place in it and the bytes to be written into an object; none where it has no such variable.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn write<'f>(&self, facts: &'f Facts) -> Result<Option<Written<'f>>, Misbound> {
        let Some(global) = self.variable(facts.globals.iter())? else { return Ok(None) };
        let bytes = self.bytes_of(facts, global)?;
        let offset = usize::try_from(global.offset).unwrap_or(usize::MAX);
        Ok(bytes.map(|bytes| (global.section.as_str(), offset, bytes)))
    }

    fn variable<'f>(
        &self,
        globals: impl Iterator<Item = &'f Global>,
    ) -> Result<Option<&'f Global>, Misbound> {
        let here =
            |global: &&Global| global.name == self.variable && self.place.has(&global.section);
        let mut found = globals.filter(here);
        match (found.next(), found.next()) {
            (Some(global), Some(_)) => Err(Misbound::TwoVariables {
                param: self.param.to_owned(),
                variable: self.variable.to_owned(),
                section: global.section.clone(),
            }),
            (found, _) => Ok(found),
        }
    }

    fn nowhere<'a>(&self, mut globals: impl Iterator<Item = &'a Global>) -> Misbound {
        let variable = self.variable;
        let elsewhere = globals.find(|global| global.name == variable);
        let said = match elsewhere.map(|global| global.section.as_str()) {
            None => format!("sets the variable '{variable}', which no object has"),
            Some(section) => format!(
                "sets the variable '{variable}' in {}, and it is in {section}: {}",
                self.place.section(),
                self.place.instead(section, variable)
            ),
        };
        Misbound::Section { param: self.param.to_owned(), said }
    }

    /// Whether values of the parameter's type can be in a variable of this type.
    fn suits(&self, facts: &Facts, global: &Global) -> Result<(), Misbound> {
        let Some((btf, ty)) = facts.btf.as_ref().zip(global.ty) else { return Ok(()) };
        let there: Vec<ParamType> =
            ParamType::ALL.into_iter().filter(|one| takes(btf, global, *one)).collect();
        let (variable, of) = (self.variable.to_owned(), btf.describe(ty));
        let ptype = self.r#type(facts, global)?;
        if there.contains(&ptype) {
            return Ok(());
        }
        let names: Vec<&str> = there.iter().map(|one| one.name()).collect();
        let takes = match names.as_slice() {
            [] => "no parameter can set it".to_owned(),
            names => format!("it takes {}", names.join(", ")),
        };
        Err(Misbound::Type { param: self.param.to_owned(), ptype, variable, ty: of, takes })
    }

    fn bytes_of(&self, facts: &Facts, global: &Global) -> Result<Option<Vec<u8>>, Misbound> {
        let Some(told) = self.value else { return Ok(None) };
        let how = Param { r#type: self.r#type(facts, global)?, ..self.how() };
        let value = self.enumerator(&how, facts, global)?.unwrap_or_else(|| told.clone());
        let size = usize::try_from(global.size).unwrap_or(usize::MAX);
        let bytes = how.encode_as(&value, size, facts.big_endian);
        bytes.map(Some).map_err(|source| Misbound::Value {
            param: self.param.to_owned(),
            value: told.text(),
            source,
        })
    }

    /// Constants of `set` have no range of their own.
    fn how(&self) -> Param {
        match self.place {
            Place::Set => Param { unit: None, range: None, ..self.how.clone().into_owned() },
            Place::Rodata | Place::Data => self.how.clone().into_owned(),
        }
    }

    /// The parameter's type; of a constant the one that its variable has.
    fn r#type(&self, facts: &Facts, global: &Global) -> Result<ParamType, Misbound> {
        match (self.place, self.value) {
            (Place::Set, Some(value)) => Ok(match natural(facts, global, &value.text())? {
                ParamType::Uint => ParamType::Int, // -1 is all bits, as in C
                other => other,
            }),
            _ => Ok(self.how.r#type),
        }
    }

    /// The number of a name of the variable's enum.
    fn enumerator(
        &self,
        how: &Param,
        facts: &Facts,
        global: &Global,
    ) -> Result<Option<Value>, Misbound> {
        let Some(value) = self.value.filter(|value| is_name(how, value)) else { return Ok(None) };
        let Some(names) = enumerators(facts, global) else { return Ok(None) };
        let text = value.text();
        match names.iter().find(|(name, _)| *name == text) {
            Some((_, number)) => Ok(Some(Value::integer(*number))),
            None => Err(Misbound::NoEnumerator {
                param: self.param.to_owned(),
                value: text,
                names: names.into_iter().map(|(name, _)| name.to_owned()).collect(),
            }),
        }
    }
}

/// Whether a value is no number, and the parameter's type lets it be a name.
#[must_use]
pub fn is_name(param: &Param, value: &Value) -> bool {
    param.r#type == ParamType::Enum && parse_integer(&value.text()).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object with these lines, by clang.
    fn facts(lines: &str) -> Facts {
        let folder = tempfile::tempdir().unwrap();
        let (c, object) = (folder.path().join("v.c"), folder.path().join("v.o"));
        let source = format!(
            "enum color {{ RED, GREEN = 7 }};\nstruct two {{ int x, y; }};\nstruct in4 {{ unsigned a; }};\n{lines}\n\
             int anchor = 1;\n__attribute__((section(\"xdp\"))) int x(void *c) {{ return anchor; }}\n"
        );
        std::fs::write(&c, source).unwrap();
        let mut clang = std::process::Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
        assert!(clang.status().unwrap().success());
        Facts::parse(&std::fs::read(object).unwrap()).unwrap()
    }

    fn manifest(params: &str) -> Manifest {
        let source = format!(
            "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
             [object.a]\nsources = [\"a.bpf.c\"]\n{params}"
        );
        skep_spec::source::parse(&source).unwrap().resolve(&BTreeMap::new())
    }

    const VARIABLES: &str = "const volatile float fl = 1; const volatile struct two cfg = {1}; const volatile unsigned arr4[4] = {1};\n\
        const volatile unsigned char bytes4[4] = {1}; const volatile enum color en = RED; const volatile __int128 big = 1;\n\
        const volatile _Bool bo = 1; const volatile char text[8] = \"a\"; const volatile unsigned u = 1; const volatile int s = 1;\n\
        const volatile struct in4 addr = {1}; int *volatile ptr; volatile int live = 3;";

    #[test]
    fn a_parameter_is_held_against_its_variables_type() {
        let facts = facts(VARIABLES);
        let said = |params: &str| match all_bound(&manifest(params), std::iter::once(&facts)) {
            Ok(()) => "fits".to_owned(),
            Err(error) => skep_spec::chain(&error),
        };
        let param = |r#type: &str, variable: &str, default: &str| {
            let default =
                if default.is_empty() { String::new() } else { format!("default = {default}\n") };
            format!("[param.p]\ntype = \"{type}\"\nrodata = \"{variable}\"\n{default}")
        };
        for (r#type, variable, default) in [
            ("int", "s", "-5"),
            ("int", "u", "-1"), // as C does
            ("uint", "u", "5"),
            ("bool", "u", "true"),
            ("bool", "bo", "true"),
            ("enum", "en", "7"),
            ("int", "en", "7"),
            ("string", "text", "\"abcdefg\""),
            ("ip", "u", "\"10.0.0.1\""),
            ("ip", "big", "\"::1\""),
            ("ip", "arr4", "\"::1\""),
            ("ip", "addr", "\"10.0.0.1\""),
            ("mac", "text", "\"02:00:00:00:00:01\""),
        ] {
            assert_eq!(
                said(&param(r#type, variable, default)),
                "fits",
                "{type} {variable} {default}"
            );
        }
        let refused = [
            ("int", "fl", ""),
            ("int", "cfg", "2"),
            ("string", "cfg", "\"abc\""),
            ("string", "arr4", "\"abc\""),
            ("bool", "en", "true"),
            ("uint", "bo", "2"),
            ("int", "big", "2"),
            ("string", "text", "\"abcdefgh\""),
            ("mac", "bytes4", "\"02:00:00:00:00:01\""),
            ("int", "live", "2"),
        ]
        .map(|(r#type, variable, default)| said(&param(r#type, variable, default)));
        insta::assert_snapshot!(refused.join("\n"));
    }

    #[test]
    fn one_variable_has_one_parameter() {
        let facts = facts(VARIABLES);
        let said = |params: &str| {
            all_bound(&manifest(params), std::iter::once(&facts)).map_err(|e| e.to_string())
        };
        let two = "[param.a]\ntype = \"int\"\nrodata = \"s\"\n[param.b]\ntype = \"uint\"\nrodata = \"s\"\n";
        let error = said(two).unwrap_err();
        insta::assert_snapshot!(error, @"[param.a] and [param.b] both set the variable 's', and only one of them could: give each its own");
        let set = |a: i32, b: i32| {
            format!(
                "[param.a]\ntype = \"int\"\nset = {{ s = {a} }}\n[param.b]\ntype = \"int\"\nset = {{ s = {b} }}\n"
            )
        };
        said(&set(1, 1)).unwrap();
        said(&set(1, 2)).unwrap_err();
        said("[param.a]\ntype = \"int\"\nset = { text = \"5\", bo = true, en = \"GREEN\", u = true }\n").unwrap();
        said("[param.a]\ntype = \"int\"\nset = { cfg = 5 }\n").unwrap_err();
    }

    #[test]
    fn a_static_variable_that_is_there_twice_is_not_guessed() {
        let mut facts = facts(VARIABLES);
        let again = facts.global("s").unwrap().clone();
        facts.globals.push(again);
        let param = "[param.a]\ntype = \"int\"\nrodata = \"s\"\n";
        let error = all_bound(&manifest(param), std::iter::once(&facts)).unwrap_err();
        assert!(matches!(error, Misbound::TwoVariables { .. }), "{error}");
    }

    #[test]
    fn text_is_written_by_the_variables_type() {
        let facts = facts(VARIABLES);
        let of =
            |variable: &str, text: &str| natural(&facts, facts.global(variable).unwrap(), text);
        for (variable, text, wanted) in [
            ("text", "abc", ParamType::String),
            ("en", "GREEN", ParamType::Enum),
            ("bo", "2", ParamType::Bool),
            ("u", "true", ParamType::Bool),
            ("u", "-1", ParamType::Uint),
            ("s", "-1", ParamType::Int),
            ("live", "-1", ParamType::Int),
        ] {
            assert_eq!(of(variable, text).unwrap(), wanted, "{variable}");
        }
        insta::assert_snapshot!(of("big", "2").unwrap_err(), @"the variable 'big' is const volatile __int128, which cannot be set");
        for variable in ["fl", "cfg", "arr4", "ptr"] {
            of(variable, "2").unwrap_err();
        }
    }
}
