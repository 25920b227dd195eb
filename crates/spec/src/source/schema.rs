//! The keys of `skep.toml`, once, as data.

use std::str::FromStr;

use super::services;
use super::shape::Shape::{Bool, Count, List, Named, Pair, Scalar, Table, Text, Word};
use super::shape::{Form, Key, Shape};
use crate::dependency::RANGE_PATTERN;
use crate::license::Expression;
use crate::manifest::{CONDITION_PATTERN, CPU_PATTERN, Condition, CpuShare, MAX_MANIFEST};
use crate::name::VERSION_PATTERN;
use crate::target::PATTERN as TARGET_PATTERN;
use crate::{Arch, PackageName, PackageRef, Range, ServiceName, Target, Version, media, param};

const fn must(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: true }
}

const fn may(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: false }
}

/// The file.
pub(super) static TOP: [Key; 15] = joined(&[
    &[
        must("spec", Text(SPEC)),
        must("package", Table(&PACKAGE)),
        may("build", Table(BUILD)),
        must("object", Named(LABEL, &Table(OBJECT))),
    ],
    TABLES,
    &[may("test", List(&Table(TEST)))],
]);

/// `services.toml`.
pub(super) static SERVICES: [Key; 1] = [must("service", Named(SERVICE_NAME, &Table(SERVICE)))];

/// `manifest.json`: the same tables, without those of the source form.
pub(super) static MANIFEST: [Key; 14] = joined(&[
    &[
        must("spec", Text(ANY)),
        may("critical", List(&TEXT)),
        must("package", Table(RESOLVED_PACKAGE)),
        must("objects", Named(LABEL, &Table(&[must("sha256", Named(ARCH, &Text(HEX)))]))),
    ],
    TABLES,
]);

/// What both have.
const TABLES: &[Key] = &[
    may("program", Named(LABEL, &Table(PROGRAM))),
    may("alternatives", Named(LABEL, &Table(ALTERNATIVES))),
    may("param", Named(LABEL, &Table(PARAM))),
    may("map", Named(SYMBOL, &Table(MAP))),
    may("output", Named(LABEL, &Table(OUTPUT))),
    may("permissions", Table(PERMISSIONS)),
    may("requirements", Table(REQUIREMENTS)),
    may("health", Table(HEALTH)),
    may("limits", Table(LIMITS)),
    may("dependencies", Named(PACKAGE_NAME, &Table(DEPENDENCY))),
];

/// One table of several.
const fn joined<const N: usize>(parts: &[&[Key]]) -> [Key; N] {
    let mut whole = [may("", Bool); N];
    let (mut part, mut from, mut at) = (0, 0, 0);
    while at < N {
        if from == parts[part].len() {
            part += 1;
            from = 0;
        }
        whole[at] = parts[part][from];
        from += 1;
        at += 1;
    }
    whole
}

const REQUIREMENTS: &[Key] = &[may("modules", List(&TEXT))];

const HEALTH: &[Key] = &[may("soak", Text(DURATION)), may("conditions", List(&Text(CONDITION)))];

const RESOLVED_PACKAGE: &[Key] = &[
    must("name", Text(PACKAGE_NAME)),
    must("version", Text(VERSION)),
    must("license", Text(LICENSE)),
    may("summary", Text(LINE)),
];

static PACKAGE: [Key; 5] = joined(&[RESOLVED_PACKAGE, &[may("readme", Text(PATH))]]);

const BUILD: &[Key] = &[may("btf", Named(ARCH, &Text(LINE))), may("cflags", List(&TEXT))];

const OBJECT: &[Key] = &[
    may("sources", List(&Text(PATH))),
    may("file", Named(ARCH, &Text(PATH))),
    may("arch", List(&Text(ARCH))),
];

const PROGRAM: &[Key] = &[
    must("function", Text(SYMBOL)),
    may("object", Text(LABEL)),
    may("target", Text(TARGET)),
    may("pid", Text(TEMPLATE)),
    may("optional", Bool),
    may("requires-param", Text(LABEL)),
    may("exclusive", Bool),
    may("order", Count),
    may("on-limit", Word(&["detach", "keep"])),
];

const ALTERNATIVES: &[Key] =
    &[must("try", List(&List(&Text(LABEL)))), may("otherwise", Word(&["refuse", "skip"]))];

const PARAM: &[Key] = &[
    must("type", Word(&param::TYPES)),
    may("unit", Word(&["ns", "us", "ms", "s"])),
    may("rodata", Text(SYMBOL)),
    may("data", Text(SYMBOL)),
    may("set", Named(SYMBOL, &Scalar)),
    may("default", Scalar),
    may("range", Pair(&Scalar)),
    may("many", Bool),
    may("doc", Text(LINE)),
];

