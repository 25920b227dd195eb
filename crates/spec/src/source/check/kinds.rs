//! Keys that only some kinds of what they stand in take ([MAN-046]).

use super::Check;
use crate::Target;
use crate::manifest::{Output, OutputKind, Param, Program};
use crate::param::ParamType;
use crate::source::Code;

/// Kinds of targets that a process can be told for.
const OF_A_PROCESS: [&str; 4] = ["uprobe", "uretprobe", "usdt", "perf_event"];

/// Keys of a program that are for other kinds of targets than this one, each with those; of a kind as [`Target::kind_told`] gives it.
#[must_use]
pub fn of_program(program: &Program, kind: &str) -> Vec<(&'static str, &'static str)> {
    let keys = [
        (
            "pid",
            program.pid.is_some(),
            OF_A_PROCESS.contains(&kind),
            "uprobes, USDT and perf events",
        ),
        ("exclusive", program.exclusive.is_some(), kind == "xdp", "xdp"),
    ];
    let foreign = keys.into_iter().filter(|(_, is_there, fits, _)| *is_there && !fits);
    foreign.map(|(key, _, _, of)| (key, of)).collect()
}

impl Check<'_, '_, '_> {
    pub(super) fn kinds(&mut self) {
        let source = self.source;
        for (name, program) in &source.program {
            let kind = program.target.as_deref().and_then(Target::kind_told);
            let foreign = kind.map(|kind| of_program(program, kind)).unwrap_or_default();
            self.foreign(&format!("program.{name}"), foreign);
        }
        for (name, param) in &source.param {
            self.foreign(&format!("param.{name}"), of_param(param));
        }
        for (name, map) in &source.map {
            let alone = map.key.is_some() && map.role.is_none();
            let of = alone.then_some(("key", "maps of role = \"config\""));
            self.foreign(&format!("map.{name}"), of.into_iter().collect());
        }
        for (name, output) in &source.output {
            self.foreign(&format!("output.{name}"), of_output(output));
            for (path, field) in &output.fields {
                let foreign = field.process.is_some() && field.format.as_deref() != Some("ustack");
                let of = foreign.then_some(("process", "fields of the format ustack"));
                self.foreign(&format!("output.{name}.fields.{path}"), of.into_iter().collect());
            }
        }
        for (name, object) in &source.object {
            let path = format!("object.{name}");
            let alone = !object.file.is_empty() && self.spans.contains_key(&format!("{path}.arch"));
            let of = alone.then_some(("arch", "objects of sources"));
            self.foreign(&path, of.into_iter().collect());
        }
    }

    fn foreign(&mut self, path: &str, keys: Vec<(&str, &str)>) {
        for (key, of) in keys {
            let message = format!(
                "'{key}' is for {of} alone, and [{path}] is nothing of that kind: leave it out"
            );
            self.add(Code::Conflict, &format!("{path}.{key}"), message, None);
        }
    }
}

fn of_param(param: &Param) -> Vec<(&'static str, &'static str)> {
    let foreign = param.unit.is_some() && param.r#type != ParamType::Duration;
    foreign.then_some(("unit", "durations")).into_iter().collect()
}

fn of_output(output: &Output) -> Vec<(&'static str, &'static str)> {
    let is_event = output.kind == OutputKind::Event;
    let keys = [
        ("struct", output.r#struct.is_some(), is_event, "events"),
        ("when", output.when.is_some(), is_event, "events"),
        ("value", output.value.is_some(), !is_event, "what shows a map"),
        ("labels", !output.labels.is_empty(), !is_event, "what shows a map"),
        ("buckets", output.buckets.is_some(), output.kind == OutputKind::Histogram, "histograms"),
    ];
    let foreign = keys.into_iter().filter(|(_, is_there, fits, _)| *is_there && !fits);
    foreign.map(|(key, _, _, of)| (key, of)).collect()
}
