//! What the shape alone cannot tell: names that must be there, defaults that must fit.

mod kinds;

use std::collections::{BTreeMap, BTreeSet};

pub use self::kinds::of_program;
use super::shape::Spans;
use super::{Code, Found, Hint, Source};
use crate::manifest::{Asks, OutputKind, Param, Upgrade};
use crate::param::{self, Value};

/// Adds every mistake of that kind.
pub(super) fn references(
    source: &Source,
    spans: &Spans,
    broken: &BTreeSet<String>,
    found: &mut Found<'_>,
) {
    let mut check = Check { source, spans, broken, found };
    check.objects();
    check.programs();
    check.alternatives();
    check.params();
    check.maps();
    check.health();
    check.tests();
    check.kinds();
}

/// What conditions ask whether it runs: a kind of names.
pub(super) const RUNS: &str = "program or alternatives";

struct Check<'a, 'f, 't> {
    source: &'a Source,
    spans: &'a Spans,
    /// Tables that have a mistake of another kind: they are there, and nothing more is said of them.
    broken: &'a BTreeSet<String>,
    found: &'f mut Found<'t>,
}

impl Check<'_, '_, '_> {
    fn add(&mut self, code: Code, path: &str, message: String, hint: Option<Hint>) {
        let span = self.spans.get(path).cloned().unwrap_or(0..0);
        self.found.add(code, span, message, hint);
    }

    /// `name` must be a table `[kind.name]`.
    fn must_be<T>(
        &mut self,
        path: &str,
        kind: &'static str,
        name: &str,
        there: &BTreeMap<String, T>,
    ) {
        if !self.is_broken(kind, name) && !there.contains_key(name) {
            self.absent(path, kind, name);
        }
    }

    fn absent(&mut self, path: &str, kind: &'static str, name: &str) {
        let hint = Hint::Near { kind, word: name.to_owned() };
        let message = match kind {
            RUNS => format!("there is no [program.{name}], and no [alternatives.{name}]"),
            kind => format!("there is no [{kind}.{name}]"),
        };
        self.add(Code::Reference, path, message, Some(hint));
    }

    fn is_broken(&self, kind: &str, name: &str) -> bool {
        self.broken.contains(kind) || self.broken.contains(&format!("{kind}.{name}"))
    }

    /// Tables `[object.NAME]` that have a mistake, or all of them.
    fn broken_objects(&self) -> usize {
        let is_object = |path: &&String| path.as_str() == "object" || path.starts_with("object.");
        self.broken.iter().filter(is_object).count()
    }

    fn objects(&mut self) {
        let source = self.source;
        if source.object.is_empty() && self.broken_objects() == 0 {
            self.add(
                Code::Missing,
                "object",
                "there is no object: add [object.NAME] with sources or file".to_owned(),
                None,
            );
        }
        for (name, object) in &source.object {
            let path = format!("object.{name}");
            match (object.sources.is_empty(), object.file.is_empty()) {
                (true, true) => self.add(
                    Code::Missing,
                    &path,
                    format!("[{path}] has neither sources nor file"),
                    None,
                ),
                (false, false) => self.add(
                    Code::Conflict,
                    &path,
                    format!("[{path}] has both sources and file: one is enough"),
                    None,
                ),
                _ => {}
            }
            if object.arch.is_empty() {
                let message = format!("[{path}] is built for no architecture");
                self.add(Code::Value, &path, message, None);
            }
        }
    }

    fn programs(&mut self) {
        let source = self.source;
        let several = source.object.len() + self.broken_objects() > 1;
        for (name, program) in &source.program {
            let path = format!("program.{name}");
            match &program.object {
                Some(object) => {
                    self.must_be(&format!("{path}.object"), "object", object, &source.object)
                }
                None if several => {
                    self.add(
                        Code::Missing,
                        &path,
                        format!("[{path}] does not say which object it is in: add object = \"…\""),
                        None,
                    );
                }
                None => {}
            }
            if let Some(param) = &program.requires_param {
                self.must_be(&format!("{path}.requires-param"), "param", param, &source.param);
            }
            if let Some(target) = &program.target {
                self.template(&format!("{path}.target"), target);
            }
            if let Some(pid) = &program.pid {
                self.template(&format!("{path}.pid"), pid);
            }
        }
    }

    fn alternatives(&mut self) {
        let source = self.source;
        for (name, alternatives) in &source.alternatives {
            let path = format!("alternatives.{name}.try");
            if alternatives.r#try.is_empty() {
                let message = format!("'{path}' has no member: name the programs to try");
                self.add(Code::Value, &path, message, None);
            }
            for (row, member) in alternatives.r#try.iter().enumerate() {
                if member.is_empty() {
                    let message = format!(
                        "the member {} of '{path}' is empty, and would always work: where the service may run without, write otherwise = \"skip\"",
                        row + 1
                    );
                    self.add(Code::Value, &format!("{path}[{row}]"), message, None);
                }
                for (at, program) in member.iter().enumerate() {
                    let path = format!("{path}[{row}][{at}]");
                    self.must_be(&path, "program", program, &source.program);
                }
            }
        }
    }

    fn params(&mut self) {
        let source = self.source;
        for (name, param) in &source.param {
            let path = format!("param.{name}");
            if param.rodata.is_some() && param.data.is_some() {
                self.add(
                    Code::Conflict,
                    &path,
                    format!("[{path}] is bound to both rodata and data: one is enough"),
                    None,
                );
            }
            let bound = param.rodata.is_some() || param.data.is_some();
            if bound && param.r#type.is_unwritable() {
                let message = format!("[{path}] is bound, but no variable takes its type");
                self.add(Code::Conflict, &path, message, None);
            }
            if let Some(range) = &param.range
                && let Err((code, message)) = is_range(param, range)
            {
                self.add(code, &format!("{path}.range"), message, None);
                continue;
            }
            if let Some(Err(error)) = param.default.as_ref().map(|value| param.check(value)) {
                let message = format!("the default {error}");
                self.add(Code::Value, &format!("{path}.default"), message, None);
            }
        }
    }

    fn maps(&mut self) {
        let source = self.source;
        for (name, map) in &source.map {
            let path = format!("map.{name}");
            if let Some(entries) = &map.max_entries {
                self.entries(&format!("{path}.max_entries"), &entries.text());
            }
            let other = map.upgrade != Some(Upgrade::Migrate);
            let says_how = !map.fields.is_empty() || !map.rename.is_empty();
            if other && says_how {
                self.add(
                    Code::Conflict,
                    &path,
                    format!("[{path}] says how fields migrate, but not upgrade = \"migrate\""),
                    None,
                );
            }
        }
    }

    /// What conditions name.
    fn health(&mut self) {
        let source = self.source;
        let conditions = source.health.iter().flat_map(|health| &health.conditions);
        for (at, condition) in conditions.enumerate() {
            let path = format!("health.conditions[{at}]");
            match condition.asks() {
                Asks::AllAttached => {}
                Asks::Attached(name) => self.must_run(&path, name),
                Asks::Compares { fact, of, .. } => match fact.outputs() {
                    None => self.must_run(&path, of),
                    Some(kinds) => self.must_show(&path, of, kinds),
                },
            }
        }
    }

    fn must_run(&mut self, path: &str, name: &str) {
        let source = self.source;
        let is_there = source.program.contains_key(name) || source.alternatives.contains_key(name);
        if !is_there && !self.is_broken("program", name) && !self.is_broken("alternatives", name) {
            self.absent(path, RUNS, name);
        }
    }

    fn must_show(&mut self, path: &str, name: &str, kinds: &[OutputKind]) {
        let Some(output) = self.source.output.get(name) else {
            return self.must_be(path, "output", name, &self.source.output);
        };
        if !kinds.contains(&output.kind) {
            let words = kinds.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(" or ");
            let message = format!(
                "there is no [output.{name}] of the kind {words}: it is of the kind {}",
                output.kind.word()
            );
            self.add(Code::Reference, path, message, None);
        }
    }

    fn tests(&mut self) {
        let source = self.source;
        for (at, test) in source.test.iter().enumerate() {
            let path = format!("test[{at}].expect.output");
            self.must_be(&path, "output", &test.expect.output, &source.output);
        }
    }

    fn entries(&mut self, path: &str, text: &str) {
        if text.contains("${") {
            self.template(path, text);
        } else if param::parse_entries(text).is_none() {
            let message = format!(
                "'{text}' is no size of a map: a number or a size from 1 to 2^32-1, such as 1024 or 1MiB"
            );
            self.add(Code::Value, path, message, None);
        }
    }

    fn template(&mut self, path: &str, text: &str) {
        let source = self.source;
        match param::references(text) {
            Ok(names) => {
                for name in names.into_iter().collect::<BTreeSet<_>>() {
                    self.must_be(path, "param", name, &source.param);
                }
            }
            Err(error) => self.add(Code::Value, path, error.to_string(), None),
        }
    }
}

/// Whether two values are the lowest and the highest of a parameter.
fn is_range(param: &Param, [low, high]: &[Value; 2]) -> Result<(), (Code, String)> {
    let end = |value: &Value| {
        let number = param.number(value).map_err(|error| (Code::Value, format!("its {error}")))?;
        let none = || format!("a range is of numbers, which '{}' is not", param.r#type.name());
        number.ok_or_else(|| (Code::Conflict, none()))
    };
    if end(low)? > end(high)? {
        let (low, high) = (low.text(), high.text());
        let message = format!("a range is [lowest, highest]: [{high}, {low}]");
        return Err((Code::Value, message));
    }
    Ok(())
}
