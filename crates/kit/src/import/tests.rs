use std::fs;

use skep_oci::image::{Image, ImagePlatform};
use skep_spec::oci::{Descriptor, ImageManifest};

use super::peer::Format;
use super::*;

/// An object with all that has a place in a manifest, and much that has none.
const SOURCE: &str = "typedef unsigned int u32; enum mode { off, on };\n\
    #define SEC(x) __attribute__((section(x), used))\n\
    struct ring { int (*type)[27]; int (*max_entries)[4096]; };\n\
    struct hash { int (*type)[1]; u32 *key; u32 *value; };\n\
    struct pinned { int (*type)[1]; u32 *key; u32 *value; int (*max_entries)[8]; int (*pinning)[1]; };\n\
    struct event { u32 pid; }; const struct event *unused __attribute__((unused));\n\
    struct ring events SEC(\".maps\"); struct hash sizeless SEC(\".maps\"); struct pinned kept SEC(\".maps\");\n\
    char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";\n\
    const volatile u32 Target_Pid = 7; const volatile int delta = -1; const volatile _Bool verbose = 0;\n\
    const volatile enum mode mode = on; const volatile char prefix[8] = \"x\";\n\
    SEC(\"xdp\") int Pass__it(void *c) { return Target_Pid + delta + verbose + mode + prefix[0]; }\n\
    SEC(\"tc\") int shape(void *c) { return 0; }\n\
    SEC(\"cgroup_skb/egress\") int limit(void *c) { return 1; }\n\
    SEC(\"tp/sched/sched_process_exec\") int exec(void *c) { return 0; }\n\
    SEC(\"sk_msg\") int message(void *c) { return 1; }\n\
    SEC(\"?fentry/vfs_read\") int asleep(void *c) { return 0; }\n";

fn facts(source: &str) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let (c, object) = (folder.path().join("t.c"), folder.path().join("t.o"));
    fs::write(&c, source).unwrap();
    let mut clang = std::process::Command::new("clang");
    clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
    assert!(clang.status().unwrap().success());
    Facts::parse(&fs::read(object).unwrap()).unwrap()
}

fn wanted(license: Option<&str>) -> Wanted {
    Wanted {
        name: "acme/x".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        license: license.map(|text| text.parse().unwrap()),
    }
}

fn object(name: &str, source: &str) -> Object {
    let facts = facts(source);
    let (arches, _) = arches(&facts, Arch::X86_64);
    Object { name: name.to_owned(), file: format!("objects/{name}.o"), arches, facts }
}

#[test]
fn what_an_object_says_becomes_a_manifest_and_the_rest_is_told() {
    let imported = describe(&wanted(None), &[object("x", SOURCE)], &Said::default()).unwrap();
    insta::assert_snapshot!(format!("{}---\n{}", imported.source, imported.unmapped.join("\n")));
}

#[test]
fn several_objects_are_told_apart() {
    let (one, two) = (object("one", SOURCE), object("two", SOURCE));
    let imported = describe(&wanted(Some("MIT")), &[one, two], &Said::default()).unwrap();
    let text = imported.source;
    assert!(text.contains("[program.exec]\nfunction = \"exec\"\nobject = \"one\"\n"), "{text}");
    assert!(text.contains("[program.exec_2]\nfunction = \"exec\"\nobject = \"two\"\n"), "{text}");
    assert_eq!(text.matches("rodata = \"delta\"").count(), 1, "{text}");
    assert!(text.contains("license = \"MIT\""), "{text}");
}

