//! The keys of `skep.toml`, once, as data.

use std::str::FromStr;

use super::shape::Shape::{Bool, Count, List, Named, Scalar, Table, Text, Word};
use super::shape::{Key, Shape};
use crate::license::Expression;
use crate::manifest::MAX_MANIFEST;
use crate::{Arch, PackageName, Version, media, param};

const fn must(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: true }
}

const fn may(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: false }
}

/// The file.
pub(super) const TOP: &[Key] = &[
    must("spec", Text(spec)),
    must("package", Table(PACKAGE)),
    may("build", Table(BUILD)),
    must("object", Named(label, &Table(OBJECT))),
    may("program", Named(label, &Table(PROGRAM))),
    may("alternatives", Named(label, &Table(ALTERNATIVES))),
    may("param", Named(label, &Table(PARAM))),
    may("map", Named(symbol, &Table(MAP))),
    may("output", Named(label, &Table(OUTPUT))),
    may("permissions", Table(PERMISSIONS)),
    may("requirements", Table(&[may("modules", List(&TEXT))])),
    may("health", Table(&[may("soak", Text(duration)), may("conditions", List(&TEXT))])),
    may("limits", Table(LIMITS)),
    may("dependencies", Named(package, &Table(DEPENDENCY))),
    may("test", List(&Table(TEST))),
];

/// `manifest.json`: the same tables, without those of the source form.
pub(super) const MANIFEST: &[Key] = &[
    must("spec", Text(any)),
    may("critical", List(&TEXT)),
    must("package", Table(RESOLVED_PACKAGE)),
    must("objects", Named(label, &Table(&[must("sha256", Named(arch, &Text(hex)))]))),
    may("program", Named(label, &Table(PROGRAM))),
    may("alternatives", Named(label, &Table(ALTERNATIVES))),
    may("param", Named(label, &Table(PARAM))),
    may("map", Named(symbol, &Table(MAP))),
    may("output", Named(label, &Table(OUTPUT))),
    may("permissions", Table(PERMISSIONS)),
    may("requirements", Table(&[may("modules", List(&TEXT))])),
    may("health", Table(&[may("soak", Text(duration)), may("conditions", List(&TEXT))])),
    may("limits", Table(LIMITS)),
    may("dependencies", Named(package, &Table(DEPENDENCY))),
];

const RESOLVED_PACKAGE: &[Key] = &[
    must("name", Text(package)),
    must("version", Text(version)),
    must("license", Text(license)),
    may("summary", Text(line)),
];

const PACKAGE: &[Key] = &[
    must("name", Text(package)),
    must("version", Text(version)),
    must("license", Text(license)),
    may("summary", Text(line)),
    may("readme", Text(path)),
];

const BUILD: &[Key] = &[may("btf", Named(arch, &Text(line))), may("cflags", List(&TEXT))];

const OBJECT: &[Key] = &[
    may("sources", List(&Text(path))),
    may("file", Named(arch, &Text(path))),
    may("arch", List(&Text(arch))),
];

const PROGRAM: &[Key] = &[
    must("function", Text(symbol)),
    may("object", Text(label)),
    may("target", Text(template)),
    may("optional", Bool),
    may("requires-param", Text(label)),
    may("exclusive", Bool),
    may("order", Count),
    may("on-limit", Word(&["detach", "keep"])),
];

const ALTERNATIVES: &[Key] =
    &[must("try", List(&List(&Text(label)))), may("otherwise", Word(&["refuse", "skip"]))];

const PARAM: &[Key] = &[
    must("type", Word(PARAM_TYPES)),
    may("unit", Word(&["ns", "us", "ms", "s"])),
    may("rodata", Text(symbol)),
    may("data", Text(symbol)),
    may("set", Named(symbol, &Scalar)),
    may("default", Scalar),
    may("range", List(&Scalar)),
    may("many", Bool),
    may("doc", Text(line)),
];

const PARAM_TYPES: &[&str] = &[
    "bool",
    "int",
    "uint",
    "enum",
    "string",
    "duration",
    "size",
    "ip",
    "cidr",
    "mac",
    "device",
    "interface",
    "cgroup",
    "path",
    "pid",
    "function",
    "cpus",
];

const MAP: &[Key] = &[
    may("max_entries", Scalar),
    may("upgrade", Word(&["keep", "migrate", "reset"])),
    may("fields", Named(symbol, &Word(&["sum", "max", "min", "last"]))),
    may("rename", Named(symbol, &Text(symbol))),
    may("writers", Word(&["atomic", "plain", "none"])),
    may("persist", Bool),
    may("role", Word(&["config"])),
    may("key", Word(&["cidr", "ip", "mac", "cgroup", "device", "interface"])),
    may("export", Table(&[must("mode", Text(mode)), may("group", Text(line))])),
];

const OUTPUT: &[Key] = &[
    must("kind", Word(&["event", "counter", "gauge", "histogram", "snapshot", "stacks"])),
    must("map", Text(symbol)),
    may("struct", Text(symbol)),
    may("value", Text(symbol)),
    may("fields", Named(field, &Table(FIELD))),
    may("when", Table(&[must("field", Text(field)), must("equals", Scalar)])),
    may("buckets", Table(&[must("scale", Word(&["log2", "linear"])), may("unit", Text(line))])),
    may("labels", Named(symbol, &Table(&[must("key", Text(field)), may("format", Word(FORMATS))]))),
];

const FIELD: &[Key] =
    &[may("format", Word(FORMATS)), may("unit", Text(line)), may("name", Text(line))];

const FORMATS: &[&str] = &[
    "ktime", "comm", "duration", "hex", "ip", "mac", "errno", "signal", "size", "path", "bool",
    "device", "ksym", "syscall", "enum", "flags", "time",
];

const PERMISSIONS: &[Key] = &[
    may("hooks", List(&TEXT)),
    may("helpers", List(&TEXT)),
    may("kfuncs", List(&TEXT)),
    may("map-memory", Text(size)),
];

const LIMITS: &[Key] = &[
    may("cpu", Text(line)),
    may("map-memory", Text(size)),
    may("events-per-second", Count),
    may("past", Word(&["warn", "throttle", "detach"])),
];

const DEPENDENCY: &[Key] = &[must("version", Text(line)), may("maps", List(&Text(symbol)))];

const TEST: &[Key] =
    &[must("run", Text(line)), must("expect", Table(EXPECT)), may("within", Text(duration))];

const EXPECT: &[Key] =
    &[must("output", Text(label)), may("at-least", Count), may("where", Text(line))];

const TEXT: Shape = Text(line);

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

fn version(text: &str) -> Result<(), String> {
    parses::<Version>(text)
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
fn label(text: &str) -> Result<(), String> {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    ensure(text.len() <= 64 && text.split(['-', '_']).all(word), || {
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

/// A field, `a.b` inside a nested one.
fn field(text: &str) -> Result<(), String> {
    symbol(text)
}

fn template(text: &str) -> Result<(), String> {
    line(text)?;
    param::references(text).map(drop).map_err(|error| error.to_string())
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
    let octal = u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o777);
    ensure(octal, || format!("'{text}' is not a file mode, such as 0640"))
}
