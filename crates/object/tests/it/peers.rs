//! What bpftool and LLVM say of the same objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use skep_object::btf::Kind;
use skep_object::{CoreRelocation, Facts};

use crate::build::object;
use crate::corpus::CORPUS;

fn output(program: &str, args: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(args).arg(file).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Calls `each` with every object of the corpus: its name, a file of it, and its facts.
fn objects(mut each: impl FnMut(&str, &Path, &Facts)) {
    let file = tempfile::Builder::new().prefix("object").suffix(".o").tempfile().unwrap();
    for carved in CORPUS.iter() {
        std::fs::write(file.path(), &carved.bytes).unwrap();
        each(&carved.name, file.path(), &Facts::parse(&carved.bytes).unwrap());
    }
}

/// The skeleton that bpftool makes of an object, or its last words.
pub fn skeleton(bytes: &[u8]) -> Result<String, String> {
    let file = tempfile::Builder::new().prefix("object").suffix(".o").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let bpftool = Command::new("bpftool").args(["gen", "skeleton"]).arg(file.path()).output();
    let bpftool = bpftool.expect("bpftool runs");
    if bpftool.status.success() {
        return Ok(String::from_utf8_lossy(&bpftool.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&bpftool.stderr);
    Err(said.lines().next().unwrap_or_default().to_owned())
}

/// Holds the names of programs and maps against a skeleton.
pub fn same_programs_and_maps(name: &str, facts: &Facts, skeleton: &str) {
    let named = |block: &str, what: &str| -> BTreeSet<String> {
        let (before, _) = skeleton.split_once(&format!("}} {block};")).unwrap_or_default();
        let (_, block) = before.rsplit_once("struct {").unwrap_or_default();
        let lines = block.lines().filter_map(|line| line.trim().strip_prefix(what));
        lines.filter_map(|rest| rest.strip_suffix(';')).map(str::to_owned).collect()
    };
    let programs: BTreeSet<String> = facts.programs.iter().map(|p| p.name.clone()).collect();
    assert_eq!(programs, named("progs", "struct bpf_program *"), "{name}");
    let ident = |map: &str| map.trim_start_matches('.').replace('.', "_");
    let maps: BTreeSet<String> = facts.maps.iter().map(|map| ident(&map.name)).collect();
    assert_eq!(maps, named("maps", "struct bpf_map *"), "{name}");
}

#[test]
fn bpftool_finds_the_same_programs_and_maps() {
    for carved in CORPUS.iter() {
        let facts = Facts::parse(&carved.bytes).unwrap();
        same_programs_and_maps(&carved.name, &facts, &skeleton(&carved.bytes).unwrap());
    }
}

/// CO-RE relocations by section, each as libbpf writes it: `<byte_off> task_struct.pid (0:1)`.
type Relocations = BTreeMap<String, Vec<String>>;

fn our_relocations(facts: &Facts) -> Relocations {
    let mut found = Relocations::new();
    for relocation in &facts.core_relocations {
        let CoreRelocation { kind, path, access, .. } = relocation;
        let access = match kind.number() {
            0..=5 => format!(" ({access})"),
            _ => String::new(),
        };
        let text = format!("<{kind}> {path}{access}");
        found.entry(relocation.section.clone()).or_default().push(text);
    }
    found
}

/// What libbpf says while bpftool looks for the types that an object needs among types that have none of them: it tells each
/// relocation, and finds nothing.
fn libbpfs_relocations(nothing: &Path, object: &Path) -> Relocations {
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["-d", "gen", "min_core_btf"]).args([nothing, out.path(), object]);
    let output = bpftool.output().expect("bpftool runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    let mut found = Relocations::new();
    for line in said.lines() {
        // libbpf: prog 'SECTION': relo #3: <byte_off> [77] struct sock.a (0:14 @ offset 9)
        let Some((section, rest)) =
            line.strip_prefix("libbpf: prog '").and_then(|l| l.split_once("': relo #"))
        else {
            continue;
        };
        let Some((kind, rest)) =
            rest.split_once(": <").and_then(|(_, rest)| rest.split_once("> ["))
        else {
            continue;
        };
        let (_, named) = rest.split_once("] ").unwrap();
        let (_, path) = named.split_once(' ').unwrap();
        let (path, access) = path.split_once(" (").unwrap_or((path, ""));
        let path = path.split_once(" = ").map_or(path, |(path, _value)| path);
        let access =
            access.split_once(" @").map(|(access, _)| format!(" ({access})")).unwrap_or_default();
        let text = format!("<{kind}> {}{access}", without_flavour(path));
        found.entry(section.to_owned()).or_default().push(text);
    }
    found
}

/// `task_struct___old.state` as `task_struct.state`.
fn without_flavour(path: &str) -> String {
    let end = path.find(['.', ':', '[']).unwrap_or(path.len());
    let (root, rest) = path.split_at(end);
    format!(
        "{}{}",
        root.split_once("___").map_or(root, |(plain, _)| plain),
        rest.split("___").next().unwrap_or_default()
    )
}

#[test]
fn libbpf_tells_the_same_core_relocations() {
    let nothing = tempfile::Builder::new().suffix(".o").tempfile().unwrap();
    std::fs::write(nothing.path(), object("nothing.c", &[])).unwrap();
    let mut count = 0;
    objects(|name, file, facts| {
        if facts.btf.is_some() {
            assert_eq!(our_relocations(facts), libbpfs_relocations(nothing.path(), file), "{name}");
            count += facts.core_relocations.len();
        }
    });
    assert!(count > 600, "{count} relocations");
    let own = tempfile::Builder::new().suffix(".o").tempfile().unwrap();
    let mut kinds = BTreeSet::new();
    for source in ["facts.c", "guards.c", "asks.c"] {
        let bytes = object(source, &[]);
        std::fs::write(own.path(), &bytes).unwrap();
        let facts = Facts::parse(&bytes).unwrap();
        let libbpfs = libbpfs_relocations(nothing.path(), own.path());
        assert_eq!(our_relocations(&facts), libbpfs, "{source}");
        kinds.extend(facts.core_relocations.iter().map(|relocation| relocation.kind.number()));
    }
    assert_eq!(kinds, (0..12).collect(), "every kind that clang 14 knows");
}

#[test]
fn bpftool_reads_the_same_types() {
    let mut count = 0;
    objects(|name, file, facts| {
        let Some(btf) = &facts.btf else { return };
        let dump = output("bpftool", &["btf", "dump", "file"], file);
        let mut lines = dump.lines().filter(|line| line.starts_with('['));
        for (id, ty) in btf.types() {
            let theirs = lines.next().unwrap_or_default();
            let ours = format!("[{}] {} '{}'", id.0, label(&ty.kind), in_words(btf.name(ty)));
            assert!(theirs.starts_with(&ours), "{name}: {ours} is {theirs}");
            if let Some((what, size)) = sized(&ty.kind) {
                assert!(
                    theirs.contains(&format!(" {what}={size}")),
                    "{name}: {theirs}, not {size}"
                );
            }
            count += 1;
        }
        assert_eq!(lines.next(), None, "{name}");
    });
    assert!(count > 10_000, "{count} types");
}

fn in_words(name: &str) -> &str {
    if name.is_empty() { "(anon)" } else { name }
}

fn sized(kind: &Kind) -> Option<(&'static str, usize)> {
    Some(match kind {
        Kind::Int(int) => ("size", int.size as usize),
        Kind::Struct(c) | Kind::Union(c) => ("vlen", c.members.len()),
        Kind::Enum(e) | Kind::Enum64(e) => ("vlen", e.values.len()),
        Kind::FunctionProto { parameters, .. } => ("vlen", parameters.len()),
        Kind::Array(array) => ("nr_elems", array.count as usize),
        Kind::Typedef(to) | Kind::Pointer(to) | Kind::Const(to) => ("type_id", to.0 as usize),
        _ => return None,
    })
}

fn label(kind: &Kind) -> &'static str {
    match kind {
        Kind::Void => "VOID",
        Kind::Int(_) => "INT",
        Kind::Pointer(_) => "PTR",
        Kind::Array(_) => "ARRAY",
        Kind::Struct(_) => "STRUCT",
        Kind::Union(_) => "UNION",
        Kind::Enum(_) => "ENUM",
        Kind::Enum64(_) => "ENUM64",
        Kind::Forward { .. } => "FWD",
        Kind::Typedef(_) => "TYPEDEF",
        Kind::Volatile(_) => "VOLATILE",
        Kind::Const(_) => "CONST",
        Kind::Restrict(_) => "RESTRICT",
        Kind::Function { .. } => "FUNC",
        Kind::FunctionProto { .. } => "FUNC_PROTO",
        Kind::Variable { .. } => "VAR",
        Kind::DataSection { .. } => "DATASEC",
        Kind::Float { .. } => "FLOAT",
        Kind::DeclTag { .. } => "DECL_TAG",
        Kind::TypeTag(_) => "TYPE_TAG",
    }
}
