//! The page for a person who decides whether to trust it.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::permissions::{Power, Reason};
use skep_object::{Guard, MapKind, Memory, Use, Used, shown};
use skep_spec::Arch;

use super::object::{Map, Object, Program};
use super::said;
use crate::output::{bytes, table};
use crate::subject::{Package, listed};

/// A package's own words, and which of its architectures are looked at.
pub fn package(package: &Package, looked_at: &[Arch]) -> String {
    let about = &package.manifest.package;
    let passed_over: Vec<Arch> =
        package.architectures.iter().filter(|arch| !looked_at.contains(arch)).copied().collect();
    let mut arches = listed(&package.architectures);
    for (which, why) in [(&passed_over, "not looked at"), (&package.absent, "not here")] {
        if !which.is_empty() {
            arches += &format!("; {why}: {}", listed(which));
        }
    }
    let mut lines = vec![format!("{} {}", about.name, about.version)];
    lines.extend(about.summary.as_deref().map(|summary| shown(summary).into_owned()));
    lines.push(String::new());
    lines.push(format!("license        {}", shown(&about.license)));
    lines.push(format!("architectures  {arches}"));
    lines.push(format!("digest         {}", package.digest));
    let signed = match package.beside.signed_by.as_slice() {
        [] => "by no key".to_owned(),
        keys => format!("{}, as it says itself (skep verify checks)", keys.join(", ")),
    };
    lines.push(format!("signed         {signed}"));
    lines.extend(package.beside.attestations.iter().map(|one| {
        let key = one.key.as_deref().unwrap_or("a key that it does not name");
        format!("attested       {}, by {key}", shown(&one.kind))
    }));
    let params = package.manifest.param.iter().map(|(name, param)| {
        let default = param.default.as_ref().map(skep_spec::param::Value::text).unwrap_or_default();
        [name.clone(), default, param.doc.clone().unwrap_or_default()]
    });
    section(&mut lines, ["PARAMETER", "DEFAULT", "MEANING"], params);
    let outputs = package.manifest.output.iter().map(|(name, output)| {
        let kind = serde_json::to_value(output.kind).unwrap_or_default();
        [name.clone(), kind.as_str().unwrap_or_default().to_owned(), output.map.clone()]
    });
    section(&mut lines, ["OUTPUT", "KIND", "MAP"], outputs);
    section(&mut lines, ["MANIFEST", "SAYS"], said::rows(&package.manifest).into_iter());
    lines.join("\n")
}

/// What all objects may do at worst, on whichever of these architectures.
pub fn together(objects: &[Object], everywhere: &[Arch]) -> String {
    let mut lines = vec!["all objects together".to_owned(), String::new()];
    lines.extend(at_worst(objects, everywhere));
    lines.join("\n")
}

/// An object: first what it may do at worst, then what that rests on. It says for which architectures it is if that is
/// not `everywhere`.
pub fn object(object: &Object, everywhere: &[Arch]) -> String {
    let mut lines = vec![heading(object, everywhere), String::new()];
    lines.extend(at_worst(std::slice::from_ref(object), &[]));
    lines.extend(loose(object));
    section(&mut lines, ["MAY", "BECAUSE OF", "PROGRAM", "LINE", "WHEN"], reasons(object));
    lines.extend(license(object));
    section(
        &mut lines,
        ["PROGRAM", "HOOK", "INSTRUCTIONS", "STACK", "SOURCE"],
        object.programs.iter().map(program),
    );
    if !object.left_out.is_empty() {
        let names: Vec<&str> = object.left_out.iter().map(String::as_str).collect();
        lines.push(format!("In it, and not run by the package: {}", shown(&names.join(", "))));
    }
    section(
        &mut lines,
        ["MAP", "TYPE", "KEY", "VALUE", "ENTRIES", "MEMORY", "WRITTEN"],
        object.maps.iter().map(map),
    );
    if !object.maps.is_empty() {
        lines.push(format!("Together, when full: {}", memory(object.memory)));
    }
    lines.extend(open_maps(object));
    let variables = object.variables.iter().take(VARIABLES).map(|variable| {
        let value = variable.value.as_ref().map(ToString::to_string).unwrap_or_default();
        let ty = variable.r#type.clone().unwrap_or_else(|| bytes(variable.size));
        [variable.name.clone(), ty, cut(&value), variable.section.clone()]
    });
    section(&mut lines, ["VARIABLE", "TYPE", "VALUE", "SECTION"], variables);
    if let Some(more @ 1..) = object.variables.len().checked_sub(VARIABLES) {
        lines.push(format!("and {more} more variables, which --output json has"));
    }
    section(&mut lines, ["USES", "PROGRAMS", "FIRST LINE", "WHEN"], uses(object));
    lines.join("\n")
}

