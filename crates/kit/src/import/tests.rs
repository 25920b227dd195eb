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

/// An object whose programs do nothing at these sections.
fn at(sections: &[&str]) -> Object {
    let program = |(at, section): (usize, &&str)| {
        format!(
            "__attribute__((section(\"{section}\"), used)) int p{at}(void *c) {{ return 0; }}\n"
        )
    };
    object("x", &sections.iter().enumerate().map(program).collect::<String>())
}

fn imported(sections: &[&str], said: &Said) -> Imported {
    describe(&wanted(Some("MIT")), &[at(sections)], said).unwrap()
}

#[test]
fn of_programs_that_see_the_same_one_runs() {
    let sections = [
        "kprobe/vfs_read",
        "kretprobe/vfs_read",
        "fexit/vfs_read",
        "raw_tp/sched_switch",
        "tp_btf/sched_switch",
        "tp_btf/sched_switch",
        "tp/sched/sched_wakeup",
        "kprobe/vfs_write",
        "kprobe/vfs_write+0x4",
    ];
    let Imported { source, unmapped } = imported(&sections, &Said::default());
    let (_, ways) = source.split_once("[alternatives.").unwrap();
    insta::assert_snapshot!(ways.split_once("# What").unwrap().0, @r#"
    sched_switch]
    try = [["p4", "p5"], ["p3"]]
    otherwise = "skip"

    [alternatives.vfs_read]
    try = [["p2"], ["p0", "p1"]]
    otherwise = "skip"
    "#);
    for (program, is_optional) in
        [("p0", false), ("p4", false), ("p6", true), ("p7", true), ("p8", false)]
    {
        let (_, table) = source.split_once(&format!("[program.{program}]\n")).unwrap();
        let table = table.split_once("\n\n").unwrap().0;
        assert_eq!(table.contains("optional = true"), is_optional, "{program}: {source}");
    }
    let told = unmapped.join("\n");
    assert!(told.contains("several programs see the same (sched_switch, vfs_read)"), "{told}");
    // One point is what the object is for, and a loader that runs all or none needs no other.
    assert!(
        !imported(&["kprobe/vfs_read", "kretprobe/vfs_read"], &Said::default())
            .source
            .contains("optional")
    );
    let alone = imported(&["kprobe/vfs_read", "fentry/vfs_read"], &Said::default()).source;
    assert!(alone.contains("[alternatives.vfs_read]") && !alone.contains("skip"), "{alone}");
    let whole = imported(&sections, &Said { whole: true, ..Said::default() }).source;
    assert!(!whole.contains("optional") && !whole.contains("alternatives"), "{whole}");
}

#[test]
fn places_that_sections_leave_open_are_parameters() {
    let sections = [
        "uretprobe/readline",
        "uprobe/free",
        "perf_event",
        "perf_event",
        "kprobe",
        "uprobe",
        "usdt",
        "usdt",
    ];
    let Imported { source, .. } = imported(&sections, &Said::default());
    for line in [
        "target = \"uretprobe/${param.binary}:readline\"",
        "target = \"uprobe/${param.binary}:free\"",
        "target = \"perf_event:${param.event_p2}\"",
        "target = \"perf_event:${param.event_p3}\"",
        "target = \"kprobe/${param.function}\"",
        "target = \"uprobe/${param.binary}:${param.symbol}\"\n",
        "target = \"usdt/${param.binary}:${param.provider}:${param.probe_p6}\"\nrequires-param = \"probe_p6\"",
        "[param.provider]\ntype = \"string\"",
        "[param.binary]\ntype = \"path\"",
        "[param.event_p3]\ntype = \"string\"",
    ] {
        assert!(source.contains(line), "{line}: {source}");
    }
    assert_eq!(source.matches("requires-param").count(), 2, "{source}");
}

#[test]
fn an_interface_has_one_of_several_xdp_programs() {
    let Imported { source, unmapped } =
        imported(&["xdp", "xdp.frags", "tc", "tp/a/b"], &Said::default());
    for (program, table) in [
        (
            "p0",
            "function = \"p0\"\ntarget = \"xdp/${param.interface_p0}\"\nrequires-param = \"interface_p0\"\n\n",
        ),
        (
            "p1",
            "function = \"p1\"\ntarget = \"xdp.frags/${param.interface_p1}\"\nrequires-param = \"interface_p1\"\n\n",
        ),
        ("p2", "function = \"p2\"\ntarget = \"tcx/ingress/${param.interface}\"\n\n"),
    ] {
        assert!(source.contains(&format!("[program.{program}]\n{table}")), "{source}");
    }
    assert!(source.contains("[param.interface_p1]\ntype = \"interface\"\n"), "{source}");
    assert!(unmapped.iter().any(|told| told.contains("p0, p1")), "{unmapped:?}");
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
    for (said, license) in [
        ("MIT", "MIT"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPL-2.0-only OR BSD-2-Clause", "GPL-2.0-only OR BSD-2-Clause"),
    ] {
        let objects = [object("x", &SOURCE.replace("Dual BSD/GPL", said))];
        let source = describe(&wanted(None), &objects, &Said::default()).unwrap().source;
        assert!(source.contains(&format!("license = \"{license}\"\n")), "{source}");
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