const MAP: &[Key] = &[
    may("max_entries", Scalar),
    may("upgrade", Word(&["keep", "migrate", "reset"])),
    may("fields", Named(SYMBOL, &Word(&["sum", "max", "min", "last"]))),
    may("rename", Named(SYMBOL, &Text(SYMBOL))),
    may("writers", Word(&["atomic", "plain", "none"])),
    may("persist", Bool),
    may("role", Word(&["config"])),
    may("key", Word(&["cidr", "ip", "mac", "cgroup", "device", "interface"])),
    may("export", Table(&[must("mode", Text(MODE)), may("group", Text(LINE))])),
];

const OUTPUT: &[Key] = &[
    must("kind", Word(&["event", "counter", "gauge", "histogram", "snapshot", "stacks"])),
    must("map", Text(SYMBOL)),
    may("struct", Text(SYMBOL)),
    may("value", Text(SYMBOL)),
    may("fields", Named(SYMBOL, &Table(FIELD))),
    may("when", Table(&[must("field", Text(SYMBOL)), must("equals", Scalar)])),
    may("buckets", Table(&[must("scale", Word(&["log2", "linear"])), may("unit", Text(LINE))])),
    may(
        "labels",
        Named(SYMBOL, &Table(&[must("key", Text(SYMBOL)), may("format", Word(FORMATS))])),
    ),
];

const FIELD: &[Key] = &[
    may("format", Word(FORMATS)),
    may("unit", Text(LINE)),
    may("name", Text(LINE)),
    may("process", Text(SYMBOL)),
];

/// The formats of fields, as part 12 lists them.
pub const FORMATS: &[&str] = &[
    "ktime", "comm", "duration", "hex", "ip", "mac", "errno", "signal", "size", "path", "bool",
    "device", "ksym", "syscall", "enum", "flags", "time", "kstack", "ustack",
];

const PERMISSIONS: &[Key] = &[
    may("hooks", List(&TEXT)),
    may("helpers", List(&TEXT)),
    may("kfuncs", List(&TEXT)),
    may("map-memory", Text(SIZE)),
];

const LIMITS: &[Key] = &[
    may("cpu", Text(CPU)),
    may("map-memory", Text(SIZE)),
    may("events-per-second", Count),
    may("past", Word(&["warn", "throttle", "detach"])),
];

const DEPENDENCY: &[Key] = &[must("version", Text(RANGE)), may("maps", List(&Text(SYMBOL)))];

const TEST: &[Key] =
    &[must("run", Text(LINE)), must("expect", Table(EXPECT)), may("within", Text(DURATION))];

const EXPECT: &[Key] =
    &[must("output", Text(LABEL)), may("at-least", Count), may("where", Text(LINE))];

const SERVICE: &[Key] = &[
    must("package", Text(PLACE)),
    may("which", Text(REFERENCE)),
    may("set", Named(LABEL, &Scalar)),
    may("hold", Bool),
    may("state", Word(&["started", "stopped"])),
];

const TEXT: Shape = Text(LINE);

const SPEC: &Form = &Form::exact(spec, r"^1\.0$");
const PACKAGE_NAME: &Form = &Form::exact(
    package,
    r"^(?=[^/]{1,64}/[^/]{1,64}$)[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$",
);
const SERVICE_NAME: &Form = &Form::exact(service, r"^(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*$");
const PLACE: &Form = &Form::formatted(place, "skep-place");
const REFERENCE: &Form = &Form::formatted(parses::<PackageRef>, "skep-reference");
const VERSION: &Form = &Form::exact(version, VERSION_PATTERN);
const RANGE: &Form = &Form::exact(range, RANGE_PATTERN);
const LICENSE: &Form = &Form::formatted(license, "skep-license");
const PATH: &Form =
    &Form::exact(path, r"^(?!/)(?!.*/(/|$))(?!(.*/)?\.\.(/|$))[^\u0000-\u001f\u007f-\u009f]+$");