/// Most variables in the table. An object may have a hundred thousand, whose rows would take far more memory than it does.
const VARIABLES: usize = 4096;

/// What nobody looked at, by sections.
fn loose(object: &Object) -> Option<String> {
    const MOST: usize = 8;
    let mut sections = BTreeMap::<&str, u64>::new();
    for run in &object.loose {
        *sections.entry(&run.section).or_default() += run.instructions();
    }
    let told = sections.iter().take(MOST).map(|(section, n)| format!("{n} in {}", shown(section)));
    let mut told: Vec<String> = told.collect();
    let rest: u64 = sections.values().skip(MOST).sum();
    told.extend((rest > 0).then(|| format!("{rest} in other sections")));
    let all: u64 = sections.values().sum();
    let (are, they) =
        if all == 1 { ("instruction belongs", "it") } else { ("instructions belong", "them") };
    (all > 0).then(|| {
        format!(
            "\n{all} {are} to no function ({}): nobody looked at {they}, and what is said here is not of {they}. A loader of libbpf's kind does not run {they}; others may. --disasm shows {they}.",
            told.join(", ")
        )
    })
}

fn open_maps(object: &Object) -> impl Iterator<Item = String> {
    object.open_maps.iter().map(|(map, by)| {
        let by = by.join(", ");
        let (map, by) = (shown(map), shown(&by));
        format!("Place for programs of others in {map}: one that is put there runs where {by} hands over to it")
    })
}

fn heading(object: &Object, everywhere: &[Arch]) -> String {
    let only = on(&object.architectures, everywhere, " for ");
    let license = object.license.as_deref().map_or("none".into(), shown);
    let order = if object.big_endian { ", big-endian" } else { "" };
    let arch = object.arch.map(|arch| format!(", reads registers of {arch}")).unwrap_or_default();
    let relocations = match object.core_relocations.len() {
        1 => "1 CO-RE relocation".to_owned(),
        count => format!("{count} CO-RE relocations"),
    };
    let (name, size) = (shown(&object.name), bytes(object.size as u64));
    format!("object {name}{only}: {size}, license {license}, {relocations}{order}{arch}")
}

/// Something that programs may do, and by which powers.
struct Verb {
    verb: &'static str,
    /// The answer where it has none of the powers.
    nothing: &'static str,
    powers: &'static [(Power, &'static str)],
}

const VERBS: [Verb; 4] = [
    Verb {
        verb: "reads",
        nothing: "nothing",
        powers: &[
            (Power::Unknown, UNKNOWN),
            (Power::LoadsPrograms, LOADED),
            (Power::ReadsKernelMemory, "any memory of the kernel"),
            (Power::ReadsUserMemory, "the memory of processes"),
            (Power::ReadsFiles, "names of files and digests of their contents"),
            (Power::ReadsStacks, "call stacks of the kernel and of processes"),
            (Power::ReadsTraffic, "network traffic"),
            (Power::Observes, "what happens at its hooks"),
        ],
    },
    Verb {
        verb: "changes",
        nothing: "nothing but its own maps",
        powers: &[
            (Power::Unknown, UNKNOWN),
            (Power::LoadsPrograms, LOADED),
            (Power::WritesUserMemory, "the memory or registers of processes"),
            (Power::OverridesReturns, "what kernel functions return"),
            (Power::ReplacesKernelCode, "code of the kernel or of other programs"),
            (Power::WritesKernelMemory, "what the kernel hands it at its hooks"),
            (Power::ChangesFiles, "which files processes have open, or attributes of files"),
            (Power::SchedulesTasks, "which tasks run, when and where"),
            (Power::ControlsTraffic, "network traffic"),
            (Power::ControlsCgroups, "what processes of a cgroup ask for and get"),
            (Power::InjectsInput, "what is typed and pointed at"),
        ],
    },
    Verb {
        verb: "drops",
        nothing: "nothing",
        powers: &[
            (Power::Unknown, UNKNOWN),
            (Power::LoadsPrograms, LOADED),
            (Power::OverridesReturns, "what the functions do whose results it changes"),
            (Power::ReplacesKernelCode, "what goes through the code that it replaces"),
            (Power::ControlsTraffic, "packets or connections"),
            (Power::DecidesAccess, "what processes ask the kernel for"),
            (Power::ControlsCgroups, "what processes of a cgroup ask for"),
        ],
    },
    Verb {
        verb: "kills",
        nothing: "nothing",
        powers: &[
            (Power::Unknown, UNKNOWN),
            (Power::LoadsPrograms, LOADED),
            (Power::StopsMachine, "the whole machine"),
            (Power::WritesUserMemory, "processes, by writing their memory or registers"),
            (Power::SendsSignals, "processes, by signals"),
        ],
    },
];

