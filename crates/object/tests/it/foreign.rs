//! Objects of other compilers and their habits: what the Go package cilium/ebpf ships, by clang 6 to 22, in both byte
//! orders, made by bpf2go and by hand, with old and new kinds of maps, and broken on purpose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use skep_object::disasm::{Item, list};
use skep_object::{Facts, Loose, ObjectError};

use crate::corpus::Carved;
use crate::{disasm, peers};

/// Three releases that have what the others lack.
const VERSIONS: [&str; 3] = ["v0.1.0", "v0.4.0", "v0.22.0"];

static OBJECTS: LazyLock<Vec<Carved>> = LazyLock::new(|| {
    let mut objects = Vec::new();
    for version in VERSIONS {
        let folder = module(version);
        let mut files = Vec::new();
        below(&folder, &mut files);
        files.sort();
        for path in files {
            let name = format!("{version} {}", path.strip_prefix(&folder).unwrap().display());
            objects.push(Carved { name, bytes: std::fs::read(path).unwrap() });
        }
    }
    objects
});

/// The folder of a release, which Go downloads once.
fn module(version: &str) -> PathBuf {
    let module = format!("github.com/cilium/ebpf@{version}");
    let output = Command::new("go").args(["mod", "download", "-json", &module]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    PathBuf::from(answer["Dir"].as_str().unwrap())
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, files);
        } else if path.extension().is_some_and(|e| e == "o" || e == "elf") {
            files.push(path);
        }
    }
}

#[test]
fn they_are_read_as_bpftool_reads_them_or_refused_for_a_reason() {
    let (mut both, mut only_ours) = (0, 0);
    for Carved { name, bytes } in OBJECTS.iter() {
        match (Facts::parse(bytes), peers::skeleton(bytes)) {
            (Ok(facts), Ok(theirs)) => {
                peers::same_programs_and_maps(name, &facts, &theirs);
                both += 1;
            }
            (Ok(_), Err(why)) => {
                assert!(NOT_LIBBPFS.iter().any(|reason| why.contains(reason)), "{name}: {why}");
                only_ours += 1;
            }
            (Err(error), Ok(_)) => panic!("bpftool opens {name}, we say: {error}"),
            // Functions that its own loader only calls: libbpf says the same.
            (Err(ObjectError::Program { why, .. }), Err(_)) if why.starts_with("it is static") => {}
            (Err(error), Err(why)) => panic!("{name}: we say: {error}, bpftool: {why}"),
        }
    }
    assert!(both > 40 && only_ours > 40, "{both} read by both, {only_ours} by us alone");
}

/// Why libbpf opens none of what is well-formed.
const NOT_LIBBPFS: [&str; 4] = [
    "endianness mismatch",
    "legacy map definitions",
    "failed to find BTF for extern",
    "BTF is required",
];

/// Clang 7 gives the names of functions neither a type nor a size, so that nobody finds a program.
#[test]
fn what_old_compilers_do_not_call_a_function_is_told() {
    let old = OBJECTS.iter().find(|o| o.name.ends_with("v0.4.0 testdata/loader-clang-7-el.elf"));
    let bytes = &old.unwrap().bytes;
    let facts = Facts::parse(bytes).unwrap();
    assert!(facts.programs.is_empty());
    let sections: Vec<&str> = facts.loose.iter().map(|loose| loose.section.as_str()).collect();
    assert_eq!(sections, [".text", "static", "other", "xdp", "socket", "socket/2"]);
    let (mut told, mut listed) = (0, 0);
    list(bytes, None, |item| match item {
        Item::Loose(loose) => told += loose.instructions(),
        Item::Line(_) => listed += 1,
        Item::Function(_) => panic!("there is none"),
    })
    .unwrap();
    assert!(told > 10 && told == facts.loose.iter().map(Loose::instructions).sum::<u64>());
    assert!(listed > 10 && listed <= told, "{listed} of {told}");
}

#[test]
fn both_byte_orders_say_the_same() {
    let by_name: BTreeMap<&str, &[u8]> =
        OBJECTS.iter().map(|o| (o.name.as_str(), o.bytes.as_slice())).collect();
    let mut pairs = 0;
    for (name, little) in &by_name {
        let other = name.replace("-el.elf", "-eb.elf").replace("bpfel.o", "bpfeb.o");
        let Some(big) = by_name.get(other.as_str()).filter(|_| other != *name) else { continue };
        assert_eq!(told(little, false), told(big, true), "{name}");
        pairs += 1;
    }
    assert!(pairs > 40, "{pairs} pairs");
}

/// Programs and maps in words, or the refusal.
fn told(bytes: &[u8], big_endian: bool) -> String {
    let facts = match Facts::parse(bytes) {
        Ok(facts) => facts,
        Err(error) => return error.to_string(),
    };
    assert_eq!(facts.big_endian, big_endian);
    let programs = facts
        .programs
        .iter()
        .map(|p| format!("{} {} {:?} {:?}", p.name, p.section, p.helpers, p.maps));
    let maps = facts.maps.iter().map(|map| {
        let sizes = [map.key_size, map.value_size, map.max_entries, map.flags];
        format!("{} {} {sizes:?} {:?}", map.name, map.kind, map.slots)
    });
    programs.chain(maps).collect::<Vec<_>>().join("\n")
}

#[test]
fn their_instructions_read_as_llvm_reads_them() {
    let mut count = 0;
    for Carved { name, bytes } in OBJECTS.iter() {
        count += disasm::same_as_llvm(name, bytes)[0];
    }
    assert!(count > 3_000, "{count} instructions");
}
