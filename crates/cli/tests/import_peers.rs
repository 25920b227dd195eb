//! `skep import` of what peers publish, and of what pretends to be that.
#![allow(clippy::unwrap_used)]

mod peers;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use peers::*;
use serde_json::{Value, json};
use support::{DockerRegistry, run, tool};
use typed::{refused, skep};

const OCI: [&str; 3] = [OCI_MANIFEST, OCI_CONFIG, OCI_LAYER];
const DOCKER: [&str; 3] = [DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER];
const PROGRAMS: &str = r#"{"exec":"tracepoint","pass":"tc","gone":"xdp"}"#;

fn toml(folder: &Path, project: &str) -> String {
    fs::read_to_string(folder.join(project).join("skep.toml")).unwrap()
}

/// A folder with an object, and a layer that holds it under a name of its own.
fn folder() -> (tempfile::TempDir, Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let elf = object(folder.path(), "exec", SOURCE);
    let layer = layer(folder.path(), &[("any-name", &elf)], &[]);
    (folder, elf, layer)
}

#[test]
fn an_image_of_bpfmans_becomes_a_package() {
    let (folder, elf, layer) = folder();
    let folder = folder.path();
    for (name, types) in [("by-oci", OCI), ("by-docker", DOCKER)] {
        let mut layout = Layout::new(&folder.join(name));
        let mut labels = labels(PROGRAMS);
        labels["org.opencontainers.image.licenses"] = "BSD-2-Clause".into();
        labels["org.opencontainers.image.version"] = "v1.2.3".into();
        layout.list(&layout.bpfman(types, &labels, &layer), None);
        let project = format!("from-{name}");
        let text = run(skep(folder).args(["import", name, "--folder", &project]));
        for told in [
            "the image names the program 'gone', which is not in its object",
            "the image calls 'pass' tc, and its section is xdp: the section counts",
            "the program 'message' (SEC(\"sk_msg\")) names no sockmap",
        ] {
            assert!(text.contains(told), "{text}");
        }
        let source = toml(folder, &project);
        for line in ["license = \"BSD-2-Clause\"", "version = \"1.2.3\"", "[output.events]"] {
            assert!(source.contains(line), "{source}");
        }
        let object = folder.join(&project).join(format!("objects/{}.o", name.replace('-', "_")));
        assert_eq!(fs::read(object).unwrap(), elf);
        run(skep(folder).args(["pack", &project]));
    }
}