const ARCH: &Form = &Form::exact(arch, r"^(x86_64|aarch64|riscv64|s390x)$");
const SYMBOL: &Form = &Form::exact(symbol, r"^[A-Za-z0-9_.$]{1,256}$");
const LABEL: &Form = &Form::exact(label, r"^(?=.{1,64}$)[a-z0-9]+([-_][a-z0-9]+)*$");
const TEMPLATE: &Form = &Form::exact(
    template,
    r"^([^$\u0000-\u001f\u007f-\u009f]|\$(?!\{)|\$\{param\.[^}\u0000-\u001f\u007f-\u009f]*\})+$",
);
const TARGET: &Form = &Form::exact(target, TARGET_PATTERN);
const CONDITION: &Form = &Form::exact(condition, CONDITION_PATTERN);
const CPU: &Form = &Form::exact(cpu, CPU_PATTERN);
const SIZE: &Form = &Form::formatted(size, "skep-size");
const DURATION: &Form = &Form::formatted(duration, "skep-duration");
const MODE: &Form = &Form::exact(mode, r"^0*[0-7]{1,3}$");
const ANY: &Form = &Form::exact(any, "");
const HEX: &Form = &Form::exact(hex, r"^[0-9a-f]{64}$");
const LINE: &Form = &Form::exact(line, r"^[^\u0000-\u001f\u007f-\u009f]+$");

fn ensure(fine: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if fine { Ok(()) } else { Err(why()) }
}

fn parses<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|error| error.to_string())
}

fn spec(text: &str) -> Result<(), String> {
    ensure(text == media::SPEC_VERSION, || {
        format!("spec is '{text}', this program knows \"{}\"", media::SPEC_VERSION)
    })
}

fn package(text: &str) -> Result<(), String> {
    parses::<PackageName>(text)
}

fn service(text: &str) -> Result<(), String> {
    parses::<ServiceName>(text)
}

/// A layout or bundle by its path, or a reference.
fn place(text: &str) -> Result<(), String> {
    line(text)?;
    if services::is_path(text) { Ok(()) } else { parses::<PackageRef>(text) }
}

fn version(text: &str) -> Result<(), String> {
    parses::<Version>(text)
}

fn range(text: &str) -> Result<(), String> {
    parses::<Range>(text)
}

fn arch(text: &str) -> Result<(), String> {
    parses::<Arch>(text)
}

fn line(text: &str) -> Result<(), String> {
    let fine =
        !text.is_empty() && text.len() < MAX_MANIFEST && !text.contains(|c: char| c.is_control());
    ensure(fine, || "it should be one line of text".to_owned())
}

/// It becomes an annotation of the index, whose bytes every tool must write the same: the grammar has no character that
/// JSON writers escape.
fn license(text: &str) -> Result<(), String> {
    parses::<Expression>(text)
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn hex(text: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    ensure(text.len() == 64 && text.bytes().all(fine), || {
        format!("'{}' should be 64 lower-case hex digits", text.escape_debug())
    })
}

/// A path below the folder of `skep.toml`.
fn path(text: &str) -> Result<(), String> {
    line(text)?;
    let inside =
        !text.starts_with('/') && text.split('/').all(|part| part != ".." && !part.is_empty());
    ensure(inside, || format!("'{text}' should be a path inside the package's folder, without .."))
}

/// A name that the author chooses: `[a-z0-9]+([-_][a-z0-9]+)*`.
pub(crate) fn is_label(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text.len() <= 64 && text.split(['-', '_']).all(word)
}

fn label(text: &str) -> Result<(), String> {
    ensure(is_label(text), || {
        format!("'{text}' should be a-z, 0-9 and single - or _ between them, at most 64 characters")
    })
}

/// A C identifier, or a section such as `.data`.
fn symbol(text: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"_.$".contains(&b);
    ensure(!text.is_empty() && text.len() <= 256 && text.bytes().all(fine), || {
        format!("'{text}' is not a symbol of an ELF object")
    })
}

fn template(text: &str) -> Result<(), String> {
    line(text)?;
    param::references(text).map(drop).map_err(|error| error.to_string())
}

/// One with references is held when they are replaced.
fn target(text: &str) -> Result<(), String> {
    template(text)?;
    if text.contains("${") {
        return Ok(());
    }
    Target::told(text).map(drop).map_err(|error| error.to_string())
}

fn condition(text: &str) -> Result<(), String> {
    line(text)?;
    parses::<Condition>(text)
}

fn cpu(text: &str) -> Result<(), String> {
    line(text)?;
    parses::<CpuShare>(text)
}

fn size(text: &str) -> Result<(), String> {
    ensure(param::parse_size(text).is_some(), || {
        format!("'{text}' is not a size, such as 64KiB or 16MiB")
    })
}

fn duration(text: &str) -> Result<(), String> {
    ensure(param::parse_duration(text).is_some(), || {
        format!("'{text}' is not a duration, such as 250ms or 30s")
    })
}

fn mode(text: &str) -> Result<(), String> {
    let is_octal = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let octal = is_octal && u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o777);
    ensure(octal, || format!("'{text}' is not a file mode, such as 0640"))
}
