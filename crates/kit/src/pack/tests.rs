use std::fs;

use super::*;

/// Two objects for one architecture with the same maps, and one for another.
fn objects() -> Vec<Parsed> {
    let elf = include_bytes!("../../../../spec/vectors/files/objects/named.o");
    let facts = Facts::parse(elf).unwrap();
    let own = |(object, arch): (&str, Arch)| Parsed {
        object: object.to_owned(),
        arch,
        facts: facts.clone(),
    };
    [("a", Arch::X86_64), ("a", Arch::Aarch64), ("b", Arch::X86_64)].map(own).into()
}

fn manifest(kind: &str) -> Manifest {
    let source = format!(
        "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
         [object.a]\nsources = [\"a.bpf.c\"]\n[object.b]\nsources = [\"b.bpf.c\"]\n\
         [output.all]\nkind = \"{kind}\"\nmap = \"conns\"\n"
    );
    skep_spec::source::parse(&source).unwrap().resolve(&BTreeMap::new())
}

/// An object with a ring, two structs of one name and some variables.
fn compiled() -> Vec<Facts> {
    const SOURCE: &str = "struct ring { int (*type)[27]; int (*max_entries)[4096]; };\n\
        struct ring rb __attribute__((section(\".maps\")));\n\
        const volatile int fixed = 1; int live = 5; long total;\n\
        __attribute__((section(\"xdp\"))) int x(void *c) { total += live + fixed;\n\
        struct event { long a, b; }; static const struct event *volatile p; return p != 0; }\n\
        __attribute__((section(\"xdp\"))) int y(void *c) {\n\
        struct event { int port; }; static const struct event *volatile q; return q != 0; }\n";
    vec![facts_of(SOURCE)]
}

fn facts_of(source: &str) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let (c, object) = (folder.path().join("t.c"), folder.path().join("t.o"));
    fs::write(&c, source).unwrap();
    let mut clang = std::process::Command::new("clang");
    clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
    assert!(clang.status().unwrap().success());
    Facts::parse(&fs::read(object).unwrap()).unwrap()
}

fn with(tables: &str) -> Manifest {
    let source = format!(
        "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
         [object.a]\nsources = [\"a.bpf.c\"]\n{tables}"
    );
    skep_spec::source::parse(&source).unwrap().resolve(&BTreeMap::new())
}

#[test]
fn an_output_names_one_struct_and_counts_entries() {
    let facts = compiled();
    let said = |tables: &str| check(&with(tables), &facts).unwrap_err().to_string();
    let text = said("[output.b]\nkind = \"event\"\nmap = \"rb\"\nstruct = \"event\"\n");
    assert_eq!(
        text,
        "[output.b] names the struct 'event', and the object has different ones of that name: { a, b } and { port }; give each its own name"
    );
    let text = said("[output.k]\nkind = \"gauge\"\nmap = \".bss\"\n");
    assert!(
        text.starts_with("[output.k] shows .bss, and a gauge shows the entries of a map: "),
        "{text}"
    );
    check(&with("[output.b]\nkind = \"event\"\nmap = \"rb\"\n"), &facts).unwrap();
}

#[test]
fn a_section_names_no_interface() {
    let facts = facts_of("__attribute__((section(\"xdp/va\"))) int x(void *c) { return 2; }\n");
    let parsed = [Parsed { object: "a".to_owned(), arch: Arch::X86_64, facts }];
    for tables in [
        "",
        "[program.x]\nfunction = \"x\"\n",
        "[program.x]\nfunction = \"x\"\ntarget = \"xdp/va\"\n",
    ] {
        let error = are_attachable(&with(tables), &parsed).unwrap_err().to_string();
        assert!(error.contains("no loader knows a section that names an interface"), "{error}");
    }
}

#[test]
fn an_object_is_of_its_machines_byte_order() {
    let little = include_bytes!("../../../../spec/vectors/files/objects/types.o").to_vec();
    let big = include_bytes!("../../../../spec/vectors/files/objects/types-be.o").to_vec();
    let said = |arch, elf: &Vec<u8>| {
        let arches = BTreeMap::from([(arch, elf.clone())]);
        let built =
            Built { objects: BTreeMap::from([("x".to_owned(), arches)]), warnings: String::new() };
        parsed(&built).map(drop).map_err(|error| error.to_string())
    };
    said(Arch::X86_64, &little).unwrap();
    said(Arch::S390x, &big).unwrap();
    assert_eq!(
        said(Arch::X86_64, &big).unwrap_err(),
        "the object 'x' for x86_64 is big-endian (clang -target bpfeb), and x86_64 is little-endian: no kernel there loads it"
    );
    assert_eq!(
        said(Arch::S390x, &little).unwrap_err(),
        "the object 'x' for s390x is little-endian (clang -target bpfel), and s390x is big-endian: no kernel there loads it"
    );
}

#[test]
fn what_moves_is_named_as_it_is() {
    let facts = compiled();
    let said = |tables: &str| check(&with(tables), &facts).map_err(|e| e.to_string());
    said("[map.\".bss\"]\nupgrade = \"migrate\"\nfields = { total = \"sum\" }\n").unwrap();
    let error = said("[map.\".bss\"]\nupgrade = \"migrate\"\nfields = { totals = \"sum\" }\n");
    assert_eq!(
        error.unwrap_err(),
        "skep.toml says wrongly what an upgrade moves: [map.\".bss\"] names the variable 'totals' in fields, which is not there; did you mean 'total'?"
    );
}

#[test]
fn parameters_are_held_against_variables() {
    let objects = compiled().into_iter().map(|facts| Parsed {
        object: "a".to_owned(),
        arch: Arch::X86_64,
        facts,
    });
    let objects: Vec<Parsed> = objects.collect();
    let said = |tables: &str| are_bound(&with(tables), &objects).map_err(|e| e.to_string());
    said("[param.a]\ntype = \"int\"\nrodata = \"fixed\"\n[param.b]\ntype = \"int\"\ndata = \"total\"\n").unwrap();
    let error = said("[param.a]\ntype = \"int\"\nrodata = \"live\"\n").unwrap_err();
    assert_eq!(
        error,
        "[param.a] sets the variable 'live' in .rodata, and it is in .data: write data = \"live\", or declare it const volatile"
    );
    said("[param.a]\ntype = \"string\"\nrodata = \"fixed\"\n").unwrap_err();
}

#[test]
fn an_output_shows_one_map() {
    let objects = objects();
    let error = are_told_apart(&manifest("counter"), &objects).unwrap_err();
    let error = PackingError::from(error);
    assert_eq!(
        error.to_string(),
        "[output.all] shows the map 'conns', which the objects 'a' and 'b' both define: give it another name in one of them"
    );
    are_told_apart(&manifest("event"), &objects).unwrap();
    are_told_apart(&manifest("counter"), &objects[..2]).unwrap();
}