#[test]
fn the_labels_of_bpfman_choose_programs_and_may_be_old_ones() {
    let (folder, _, layer) = folder();
    let folder = folder.path();
    let mut layout = Layout::new(&folder.join("layout"));
    let old = json!({"io.ebpf.program_type": "tracepoint", "io.ebpf.filename": "any-name",
        "io.ebpf.program_name": "own", "io.ebpf.bpf_function_name": "exec"});
    layout.list(&layout.bpfman(OCI, &old, &layer), Some("old"));
    layout.list(&layout.bpfman(OCI, &labels(r#"{"pass":"xdp"}"#), &layer), Some("new"));
    refused(skep(folder).args(["import", "layout"]), 2, "say which with --tag NAME");
    refused(skep(folder).args(["import", "layout", "--tag", "x"]), 2, "it lists old, new");
    for (tag, listed, left) in [("old", "exec", "pass"), ("new", "pass", "exec")] {
        let args = ["import", "layout", "--tag", tag, "--folder", tag];
        let text = run(skep(folder).args(args));
        assert!(text.contains(&format!("the program '{left}'")), "{text}");
        let source = toml(folder, tag);
        assert!(source.contains(&format!("[program.{listed}]")), "{source}");
        assert!(!source.contains(&format!("[program.{left}]")), "{source}");
    }
}

/// As `bpfman image build` does it for several architectures, through a registry, with what others lay beside the platforms.
#[test]
fn an_index_of_bpfmans_keeps_each_architectures_object() {
    let (folder, elf, layer) = folder();
    let folder = folder.path();
    let other = object(folder, "other", &SOURCE.replace("return 2", "return 1"));
    let other_layer = peers::layer(folder, &[("bpf_arm64_bpfel.o", &other)], &[]);
    let labels = labels(r#"{"exec":"tracepoint","pass":"xdp"}"#);
    let mut layout = Layout::new(&folder.join("layout"));
    let amd = on("amd64", &layout.bpfman(OCI, &labels, &layer));
    let arm = on("arm64", &layout.bpfman(OCI, &labels, &other_layer));
    let mut attestation = on("unknown", &layout.bpfman(OCI, &json!({}), b"none"));
    attestation["platform"]["os"] = "unknown".into();
    let ppc = on("ppc64le", &layout.bpfman(OCI, &labels, &layer));
    let all = [attestation, ppc, arm, amd];
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": all});
    let index = layout.document(OCI_INDEX, &index);
    layout.list(&index, Some("multi"));
    let registry = DockerRegistry::start();
    let image = format!("{}/bpfman-bytecode/xdp_pass:latest", registry.host);
    let copy = ["copy", "--all", "--dest-tls-verify=false", "oci:layout:multi"];
    let mut skopeo = Command::new(tool("skopeo"));
    skopeo.current_dir(folder).arg("--insecure-policy").args(copy);
    run(skopeo.arg(format!("docker://{image}")));
    run(skep(folder).args(["import", &image]));
    let source = toml(folder, "xdp-pass");
    let files = "file = { aarch64 = \"objects/aarch64/xdp_pass.o\", x86_64 = \"objects/x86_64/xdp_pass.o\" }";
    assert!(source.contains(files), "{source}");
    let read = |arch: &str| fs::read(folder.join(format!("xdp-pass/objects/{arch}/xdp_pass.o")));
    assert_eq!((read("x86_64").unwrap(), read("aarch64").unwrap()), (elf, other));
    run(skep(folder).args(["pack", "xdp-pass"]));
    // By digest, and one architecture of it.
    let mut crane = Command::new(tool("crane"));
    let digest = run(crane.env("HOME", folder).args(["digest", "--insecure", &image]));
    let digest = digest.trim(); // skopeo may write an index anew
    let by_digest = format!("{}/bpfman-bytecode/xdp_pass@{digest}", registry.host);
    let one = ["--arch", "aarch64", "--folder", "one"];
    run(skep(folder).args(["import", &by_digest]).args(one));
    let source = toml(folder, "one");
    assert!(source.contains("file = { aarch64 = \"objects/aarch64/xdp_pass.o\" }"), "{source}");
    refused(skep(folder).args(["import", &by_digest, "--arch", "s390x"]), 2, "no object for s390x");
    let absent = format!("{}/bpfman-bytecode/absent:latest", registry.host);
    refused(skep(folder).args(["import", &absent]), 1, "does not have it (404)");
}

/// Every object in its own image, which bpfman's clients read, and we do.
#[test]
fn an_export_to_bpfman_has_an_image_for_each_object() {
    let (folder, elf, _) = folder();
    let folder = folder.path();
    let other = object(folder, "other", &SOURCE.replace("return 2", "return 1"));
    run(skep(folder).args([
        "import",
        "exec.o",
        "other.o",
        "--folder",
        "both",
        "--name",
        "acme/both",
    ]));
    run(skep(folder).args(["pack", "both"]));
    let package = "both/build/package";
    let text = run(skep(folder).args(["export", package, "--to", "bpfman", "-o", "out"]));
    assert!(text.contains("exec (tracepoint), pass (xdp)\n"), "{text}");
    for told in ["the program 'message' of 'exec'", "parameters, whose variables", "permissions"] {
        assert!(text.contains(told), "{text}");
    }
    for (name, bytes) in [("exec", &elf), ("other", &other)] {
        run(skep(folder).args(["import", "out", "--tag", name, "--folder", name]));
        assert_eq!(&fs::read(folder.join(name).join("objects/out.o")).unwrap(), bytes);
        let source = toml(folder, name);
        assert!(source.contains("aarch64 = ") && source.contains("x86_64 = "), "{source}");
    }
    // One architecture: no index. Twice: the same bytes.
    let one = ["--arch", "x86_64", "--output", "json"];
    let digest = |out: &str| -> String {
        let args = ["export", package, "--to", "bpfman", "-o", out];
        let json = run(skep(folder).args(args).args(one));
        let json: Value = serde_json::from_str(&json).unwrap();
        json["images"][0]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest("one"), digest("again"));
    let manifest = folder.join("one/blobs/sha256").join(&digest("one")["sha256:".len()..]);
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1, "{manifest}");
    assert_eq!(manifest["config"]["mediaType"], OCI_CONFIG, "{manifest}");
    assert!(manifest.get("artifactType").is_none(), "{manifest}");
    // Nothing is left of what fails.
    object(folder, "none", &SOURCE.replace("SEC(\"xdp\")", "").replace("SEC(\"tp/", "SEC(\"iter/"));
    run(skep(folder).args(["import", "none.o"]));
    run(skep(folder).args(["pack", "none"]));
    let args = ["export", "none/build/package", "--to", "bpfman", "-o", "nothing"];
    refused(skep(folder).args(args), 1, "has no program that bpfman attaches");
    assert!(!folder.join("nothing").exists());
    refused(
        skep(folder).args(["export", "exec.o", "--to", "bpfman", "-o", "x"]),
        2,
        "is no package",
    );
}

/// docker's own media types, as crane, whose library bpfman publishes with, writes them.
#[test]
fn an_image_that_crane_made_is_read() {
    let (folder, _, _) = folder();
    let folder = folder.path();
    run(Command::new(tool("tar")).current_dir(folder).args(["-cf", "layer.tar", "exec.o"]));
    let registry = DockerRegistry::start();
    let image = format!("{}/a/exec:latest", registry.host);
    let crane = |args: &[&str]| {
        run(Command::new(tool("crane")).current_dir(folder).env("HOME", folder).args(args))
    };
    crane(&["append", "--insecure", "-f", "layer.tar", "-t", &image]);
    refused(skep(folder).args(["import", &image]), 1, "without the label io.ebpf.programs");
    let label = r#"io.ebpf.programs={"exec":"tracepoint"}"#;
    // crane reads commas as the end of a label.
    crane(&["mutate", "--insecure", &image, "--label", label, "--label", "io.ebpf.maps={}"]);
    let text = run(skep(folder).args(["import", &image]));
    assert!(text.starts_with("Made exec/ for local/exec: exec\n"), "{text}");
}

#[test]
fn images_that_pretend_to_be_bpfmans_are_refused_and_make_nothing() {
    let (folder, elf, good) = folder();
    let folder = folder.path();
    let mut cut = good.clone();
    cut.truncate(good.len() - 40);
    let zeros = vec![0; 80 << 20];
    let bomb = layer(folder, &[("x.o", &zeros)], &[]);
    assert!(bomb.len() < 1 << 20);
    let two = layer(folder, &[("a.o", &elf), ("b.o", &elf)], &[]);
    let text = layer(folder, &[("x.o", b"hello")], &[]);
    let half = layer(folder, &[("x.o", &elf[..elf.len() / 2])], &[]);
    let twice = r#"{"exec":"xdp","exec":"tracepoint"}"#;
    let list = json!(["exec"]).to_string();
    let wrong = [OCI_MANIFEST, OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd"];
    let artifact = [OCI_MANIFEST, "application/vnd.acme.config", "application/vnd.acme.layer"];
    type Case<'a> = (&'a str, [&'a str; 3], &'a str, &'a [u8], &'a str);
    let cases: [Case<'_>; 10] = [
        ("cut", OCI, PROGRAMS, &cut, "the layer cannot be decompressed"),
        ("bomb", OCI, PROGRAMS, &bomb, "more than the 67108864 bytes allowed"),
        ("two", OCI, PROGRAMS, &two, "the layer holds a second file"),
        ("text", OCI, PROGRAMS, &text, "this is not an ELF file"),
        ("half", OCI, PROGRAMS, &half, "the object is truncated"),
        ("twice", OCI, twice, &good, "the key 'exec' is there twice"),
        ("list", OCI, &list, &good, "its label io.ebpf.programs cannot be read"),
        ("zstd", wrong, PROGRAMS, &good, "it is no image of bpfman's"),
        ("artifact", artifact, PROGRAMS, &good, "its config is application/vnd.acme.config"),
        ("schema", [DOCKER_LIST, OCI_CONFIG, OCI_LAYER], PROGRAMS, &good, "has mediaType"),
    ];
    for (name, types, programs, layer, words) in cases {
        let mut layout = Layout::new(&folder.join("layouts").join(name));
        layout.list(&layout.bpfman(types, &labels(programs), layer), None);
        let image = format!("layouts/{name}");
        let output = wait::output(skep(folder).args(["import", &image, "--folder", "made"]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(words), "{name}: {error}");
        assert!(!folder.join("made").exists(), "{name}");
    }
}

#[test]
fn digests_sizes_and_indexes_of_strangers_are_held() {
    let (folder, _, good) = folder();
    let folder = folder.path();
    let case = |name: &str, damage: &dyn Fn(&mut Layout, Value) -> Value| {
        let mut layout = Layout::new(&folder.join(name));
        let entry = layout.bpfman(OCI, &labels(PROGRAMS), &good);
        let entry = damage(&mut layout, entry);
        layout.list(&entry, None);
    };
    let path = |layout: &Layout, entry: &Value| {
        let digest = entry["digest"].as_str().unwrap().trim_start_matches("sha256:");
        layout.path.join("blobs/sha256").join(digest)
    };
    case("size", &|_, mut entry| {
        entry["size"] = (entry["size"].as_u64().unwrap() + 1).into();
        entry
    });
    case("huge", &|_, mut entry| {
        entry["size"] = (1_u64 << 40).into();
        entry
    });
    case("altered", &|layout, entry| {
        let path = path(layout, &entry);
        let text = fs::read_to_string(&path).unwrap().replace("tar+gzip", "tar+gzyp");
        fs::write(path, text).unwrap();
        entry
    });
    case("missing", &|layout, entry| {
        fs::remove_file(path(layout, &entry)).unwrap();
        entry
    });
    case("nested", &|layout, entry| {
        let inner = json!({"schemaVersion": 2, "manifests": [on("amd64", &entry)]});
        let inner = on("amd64", &layout.document(OCI_INDEX, &inner));
        layout.document(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": [inner]}))
    });
    case("platforms", &|layout, entry| {
        let all = json!({"schemaVersion": 2, "manifests": [on("mips", &entry)]});
        layout.document(OCI_INDEX, &all)
    });
    case("many", &|layout, entry| {
        let all = vec![on("mips", &entry); 300];
        layout.document(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": all}))
    });
    case("none", &|layout, _| {
        layout.document(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": []}))
    });
    for (name, status, words) in [
        ("size", 4, "bytes, and"),
        ("huge", 4, "more than the 4194304 that are read"),
        ("altered", 4, "is damaged"),
        ("missing", 4, "holds no blob"),
        ("nested", 4, "its index lists another index"),
        ("platforms", 1, "it is for linux/mips"),
        ("many", 4, "more than the 256 allowed"),
        ("none", 1, "has nothing for Linux"),
    ] {
        refused(skep(folder).args(["import", name, "--folder", "made"]), status, words);
        assert!(!folder.join("made").exists(), "{name}");
    }
}

/// A layer's file may be called anything: its name goes nowhere.
#[test]
fn a_name_that_leads_out_is_written_nowhere() {
    let (folder, elf, _) = folder();
    let folder = folder.path();
    let within = folder.join("a/b");
    fs::create_dir_all(&within).unwrap();
    let out = ["-P", "--transform", "s,^,../../,"];
    let layer = layer(folder, &[("escaped.o", &elf)], &out);
    let mut layout = Layout::new(&within.join("layout"));
    layout.list(&layout.bpfman(OCI, &labels(PROGRAMS), &layer), None);
    run(skep(&within).args(["import", "layout", "--folder", "made"]));
    assert!(within.join("made/objects/layout.o").exists());
    let names = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    assert_eq!(names(&folder.join("a")), std::slice::from_ref(&within));
    assert!(!folder.join("escaped.o").exists());
}

const GADGET_OBJECT: &str = "application/vnd.gadget.ebpf.program.v1+binary";
const GADGET_WASM: &str = "application/vnd.gadget.wasm.program.v1+binary";
const GADGET_CONFIG: &str = "application/vnd.gadget.config.v1+yaml";

/// As the macros of gadget/macros.h leave them.
const GADGET: &str = "#define SEC(x) __attribute__((section(x), used))\n\
    struct ring { int (*type)[27]; int (*max_entries)[4096]; };\n\
    struct hash { int (*type)[1]; unsigned *key; unsigned *value; int (*max_entries)[64]; };\n\
    typedef unsigned long long gadget_timestamp; typedef unsigned gadget_errno; typedef char gadget_comm;\n\
    struct proc { gadget_comm comm[16]; unsigned pid; };\n\
    struct event { gadget_timestamp timestamp_raw; struct proc proc; gadget_errno error_raw; unsigned flags; };\n\
    struct ring events SEC(\".maps\"); struct hash stats SEC(\".maps\");\n\
    char LICENSE[] SEC(\"license\") = \"GPL\";\n\
    const void *gadget_tracer_open___events___event __attribute__((unused));\n\
    const struct event *__gadget_tracer_type_open __attribute__((unused));\n\
    const void *gadget_mapiter_totals___stats __attribute__((unused));\n\
    const void *gadget_param_failed __attribute__((unused)); const void *gadget_param_limit __attribute__((unused));\n\
    const volatile _Bool failed; const volatile int limit = 5; const volatile _Bool gadget_filter_by_mntns;\n\
    static long (*submit)(void *, void *, unsigned long, unsigned long) = (void *)130;\n\
    static void *(*look)(void *, void *) = (void *)1;\n\
    SEC(\"tracepoint/syscalls/sys_enter_openat\") int ig_open(void *c) {\n\
    struct event e = {0}; unsigned key = 0; e.flags = failed + limit + gadget_filter_by_mntns;\n\
    look(&stats, &key); return submit(&events, &e, sizeof(e), 0); }\n";

const GADGET_YAML: &str = "name: trace open\ndescription: trace open files\nhomepageURL: https://example.org/\n\
datasources:\n  open:\n    annotations:\n      cli.clear-screen-before: \"true\"\n    fields:\n\
\x20     flags:\n        annotations:\n          columns.hex: true\n          columns.alias: mode\n          columns.hidden: true\n\
\x20     error:\n        annotations:\n          description: Why\n  other:\n    fields: {}\n\
params:\n  ebpf:\n    failed:\n      key: only-failed\n      defaultValue: \"true\"\n      description: Only what failed\n\
\x20     alias: f\n    absent:\n      key: absent\n  wasm:\n    pretty:\n      key: pretty\n";

/// A gadget for one architecture.
fn gadget(path: &Path, yaml: &str, layers: &[(&str, &[u8])]) {
    let mut layout = Layout::new(path);
    let config = layout.blob(GADGET_CONFIG, yaml.as_bytes());
    let layers: Vec<Value> = layers.iter().map(|(kind, bytes)| layout.blob(kind, bytes)).collect();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers,
        "artifactType": "application/vnd.gadget.v1+binary"});
    let manifest = on("amd64", &layout.document(OCI_MANIFEST, &manifest));
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [manifest]});
    layout.list(&layout.document(OCI_INDEX, &index), Some("ghcr.io/acme/gadget/open:v1"));
}

#[test]
fn a_gadget_becomes_a_package_as_far_as_it_maps() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let elf = object(folder, "open", GADGET);
    gadget(&folder.join("open"), GADGET_YAML, &[(GADGET_OBJECT, &elf), (GADGET_WASM, b"\0asm")]);
    let text = run(skep(folder).args(["import", "open", "--folder", "made"]));
    let source = toml(folder, "made");
    insta::assert_snapshot!(format!("{text}---\n{source}"));
    run(skep(folder).args(["pack", "made"]));
}

#[test]
fn gadgets_that_are_none_are_refused_and_make_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let elf = object(folder, "open", GADGET);
    let one: &[(&str, &[u8])] = &[(GADGET_OBJECT, &elf)];
    let two: &[(&str, &[u8])] = &[(GADGET_OBJECT, &elf), (GADGET_OBJECT, b"x")];
    let none: &[(&str, &[u8])] = &[(GADGET_WASM, b"\0asm")];
    let half: &[(&str, &[u8])] = &[(GADGET_OBJECT, &elf[..elf.len() / 2])];
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\n";
    let lines = "\"a\\n\\x1b[2Jnot in\\nits\": 1\n";
    gadget(&folder.join("lines"), lines, one);
    let text = run(skep(folder).args(["import", "lines", "--folder", "of-lines"]));
    assert!(text.contains("  of its gadget.yaml: a [2Jnot in its\n"), "{text}");
    for (name, yaml, layers, words) in [
        ("two", GADGET_YAML, two, "2 layers with an object"),
        ("none", GADGET_YAML, none, "0 layers with an object"),
        ("half", GADGET_YAML, half, "the object is truncated"),
        ("twice", "name: a\nname: b\n", one, "the key 'name' is there twice"),
        ("laughs", laughs, one, "it has an anchor"),
        ("shape", "params: [1]\n", one, "'params' should be a mapping"),
        ("cut", "name: \"a", one, "it is not YAML"),
    ] {
        gadget(&folder.join(name), yaml, layers);
        refused(skep(folder).args(["import", name, "--folder", "made"]), 1, words);
        assert!(!folder.join("made").exists(), "{name}");
    }
}

/// What `ecc` says of [`SOURCE`].
fn meta() -> Value {
    json!({"bpf_skel": {
        "data_sections": [
            {"name": ".rodata", "variables": [{"name": "target_pid", "type": "unsigned int", "value": 7,
                "description": "Only of this process", "cmdarg": {"long": "pid", "short": "p"}}]},
            {"name": ".bss", "variables": [{"name": "hits", "type": "int"}, {"name": "__eunomia_dummy_event_ptr", "type": "void *"}]}],
        "maps": [{"ident": "events", "name": "events"}],
        "progs": [{"attach": "tp/sched/sched_process_exec", "link": true, "name": "exec"},
            {"attach": "xdp", "link": true, "name": "pass", "ifindex": 2}],
        "obj_name": "execs_bpf", "doc": {"brief": "Programs that start", "version": "0.2.0", "details": "More"}},
        "export_types": [{"name": "event", "members": [], "size": 20, "type_id": 9}],
        "poll_timeout_ms": 50, "eunomia_version": "0.3.4"})
}

#[test]
fn a_package_of_eunomias_becomes_one_of_ours_alone_and_out_of_an_image() {
    let (folder, elf, _) = folder();
    let folder = folder.path();
    let text = package_json(&elf, elf.len(), &meta());
    fs::write(folder.join("package.json"), &text).unwrap();
    let told = run(skep(folder).args(["import", "package.json"]));
    let source = toml(folder, "execs");
    insta::assert_snapshot!(format!("{told}---\n{source}"));
    assert_eq!(fs::read(folder.join("execs/objects/execs.o")).unwrap(), elf);
    run(skep(folder).args(["pack", "execs"]));
    // As ecli pushes it: one layer, whatever it is, that says it is WebAssembly.
    let image = |name: &str, bytes: &[u8]| {
        let mut layout = Layout::new(&folder.join(name));
        let config = layout.blob("application/vnd.wasm.config.v1+json", b"{}");
        let layer = layout.blob("application/vnd.wasm.content.layer.v1+wasm", bytes);
        layout.list(&layout.manifest(OCI_MANIFEST, &config, &[layer]), None);
    };
    image("by-ecli", text.as_bytes());
    run(skep(folder).args(["import", "by-ecli", "--folder", "again"]));
    assert_eq!(toml(folder, "again"), source);
    image("module", &[b"\0asm\x01\0\0\0......", &elf[..], b"..."].concat());
    let told = run(skep(folder).args(["import", "module", "--folder", "carved"]));
    assert!(told.contains("its WebAssembly module is left out"), "{told}");
    assert_eq!(fs::read(folder.join("carved/objects/object1.o")).unwrap(), elf);
    image("empty", b"\0asm\x01\0\0\0");
    refused(skep(folder).args(["import", "empty"]), 1, "embeds no BPF object");
    image("other", b"hello");
    refused(skep(folder).args(["import", "other"]), 1, "holds neither WebAssembly nor");
    let both = ["import", "package.json", "exec.o"];
    refused(skep(folder).args(both), 2, "'package.json' is imported alone");
}

#[test]
fn packages_that_are_none_of_eunomias_are_refused_and_make_nothing() {
    let (folder, elf, _) = folder();
    let folder = folder.path();
    let whole = package_json(&elf, elf.len(), &meta());
    let zeros = vec![0; 4 << 20];
    let twice = whole.replacen('{', "{\"meta\":{},", 1);
    let value: Value = serde_json::from_str(&whole).unwrap();
    let packed = value["bpf_object"].as_str().unwrap();
    let with =
        |object: &str| json!({"bpf_object": object, "bpf_object_size": elf.len()}).to_string();
    for (text, words) in [
        (whole[..whole.len() / 2].to_owned(), "it is not JSON"),
        (twice, "the key 'meta' is there twice"),
        ("{}".to_owned(), "it is not JSON as it should be"),
        (
            package_json(&zeros, 1000, &json!({})),
            "bpf_object_size is 1000, and bpf_object holds more",
        ),
        (package_json(&elf, elf.len() + 1, &json!({})), "bytes"),
        (package_json(&elf, 1 << 40, &json!({})), "more than the 67108864 bytes"),
        (package_json(b"hello", 5, &json!({})), "bpf_object is no object"),
        (with("!"), "bpf_object is not base64"),
        (with("aGVsbG8="), "bpf_object cannot be decompressed"),
        (with(&packed[..packed.len() / 8 * 4]), "bpf_object cannot be decompressed"),
    ] {
        fs::write(folder.join("package.json"), &text).unwrap();
        let made = ["import", "package.json", "--folder", "made"];
        refused(skep(folder).args(made), 2, words);
        assert!(!folder.join("made").exists(), "{words}");
    }
}

/// What this machine's caches hold of peers: `scripts/setup.sh` fetches it.
fn cached(path: &str) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let path = cache.join("skep").join(path);
    assert!(path.exists(), "{} is needed: run 'make test', which fetches it", path.display());
    path
}

/// What eunomia's own crates ship: by ecc of several versions, with and without options, samples and attach points.
#[test]
fn packages_that_eunomia_ships_are_packed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (file, lines) in [
        (
            "bpf-loader-lib-0.2.1/assets/bootstrap.json",
            &["struct = \"event\"", "rodata = \"min_duration_ns\""][..],
        ),
        (
            "bpf-loader-lib-0.2.1/assets/runqlat.json",
            &["kind = \"histogram\"", "[param.targ_tgid]"],
        ),
        ("bpf-loader-lib-0.2.1/assets/simple_prog_3/package.json", &["struct = \"OutData\""]),
        (
            "bpf-loader-lib-0.2.1/assets/simple_prog_5/package.json",
            &["target = \"xdp/${param.interface}\""],
        ),
        (
            "bpf-loader-lib-0.2.1/assets/simple_prog_6/package.json",
            &["target = \"tcx/ingress/${param.interface}\""],
        ),
        ("ecli-lib-0.2.9/tests/bootstrap.json", &["[program.handle_exec]"]),
        ("ecli-lib-0.2.9/tests/bootstrap.wasm", &["[program.handle_exit]"]),
    ] {
        let project = file.replace(['/', '.'], "-");
        let args = ["--folder", &project, "--license", "GPL-2.0-only"];
        run(skep(folder).arg("import").arg(cached(&format!("eunomia/{file}"))).args(args));
        let source = toml(folder, &project);
        lines.iter().for_each(|line| assert!(source.contains(line), "{file}: {source}"));
        run(skep(folder).args(["pack", &project]));
    }
}