const UNKNOWN: &str = "whatever lies behind calls that nobody knows";
const LOADED: &str = "whatever the programs do that it loads";

/// What they may read, change, drop and kill, in plain words, with the architectures where not all of these have it.
fn at_worst(objects: &[Object], everywhere: &[Arch]) -> impl Iterator<Item = String> {
    VERBS.into_iter().map(move |Verb { verb, nothing, powers }| {
        let with = |has: &dyn Fn(&Object) -> bool, words: &str| {
            let having: Vec<&Object> = objects.iter().filter(|object| has(object)).collect();
            let on_which = having.iter().flat_map(|object| object.architectures.iter().copied());
            let on_which: BTreeSet<Arch> = on_which.collect();
            let which = on(&on_which.into_iter().collect::<Vec<_>>(), everywhere, " on ");
            (!having.is_empty()).then(|| format!("{words}{which}"))
        };
        let powers = powers.iter();
        let mut what: Vec<String> = powers
            .filter_map(|(power, words)| with(&|object| object.powers.contains(power), words))
            .collect();
        let unknown = "whatever lies behind calls that cannot be followed";
        what.extend(with(&|object| !object.unknown_calls.is_empty(), unknown));
        let what = if what.is_empty() { nothing.to_owned() } else { what.join("; ") };
        format!("{verb:<8}  {what}")
    })
}

/// These architectures behind a word, if they are not all.
fn on(these: &[Arch], all: &[Arch], word: &str) -> String {
    match all.iter().all(|arch| these.contains(arch)) {
        true => String::new(),
        false => format!("{word}{}", listed(these)),
    }
}

fn reasons(object: &Object) -> impl Iterator<Item = [String; 5]> {
    let mut before = None;
    let unknown = object.unknown_calls.iter().map(|program| {
        let what = "do what nobody can tell".to_owned();
        [
            what,
            "a call that cannot be followed".to_owned(),
            program.clone(),
            String::new(),
            String::new(),
        ]
    });
    let told = object.reasons.iter().map(move |reason: &Reason| {
        let power = if before == Some(reason.power) { String::new() } else { may(reason.power) };
        before = Some(reason.power);
        let line = reason.source.as_ref().map(ToString::to_string).unwrap_or_default();
        [power, reason.by.to_string(), reason.program.clone(), line, when(&reason.guards, object)]
    });
    unknown.chain(told)
}

/// The power after "may".
fn may(power: Power) -> String {
    match power {
        Power::Unknown => "do what nobody can tell",
        Power::LoadsPrograms => "load other programs, which may do anything",
        Power::StopsMachine => "stop the machine",
        Power::WritesUserMemory => "write the memory or registers of processes",
        Power::OverridesReturns => "change what kernel functions return",
        Power::ReplacesKernelCode => "replace code of the kernel or of other programs",
        Power::WritesKernelMemory => "write what the kernel hands it",
        Power::DecidesAccess => "decide about permissions",
        Power::SendsSignals => "send signals to processes",
        Power::ChangesFiles => "close files of processes, or change attributes of files",
        Power::SchedulesTasks => "decide which tasks run, when and where",
        Power::ControlsTraffic => "drop, change or redirect network traffic",
        Power::ControlsCgroups => "refuse or change actions of processes in a cgroup",
        Power::InjectsInput => "press keys and move pointers",
        Power::ReadsUserMemory => "read the memory of processes",
        Power::ReadsKernelMemory => "read kernel memory",
        Power::ReadsFiles => "read names of files and digests of their contents",
        Power::ReadsStacks => "read call stacks of the kernel and of processes",
        Power::CallsKernelFunctions => "call kernel functions",
        Power::ReadsTraffic => "see network traffic",
        Power::Observes => "observe the system",
    }
    .to_owned()
}

/// Conditions, with the parameters that change them.
fn when(guards: &[Guard], object: &Object) -> String {
    let told = |guard: &Guard| match guard {
        Guard::Constant { name, .. } if object.set_by.contains_key(name) => {
            let by = object.set_by.get(name).map(String::as_str).unwrap_or_default();
            format!("{guard} (parameter {by})")
        }
        guard => guard.to_string(),
    };
    guards.iter().map(told).collect::<Vec<_>>().join(", ")
}

fn license(object: &Object) -> Vec<String> {
    let needs = object.gpl.uses.len();
    let Some(first) = object.gpl.uses.first().filter(|_| !object.gpl.compatible) else {
        return Vec::new();
    };
    let line = first.source.as_ref().map(|source| format!(" at {source}")).unwrap_or_default();
    vec![
        String::new(),
        format!(
            "The kernel refuses it: its license is not compatible with the GPL, which {needs} of its uses ask for, such as {}{line}.",
            shown(&first.what)
        ),
    ]
}

