//! What bpftool and LLVM say of the same objects.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use skep_object::Facts;
use skep_object::btf::Kind;

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

#[test]
fn bpftool_finds_the_same_programs_and_maps() {
    objects(|name, file, facts| {
        let skeleton = output("bpftool", &["gen", "skeleton"], file);
        let named = |what: &str| -> BTreeSet<String> {
            let lines = skeleton.lines().filter_map(|line| line.trim().strip_prefix(what));
            lines.map(|rest| rest.trim_end_matches(';').to_owned()).collect()
        };
        let programs: BTreeSet<String> = facts.programs.iter().map(|p| p.name.clone()).collect();
        assert_eq!(programs, named("struct bpf_program *"), "{name}");
        let ident = |map: &str| map.trim_start_matches('.').replace('.', "_");
        let mut maps: BTreeSet<String> = facts.maps.iter().map(|map| ident(&map.name)).collect();
        let theirs = named("struct bpf_map *");
        if theirs.contains("kconfig") {
            maps.insert("kconfig".to_owned()); // libbpf fills it from the kernel's configuration
        }
        assert_eq!(maps, theirs, "{name}");
    });
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