/// Inspektor Gadget's own gadgets, by its own builder, for two architectures; one runs.
#[test]
fn gadgets_that_inspektor_gadget_builds_are_packed_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let module = "github.com/inspektor-gadget/inspektor-gadget@v0.55.0";
    let json = Command::new("go").args(["mod", "download", "-json", module]).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let theirs = PathBuf::from(json["Dir"].as_str().unwrap());
    let include = folder.join("include");
    fs::create_dir_all(include.join("bpf")).unwrap();
    for (name, text) in skep_kernel::kit::headers() {
        fs::write(include.join("bpf").join(name), text).unwrap();
    }
    for (name, lines) in [
        (
            "trace_open",
            &[
                "rodata = \"targ_failed\"\ndefault = false",
                "fields.timestamp_raw = { format = \"ktime\", name = \"timestamp\" }",
            ][..],
        ),
        ("snapshot_process", &["[param.threads]\ntype = \"bool\"\nrodata = \"show_threads\""]),
    ] {
        let gadget = theirs.join("gadgets").join(name);
        let built = |arch: &str, target: &str| {
            let object = folder.join(format!("{name}.{arch}.o"));
            let mut clang = Command::new(tool("clang"));
            clang.args(["-target", "bpf", "-O2", "-g", "-c", "-o"]).arg(&object);
            clang.arg(gadget.join("program.bpf.c")).arg(format!("-D__TARGET_ARCH_{target}"));
            for folder in
                [&include, &theirs.join("include"), &theirs.join("include/gadget").join(arch)]
            {
                clang.arg("-I").arg(folder);
            }
            run(&mut clang);
            object
        };
        let (amd, arm) = (built("amd64", "x86"), built("arm64", "arm64"));
        // It keeps images under /var/lib: in a folder of this process's own.
        let own = "mount -t tmpfs none /var/lib && exec \"$@\"";
        let mut build = Command::new(tool("unshare"));
        build.args(["--mount", "sh", "-c", own, "sh"]).arg(tool("gadget-image"));
        build
            .arg(format!("{name}:v1"))
            .arg(folder.join("image.tar"))
            .arg(gadget.join("gadget.yaml"));
        run(build.arg("amd64").arg(amd).arg("arm64").arg(arm));
        let layout = folder.join("layouts").join(name);
        fs::create_dir_all(&layout).unwrap();
        run(Command::new(tool("tar"))
            .arg("-C")
            .arg(&layout)
            .arg("-xf")
            .arg(folder.join("image.tar")));
        run(skep(folder).arg("import").arg(&layout).args(["--folder", name]));
        let source = toml(folder, name);
        lines.iter().for_each(|line| assert!(source.contains(line), "{name}: {source}"));
        run(skep(folder).args(["pack", name]));
    }
    runs(folder);
}

/// What this process opens is shown: the one that its parameter names.
fn runs(folder: &Path) {
    let own = std::process::id();
    let mut command = skep(folder);
    command.args(["run", "trace_open", "--events", "3", "--output", "ndjson", "--set"]);
    command.arg(format!("targ_pid={own}")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let open = || drop(fs::File::open(folder.join("image.tar")).unwrap());
    let output = wait::ended_while("skep run", command.spawn().unwrap(), open);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3, "{text}");
    for event in events {
        assert_eq!(
            (&event["output"], &event["event"]["proc"]["pid"]),
            (&json!("open"), &json!(own))
        );
    }
}