#[test]
fn a_licence_is_asked_for_where_the_objects_do_not_say_it() {
    let own = SOURCE.replace("Dual BSD/GPL", "Proprietary");
    let none = SOURCE.replace("SEC(\"license\")", "");
    for (objects, said) in [
        (vec![object("x", &own)], "the objects say 'Proprietary'"),
        (vec![object("x", &none)], "the objects say no licence"),
        (vec![object("x", SOURCE), object("y", &own)], "'Dual BSD/GPL' and 'Proprietary'"),
    ] {
        let error = describe(&wanted(None), &objects, &Said::default()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn programs_that_not_all_architectures_have_are_listed_nowhere() {
    let on = |arch, source: &str| Object { arches: vec![arch], ..object("x", source) };
    let probe = |name: &str, at: &str| {
        format!("__attribute__((section(\"{at}\"), used)) int {name}(void *c) {{ return 0; }}\n")
    };
    let (both, one) = (probe("both", "tp/a/b"), probe("one", "tp/a/c"));
    let described = |more: &str| {
        let objects = [
            on(Arch::Aarch64, &format!("{both}{more}")),
            on(Arch::X86_64, &format!("{both}{one}{more}")),
        ];
        describe(&wanted(Some("MIT")), &objects, &Said::default()).unwrap()
    };
    let imported = described("");
    assert!(!imported.source.contains("[program."), "{}", imported.source);
    assert!(imported.source.contains("tracepoint/a/c"), "{}", imported.source);
    assert!(imported.unmapped.iter().any(|told| told.contains("none is listed")));
    // One that needs a place has to be listed, and so have all.
    let Imported { source, unmapped } = described(&probe("packet", "xdp"));
    assert!(source.contains("[program.both]") && !source.contains("[program.one]"), "{source}");
    let told = format!("{unmapped:?}");
    assert!(told.contains("the program 'one'"), "{told}");
}

#[test]
fn what_could_not_be_packed_is_not_made() {
    let only = |source: &str| {
        describe(&wanted(Some("MIT")), &[object("x", source)], &Said::default()).unwrap_err()
    };
    let none = "__attribute__((section(\"sk_msg\"))) int message(void *c) { return 1; }";
    assert!(matches!(only(none), ImportError::NoProgram { whys } if whys.len() == 1));
    let gpl = "char LICENSE[] __attribute__((section(\"license\"), used)) = \"MIT\";\n\
        static long (*print)(const char *, unsigned) = (void *)6;\n\
        __attribute__((section(\"xdp\"))) int x(void *c) { return print(\"x\", 2); }";
    let error = only(gpl);
    assert!(matches!(error, ImportError::Packing(PackingError::License(_))), "{error}");
}

#[test]
fn an_object_claims_what_it_can_run_on() {
    let of = |source: &str| arches(&facts(source), Arch::Aarch64).0;
    assert_eq!(of(SOURCE), [Arch::X86_64, Arch::Aarch64, Arch::Riscv64]);
    let probe = "__attribute__((section(\"kprobe/x\"))) int x(void *c) { return 0; }";
    assert_eq!(of(probe), [Arch::Aarch64]);
}

#[test]
fn names_become_those_of_tables() {
    for (text, name) in
        [("Pass__it", "pass_it"), ("_x-", "x"), ("é", ""), (&"a".repeat(70), &"a".repeat(64))]
    {
        assert_eq!(label(text, '_'), name);
    }
    let taken = ["a", "a_2"].map(str::to_owned).into();
    assert_eq!(unique("a", &taken), "a_3");
    assert_eq!(unique("", &taken), "unnamed");
}

#[test]
fn of_two_gadget_yamls_that_of_the_first_platform_is_read() {
    let object = include_bytes!("../../../../spec/vectors/files/objects/touch.o");
    let platform = |arch, yaml: &str| {
        let layer = Descriptor::of("application/vnd.gadget.ebpf.program.v1+binary", object);
        let config = Descriptor::of("application/vnd.gadget.config.v1+yaml", yaml.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            serde_json::to_string(&config).unwrap(),
            serde_json::to_string(&layer).unwrap()
        );
        let manifest = ImageManifest::parse(manifest.as_bytes()).unwrap();
        ImagePlatform::new(Some(arch), manifest, yaml.into(), [object.to_vec()])
    };
    let platforms = vec![
        platform(Arch::X86_64, "name: x\ndescription: of the first\n"),
        platform(Arch::Aarch64, "name: x\ndescription: another\n"),
    ];
    let image = Image { platforms, ..Image::default() };
    let peer = Format::of(&image).unwrap().read(&image, "x").unwrap();
    assert_eq!(peer.said.summary.as_deref(), Some("of the first"));
    assert!(peer.unmapped.iter().any(|what| what.contains("differs by architecture")));
}
