//! Which objects a kernel surely has nothing for: told by its BTF and its symbols, not by what failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use skep_kernel::attach::is_there;
use skep_object::Facts;
use skep_spec::Target;
use skep_spec::manifest::{Otherwise, Param, Program};
use skep_spec::param::Value;
use skep_spec::source::{self, Source};

/// Groups of which the manifest needs one member each; a member is the targets of its programs.
type Needs = Vec<Vec<Vec<String>>>;

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("manifest").join(format!("{name}.needs"))
}

/// Writes down what a manifest needs of a kernel, with such parameters.
pub fn write(
    folder: &Path,
    name: &str,
    (manifest, object): (&str, &[u8]),
    params: &BTreeMap<String, String>,
) -> Result<()> {
    let source = source::parse(manifest).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
    let facts = Facts::parse(object).context("read the object")?;
    let text =
        serde_json::to_string(&needs(&source, &facts, params)).context("write what it needs")?;
    std::fs::write(file(folder, name), text).context("write what it needs")
}

fn needs(source: &Source, facts: &Facts, params: &BTreeMap<String, String>) -> Needs {
    let value = |param: &String, own: &Param| {
        params.get(param).cloned().or_else(|| own.default.as_ref().map(Value::text))
    };
    let values = source.param.iter().filter_map(|(param, own)| Some((param, value(param, own)?)));
    let values: Vec<(&String, String)> = values.collect();
    let filled = |target: String| {
        values.iter().fold(target, |text, (param, value)| {
            text.replace(&format!("${{param.{param}}}"), value)
        })
    };

    let target = |name: &String| -> Option<String> {
        let program = source.program.get(name)?;
        let own = || facts.program(&program.function).map(|program| program.target.to_string());
        program.target.clone().or_else(own).map(filled)
    };
    let groups = source.alternatives.values();
    let mut needs: Needs = groups
        .clone()
        .filter(|group| group.otherwise == Otherwise::Refuse)
        .map(|group| {
            group.r#try.iter().map(|member| member.iter().filter_map(target).collect()).collect()
        })
        .collect();
    let in_group = |name: &String| {
        groups.clone().any(|group| group.r#try.iter().flatten().any(|one| one == name))
    };
    let is_asked = |program: &Program| {
        let needed = program.requires_param.as_ref();
        needed.is_none_or(|needed| values.iter().any(|(param, _)| *param == needed))
    };
    let alone = source
        .program
        .iter()
        .filter(|(name, program)| !program.optional && !in_group(name) && is_asked(program));
    needs.extend(alone.filter_map(|(name, _)| Some(vec![vec![target(name)?]])));
    needs
}

/// What this kernel surely lacks of that: for a group nothing of which can attach, a target of each member.
pub fn lacks(folder: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file(folder, name)).ok()?;
    let needs: Needs = serde_json::from_str(&text).ok()?;
    let is_absent = |target: &&String| target.parse().is_ok_and(|target| is_absent(&target));
    needs.iter().find_map(|group| {
        let absent: Option<Vec<&str>> =
            group.iter().map(|member| member.iter().find(is_absent).map(String::as_str)).collect();
        absent.filter(|absent| !absent.is_empty()).map(|absent| absent.join(", "))
    })
}

/// Whether the kernel's BTF or its symbols lack it; the kernel's BTF also has functions that are inlined everywhere. What is no
/// part of the kernel, such as an interface or a binary, is for the stage to have.
fn is_absent(target: &Target) -> bool {
    let is_kernels = matches!(
        target,
        Target::Fentry(_)
            | Target::Fexit(_)
            | Target::Kprobe { .. }
            | Target::TpBtf(_)
            | Target::RawTracepoint(_)
            | Target::Tracepoint { .. }
    );
    if !is_kernels {
        return false;
    }
    let lacks = |target: &Target| is_there(target).is_err_and(|error| error.is_not_found());
    let symbol = match target {
        Target::Fentry(function) | Target::Fexit(function) => {
            Some(Target::Kprobe { function: function.clone(), offset: 0, ret: false })
        }
        _ => None,
    };
    lacks(target) || symbol.is_some_and(|symbol| lacks(&symbol))
}