fn program(program: &Program) -> [String; 5] {
    let source = program.source.as_ref().map(ToString::to_string).unwrap_or_default();
    let stack = program.stack.map_or("too deep".to_owned(), |bytes| format!("{bytes} B"));
    let target = match &program.place {
        Some(place) => format!("{place} ({})", program.target),
        None => program.target.clone(),
    };
    let hook = match (program.attached, program.autoload) {
        (false, _) => format!("none: called as {target}"),
        (true, true) => target,
        (true, false) => format!("{target} (only if asked)"),
    };
    [program.name.clone(), hook, program.instructions.to_string(), stack, source]
}

fn map(map: &Map) -> [String; 7] {
    let sized = |ty: &Option<String>, size: u32| ty.clone().unwrap_or_else(|| bytes(size.into()));
    let (key, value) = (sized(&map.key_type, map.key_size), sized(&map.value_type, map.value_size));
    let taken = match map.r#type.grows_with() {
        Some(of) if map.memory == Memory::default() => {
            let each = if map.r#type.is_per_cpu() { "/CPU" } else { "" };
            format!("{}{each} {of}", bytes(map.value_size.into()))
        }
        _ => memory(map.memory),
    };
    let pinned = if map.pinned { ", pinned by name" } else { "" };
    let (kind, entries) = (format!("{}{pinned}", map.r#type), map.max_entries.to_string());
    // Records are no stores into values: who uses a buffer puts them there.
    let written = match map.r#type {
        MapKind::RingBuf | MapKind::PerfEventArray => "records".to_owned(),
        _ => map.written.to_string(),
    };
    [map.name.clone(), kind, key, value, entries, taken, written]
}

fn memory(memory: Memory) -> String {
    match (memory.once, memory.per_cpu) {
        (once, 0) => bytes(once),
        (0, each) => format!("{}/CPU", bytes(each)),
        (once, each) => format!("{} + {}/CPU", bytes(once), bytes(each)),
    }
}

/// Helpers, kfuncs and symbols, each with the line that needs it.
fn uses(object: &Object) -> impl Iterator<Item = [String; 4]> {
    let mut all: BTreeMap<(Used, &str), Vec<&Use>> = BTreeMap::new();
    for used in object.programs.iter().flat_map(|program| &program.uses) {
        all.entry((used.what, &used.name)).or_default().push(used);
    }
    all.into_iter().map(move |((what, name), uses)| {
        let name = match what {
            Used::Helper => format!("bpf_{name}"),
            Used::Kfunc => format!("kfunc {name}"),
            Used::Ksym => format!("symbol {name}"),
        };
        let first = uses.iter().find(|used| used.guards.is_empty()).or_else(|| uses.first());
        let line = first.and_then(|used| used.source.as_ref()).map(ToString::to_string);
        let guards = first.map(|used| when(&used.guards, object)).unwrap_or_default();
        [name, uses.len().to_string(), line.unwrap_or_default(), guards]
    })
}

fn cut(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Most bytes of a table whose columns stand in line: one long name makes every row as long.
const ALIGNED_BYTES: usize = 4 << 20;

/// Adds a table if it has rows. What strangers wrote is escaped.
pub fn section<const N: usize>(
    lines: &mut Vec<String>,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> =
        rows.map(|row| row.map(|cell| shown(&cell).into_owned())).collect();
    if rows.is_empty() {
        return;
    }
    lines.push(String::new());
    let widest = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.len())).max();
    let width: usize = (0..N).filter_map(widest).sum();
    if rows.len().saturating_mul(width) <= ALIGNED_BYTES {
        lines.push(table(header, rows));
        return;
    }
    lines.push(header.join("  "));
    lines.extend(rows.iter().map(|row| row.join("  ")));
}

#[cfg(test)]
mod tests {
    use skep_object::permissions::{Power, TABLE};

    use super::VERBS;

    #[test]
    fn every_power_is_in_the_four_lines_and_what_nobody_can_tell_in_each() {
        let told =
            |power| VERBS.iter().filter(move |verb| verb.powers.iter().any(|(of, _)| *of == power));
        for row in &TABLE {
            // That it calls one says nothing: what the function is for does.
            let nothing = row.power == Power::CallsKernelFunctions;
            assert_eq!(told(row.power).count() == 0, nothing, "{:?}", row.power);
        }
        assert_eq!(told(Power::Unknown).count(), VERBS.len());
        assert_eq!(told(Power::LoadsPrograms).count(), VERBS.len());
    }
}
