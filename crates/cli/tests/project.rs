//! `skep new`, `build`, `pack` and `inspect` as they are typed: what they make, and what each mistake is answered with.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod wait;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder with a project in it, `opens`, as `skep new` makes it.
struct Bench {
    folder: TempDir,
    said: String,
}

impl Bench {
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), said: String::new() }
    }

    fn new() -> Self {
        let bench = Self::empty();
        bench.run(&["new", "acme/opens"]);
        bench
    }

    fn built() -> Self {
        let bench = Self::new();
        bench.run(&["build", "opens", "--btf", "host"]);
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn skep(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.current_dir(self.folder.path()).args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path());
        command
    }

    /// Puts a link to a file of the machine in a file's place.
    fn lead_out(&self, name: &str) {
        let path = self.path("opens").join(name);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
    }

    fn run(&self, args: &[&str]) -> String {
        let output = wait::output(&mut self.skep(args));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skep {}: {text}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Adds what a command that must fail says, with its exit status.
    fn refused(&mut self, what: &str, command: &mut Command) {
        let output = wait::output(command);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(output.stdout.is_empty(), "{what}: a failure has no answer");
        let status = output.status.code().unwrap();
        let text = text.replace(&*self.folder.path().to_string_lossy(), "FOLDER");
        writeln!(self.said, "## {what}: {status}\n{text}").unwrap();
    }

    fn refuses(&mut self, what: &str, args: &[&str]) {
        let mut command = self.skep(args);
        self.refused(what, &mut command);
    }

    /// Puts `with` in the place of `part` of a file of the project, for one refusal.
    fn refuses_with(&mut self, what: &str, file: &str, part: &str, with: &str, args: &[&str]) {
        let path = self.path("opens").join(file);
        let good = fs::read_to_string(&path).unwrap();
        let bad = good.replacen(part, with, 1);
        assert_ne!(good, bad, "{what}");
        fs::write(&path, bad).unwrap();
        self.refuses(what, args);
        fs::write(&path, good).unwrap();
    }
}

const BUILD: &[&str] = &["build", "opens", "--btf", "host", "--arch", "x86_64"];
const PACK: &[&str] = &["pack", "opens", "--btf", "host", "--arch", "x86_64"];

#[test]
fn a_new_package_of_each_template_builds_packs_and_shows_what_it_holds() {
    for template in ["tracepoint", "xdp"] {
        let bench = Bench::empty();
        bench.run(&["new", "acme/first", "--template", template]);
        bench.run(&["pack", "first", "--btf", "host", "-o", "layout"]);
        let object = bench.run(&["inspect", "first"]);
        insta::assert_snapshot!(format!("inspect_{template}"), object);
        let json: serde_json::Value =
            serde_json::from_str(&bench.run(&["inspect", "layout", "--output", "json"])).unwrap();
        assert_eq!(json["package"]["manifest"]["package"]["name"], "acme/first");
        assert_eq!(json["package"]["architectures"], serde_json::json!(["x86_64", "aarch64"]));
        let programs = json["objects"][0]["programs"].as_array().unwrap();
        assert_eq!(programs.len(), 1);
        let file = bench.run(&["inspect", "first/build/aarch64/first.bpf.o"]);
        assert!(file.contains("kills     nothing") && file.contains("MAP"), "{file}");
    }
}

/// The three packages that the standard shows whole, with code behind them.
#[test]
fn the_examples_of_the_standard_are_packed_and_nothing_in_them_could_be_better() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let spec = here.join("../../spec");
    for (example, sources, objects) in [
        ("acceleration", &["drop.c"][..], &["drop.x86_64.o", "drop.aarch64.o"][..]),
        ("hardening", &["guard.c"], &["guard.o"]),
        ("observation", &["blockstat.bpf.c", "hist.bpf.c"], &[]),
    ] {
        let bench = Bench::empty();
        let folder = bench.path(example);
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("README.md"), "An example.\n").unwrap();
        fs::copy(spec.join(format!("examples/{example}.toml")), folder.join("skep.toml")).unwrap();
        for source in sources {
            let source = here.join("tests/c").join(source);
            fs::copy(&source, folder.join("src").join(source.file_name().unwrap())).unwrap();
            for object in objects {
                let clang = Command::new("clang")
                    .args(["-target", "bpf", "-O2", "-g", "-mcpu=v3", "-Wno-unused-variable", "-I"])
                    .arg(spec.join("vectors/files/objects"))
                    .arg("-c")
                    .arg(&source)
                    .arg("-o")
                    .arg(folder.join(object))
                    .status();
                assert!(clang.unwrap().success(), "{example}");
            }
        }
        bench.run(&["pack", example, "--btf", "host", "--arch", "x86_64", "-o", "layout"]);
        bench.run(&["lint", example]);
        let shown: serde_json::Value =
            serde_json::from_str(&bench.run(&["inspect", "layout", "--output", "json"])).unwrap();
        let source = fs::read_to_string(folder.join("skep.toml")).unwrap();
        let name = shown["package"]["manifest"]["package"]["name"].as_str().unwrap();
        assert!(source.contains(&format!("name = \"{name}\"")), "{example}: {name}");
    }
}

#[test]
fn a_package_without_a_publisher_is_an_example_s() {
    let bench = Bench::empty();
    bench.run(&["new", "opens"]);
    let text = fs::read_to_string(bench.path("opens/skep.toml")).unwrap();
    assert!(text.contains("name = \"example/opens\""), "{text}");
}

#[test]
fn the_same_source_gives_the_same_bytes_in_another_folder_for_another_user() {
    let (one, two) = (Bench::new(), Bench::new());
    fs::create_dir(two.path("deeper")).unwrap();
    fs::rename(two.path("opens"), two.path("deeper/other")).unwrap();
    let first = one.run(&["pack", "opens", "--btf", "host", "--output", "json"]);
    let mut command = two.skep(&["pack", "--btf", "host", "--output", "json"]);
    command.current_dir(two.path("deeper/other")).env("USER", "nobody").env("LANG", "de_DE");
    let second = wait::output(&mut command);
    let digest =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["digest"].clone();
    assert_eq!(digest(&first), digest(&String::from_utf8(second.stdout).unwrap()));
    for arch in ["x86_64", "aarch64"] {
        let object = format!("build/{arch}/opens.bpf.o");
        let (a, b) = (one.path("opens").join(&object), two.path("deeper/other").join(&object));
        let bytes = fs::read(a).unwrap();
        assert_eq!(bytes, fs::read(b).unwrap());
        let home = one.folder.path().to_string_lossy().into_owned();
        assert!(!bytes.windows(home.len()).any(|part| part == home.as_bytes()));
    }
}

#[test]
fn several_sources_become_one_object() {
    let bench = Bench::new();
    let toml = bench.path("opens/skep.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let both = r#"["src/opens.bpf.c", "src/more.bpf.c"]"#;
    fs::write(&toml, text.replace(r#"["src/opens.bpf.c"]"#, both)).unwrap();
    let more = "#include \"vmlinux.h\"\n#include <bpf/bpf_helpers.h>\nSEC(\"xdp\") int more(struct xdp_md *ctx) { return XDP_PASS; }\nchar LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";\n";
    fs::write(bench.path("opens/src/more.bpf.c"), more.replace("char LICENSE", "// char LICENSE"))
        .unwrap();
    bench.run(BUILD);
    let text = bench.run(&["inspect", "opens"]);
    assert!(text.contains("on_open") && text.contains("more"), "{text}");
}

/// Two sources that define one symbol, and a folder that only others may write to.
/// As an editor's build beside one in a terminal.
#[test]
fn builds_of_one_project_at_once_do_not_take_each_other_s_files_away() {
    let bench = Bench::built();
    let layouts = ["a", "b", "c", "d"];
    let start = |layout: &&str| {
        let mut pack =
            bench.skep(&["pack", "opens", "--btf", "host", "--arch", "x86_64", "-o", layout]);
        pack.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for _ in 0..2 {
        let packs: Vec<_> = layouts.iter().map(start).collect();
        for pack in packs {
            let output = pack.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        layouts.iter().for_each(|layout| fs::remove_dir_all(bench.path(layout)).unwrap());
    }
    let left =
        fs::read_dir(bench.path("opens/build/x86_64")).unwrap().map(|e| e.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["include", "opens.bpf.json", "opens.bpf.o"]);
}

#[test]
fn what_a_source_becomes_is_not_taken_for_an_object() {
    let bench = Bench::new();
    let (folder, text) =
        (bench.path("opens"), fs::read_to_string(bench.path("opens/skep.toml")).unwrap());
    fs::rename(folder.join("src/opens.bpf.c"), folder.join("opens.bpf.c")).unwrap();
    let more = "\n[object.zz]\nsources = [\"opens.bpf.c\"]\narch = [\"x86_64\"]\n";
    let text = text.replace("src/opens.bpf.c", "opens.bpf.c") + more;
    let text = text.replace("function =", "object = \"opens\"\nfunction =");
    // Both define its maps, of which one could be meant.
    let (before, from) = text.split_once("[map.opens]").unwrap();
    let text = format!("{before}{}", &from[from.find("[permissions]").unwrap()..]);
    fs::write(folder.join("skep.toml"), text).unwrap();
    bench.run(BUILD);
    for object in ["opens", "zz"] {
        assert!(bench.path(&format!("opens/build/x86_64/{object}.bpf.o")).exists(), "{object}");
    }
}

#[test]
fn what_a_build_fails_on_is_said_with_what_helps() {
    let mut bench = Bench::new();
    let both = ["\"src/opens.bpf.c\"", "\"src/opens.bpf.c\", \"src/more.bpf.c\""];
    let more = "#include \"vmlinux.h\"\n#include <bpf/bpf_helpers.h>\nSEC(\"xdp\") int on_open(struct xdp_md *ctx) { return XDP_PASS; }\n";
    fs::write(bench.path("opens/src/more.bpf.c"), more).unwrap();
    bench.refuses_with("a symbol twice", "skep.toml", both[0], both[1], BUILD);
    bench.run(BUILD);
    let mut chown = Command::new("chown");
    assert!(chown.args(["-R", "1"]).arg(bench.path("opens")).status().unwrap().success());
    let mut command = nobody(&bench, BUILD);
    bench.refused("no right to write to build", &mut command);
    fs::remove_dir_all(bench.path("opens/build")).unwrap();
    bench.refused("no right to make build", &mut command);
    insta::assert_snapshot!(bench.said);
}

/// `skep` as nobody, in a folder that it can reach but not write to.
fn nobody(bench: &Bench, args: &[&str]) -> Command {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_skep"), bench.path("skep")).unwrap();
    let mut command = Command::new("setpriv");
    command.current_dir(bench.folder.path()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["--reuid", "65534", "--clear-groups"]).arg(bench.path("skep")).args(args);
    command
}

#[test]
fn mistakes_around_new_are_named() {
    let mut bench = Bench::new();
    bench.refuses("a folder that holds something", &["new", "acme/opens"]);
    bench.refuses("a name that is none", &["new", "Acme/opens"]);
    bench.refuses("a template that is none", &["new", "acme/x", "--template", "kprobes"]);
    fs::write(bench.path("file"), "").unwrap();
    bench.refuses("a folder under a file", &["new", "acme/x", "--folder", "file/x"]);
    assert!(!bench.path("x").exists());
    insta::assert_snapshot!(bench.said);
}

#[test]
fn mistakes_in_skep_toml_are_named_all_at_once_where_they_stand() {
    let mut bench = Bench::new();
    bench.refuses("no package", &["build", "nowhere"]);
    let toml = bench.path("opens/skep.toml");
    let good = fs::read_to_string(&toml).unwrap();
    let bad = good
        .replace("summary", "sumary")
        .replace("version = \"0.1.0\"", "version = 1")
        .replace("type = \"pid\"", "type = \"pidd\"")
        .replace("kind = \"counter\"", "kind = [\"counter\"]");
    fs::write(&toml, bad + "\n[program.open]\nfunction = \"on_open\"\ntarget = \"fentry/${param.function}\"\n[aliases]\n").unwrap();
    for command in ["build", "pack", "inspect"] {
        bench.refuses(command, &[command, "opens"]);
    }
    fs::write(&toml, good.replace("spec = \"1.0\"", "spec = \"1.0")).unwrap();
    bench.refuses("no TOML", &["build", "opens"]);
    assert!(!bench.path("opens/build").exists() && !bench.path("opens/skep.lock").exists());
    insta::assert_snapshot!(bench.said);
}

#[test]
fn mistakes_around_build_are_named_and_nothing_is_built() {
    let mut bench = Bench::new();
    let mut command = bench.skep(BUILD);
    command.env("PATH", bench.path("empty"));
    bench.refused("no clang", &mut command);
    bench.refuses("a clang that is not there", &["build", "opens", "--clang", "./clang"]);
    old_clang(&bench.path("clang"));
    bench.refuses("an old clang", &["build", "opens", "--clang", "./clang"]);
    bench.refuses("a clang that is none", &["build", "opens", "--clang", "/bin/false"]);
    bench.refuses("a clang that is another program", &["build", "opens", "--clang", "/bin/echo"]);
    bench.refuses_with(
        "no kernel types",
        "skep.toml",
        "x86_64 = \"debian:6.12\", ",
        "",
        &["build", "opens", "--arch", "x86_64"],
    );
    bench.refuses_with(
        "a source of kernel types that is none",
        "skep.toml",
        "x86_64 = \"debian",
        "x86_64 = \"fedora",
        &["build", "opens", "--arch", "x86_64"],
    );
    bench.refuses(
        "kernel types from a file that is not there",
        &["build", "opens", "--btf", "none.btf"],
    );
    bench.refuses(
        "kernel types from a file of something else",
        &["build", "opens", "--btf", "opens/README.md"],
    );
    bench.refuses_with(
        "a source that is not there",
        "skep.toml",
        "src/opens.bpf.c",
        "src/open.bpf.c",
        BUILD,
    );
    bench.refuses("locked without a lock", &["build", "opens", "--btf", "host", "--locked"]);
    bench.lead_out("src/opens.bpf.c");
    bench.refuses("a source that is a link out of the folder", BUILD);
    assert!(!bench.path("opens/build/x86_64/opens.bpf.o").exists());
    insta::assert_snapshot!(bench.said);
}

fn old_clang(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, "#!/bin/sh\necho 'clang version 11.0.1-2'\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// clang's own words differ by version: only the place and that they come first are held.
#[test]
fn what_clang_says_is_passed_on_with_its_places() {
    let bench = Bench::new();
    let path = bench.path("opens/src/opens.bpf.c");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("count(pid);", "count(pit);")).unwrap();
    let output = wait::output(&mut bench.skep(BUILD));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("src/opens.bpf.c:51:8: error: "), "{said}");
    assert!(said.contains("error: src/opens.bpf.c does not compile for x86_64"), "{said}");
    assert!(!bench.path("opens/build/x86_64/opens.bpf.o").exists());
}

#[test]
fn a_lock_holds_the_build() {
    let mut bench = Bench::built();
    let lock = fs::read_to_string(bench.path("opens/skep.lock")).unwrap();
    let locked = ["build", "opens", "--btf", "host", "--locked"];
    bench.refuses("kernel types that are not pinned", &locked);
    let flags = "[object.opens]";
    bench.refuses_with(
        "other flags",
        "skep.toml",
        flags,
        "cflags = [\"-DX=1\"]\n[object.opens]",
        &locked,
    );
    bench.refuses_with("no lock file", "skep.lock", "version = 1", "version = ", &locked);
    assert_eq!(fs::read_to_string(bench.path("opens/skep.lock")).unwrap(), lock);
    // The digest of this machine's kernel and the version of its clang are not the same everywhere.
    let said = regex_free(&bench.said);
    insta::assert_snapshot!(said);
}

/// The text with digests cut out.
fn regex_free(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("sha256:DIGEST");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    out
}

#[test]
fn a_manifest_that_does_not_fit_its_objects_is_not_packed() {
    let mut bench = Bench::new();
    let append = "spec = \"1.0\"";
    let program = "spec = \"1.0\"\nprogram.open.function = \"on_opne\"";
    bench.refuses_with("a program that is not there", "skep.toml", append, program, PACK);
    let map = "spec = \"1.0\"\nmap.openz.upgrade = \"keep\"";
    bench.refuses_with("a map that is not there", "skep.toml", append, map, PACK);
    let (its, other) = ("map = \"events\"", "map = \"event\"");
    bench.refuses_with("an output of a map that is not there", "skep.toml", its, other, PACK);
    for (what, target) in
        [("a target that is none", "garbage"), ("another kind's target", "xdp/lo")]
    {
        let toml =
            format!("{append}\n[program.open]\nfunction = \"on_open\"\ntarget = \"{target}\"\n");
        bench.refuses_with(what, "skep.toml", append, &toml, PACK);
    }
    bench.refuses_with("a variable that is not there", "skep.toml", "only_pid", "only_pd", PACK);
    let all = "spec = \"1.0\"\nprogram.open.function = \"on_opne\"\nmap.openz.upgrade = \"keep\"";
    bench.refuses_with("several names that are not there", "skep.toml", append, all, BUILD);
    let fields = "map = \"events\"\nfields.comn.format = \"comm\"";
    bench.refuses_with("a field that is not there", "skep.toml", "map = \"events\"", fields, BUILD);
    let much = "spec = \"1.0\"\nprogram.open = { function = \"on_open\", target = \"xdp/lo\" }\n\
        program.no = { function = \"on_opne\", target = \"xdp\" }\nparam.two = { type = \"string\", rodata = \"only_pid\" }\n\
        map.\".rodata\".max_entries = 3\noutput.seen = { kind = \"stacks\", map = \"events\" }";
    bench.refuses_with("all that does not fit", "skep.toml", append, much, PACK);
    let lint = ["lint", "opens"];
    bench.refuses_with("the same by lint", "skep.toml", append, much, &lint);
    bench.refuses_with("a README that is not there", "skep.toml", "README.md", "README.txt", PACK);
    bench.refuses_with(
        "a licence that tools write differently",
        "skep.toml",
        "Apache-2.0",
        "A & B",
        PACK,
    );
    let what = "permissions that do not cover the code";
    bench.refuses_with(what, "skep.toml", "\"probe_read_user_str\", ", "", PACK);
    bench.refuses_with("no permissions", "skep.toml", "[permissions]", "[x-permissions]", PACK);
    bench.refuses_with(
        "a licence that the kernel refuses helpers to",
        "src/opens.bpf.c",
        "Dual BSD/GPL",
        "Apache-2.0",
        PACK,
    );
    assert!(!bench.path("opens/build/package").exists(), "nothing is left of what was refused");
    fs::write(bench.path("file"), "").unwrap();
    let mut args = PACK.to_vec();
    args.extend(["-o", "file"]);
    bench.refuses("a layout that is a file", &args);
    bench.lead_out("README.md");
    bench.refuses("a README that is a link out of the folder", PACK);
    insta::assert_snapshot!(bench.said);
}

#[test]
fn lint_names_what_would_be_better() {
    let bench = Bench::built();
    bench.run(&["lint", "opens"]); // the template as it is
    let text = fs::read_to_string(bench.path("opens/skep.toml")).unwrap();
    let wider = text.replace("[map.opens]\nupgrade = \"keep\"\n\n", "");
    let wider = wider.replace("\"map_*\"", "\"map_*\", \"send_signal\"");
    fs::write(bench.path("opens/skep.toml"), wider.replace("doc = ", "# doc = ")).unwrap();
    let output = wait::output(&mut bench.skep(&["lint", "opens"]));
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
    let rules = ["missing-doc", "missing-upgrade", "unneeded-permission"];
    let mut args = vec!["lint", "opens"];
    args.extend(rules.iter().flat_map(|rule| ["--allow", rule]));
    bench.run(&args);
    assert_eq!(wait::output(&mut bench.skep(&["lint", "--allow", "x"])).status.code(), Some(2));
}

/// Objects that are none, by name.
fn bad_objects(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let machine = |number: u16| {
        let mut bytes = good.to_vec();
        bytes[18..20].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let mut endless = good.to_vec();
    endless[40..48].copy_from_slice(&u64::MAX.to_le_bytes()); // e_shoff
    vec![
        ("text.o", b"int main(void) {}\n".to_vec()),
        ("empty.o", Vec::new()),
        ("magic.o", good[..4].to_vec()),
        ("head.o", good[..60].to_vec()),
        ("half.o", good[..good.len() / 2].to_vec()),
        ("x86_64.o", machine(62)),
        ("arm64.o", machine(183)),
        ("endless.o", endless),
    ]
}

#[test]
fn what_is_no_object_is_neither_shown_nor_packed() {
    let mut bench = Bench::built();
    let good = fs::read(bench.path("opens/build/x86_64/opens.bpf.o")).unwrap();
    let mut objects = bad_objects(&good);
    objects.push(("no-btf.o", without_btf(&bench)));
    let toml = bench.path("opens/skep.toml");
    let text = fs::read_to_string(&toml).unwrap();
    for (name, bytes) in objects {
        fs::write(bench.path("opens").join(name), bytes).unwrap();
        bench.refuses(&format!("inspect {name}"), &["inspect", &format!("opens/{name}")]);
        let prebuilt = format!("[object.opens]\nfile = {{ x86_64 = \"{name}\" }}\n[x-old]");
        fs::write(&toml, text.replace("[object.opens]", &prebuilt)).unwrap();
        bench.refuses(&format!("pack {name}"), &["pack", "opens"]);
        fs::write(&toml, &text).unwrap();
    }
    assert!(!bench.path("opens/build/package").exists());
    insta::assert_snapshot!(bench.said.replace(&good.len().to_string(), "SIZE"));
}

#[test]
fn instructions_are_listed_with_what_they_refer_to() {
    let mut bench = Bench::built();
    let object = "opens/build/x86_64/opens.bpf.o";
    let text = bench.run(&["inspect", object, "--disasm", "on_open"]);
    assert!(text.contains("program on_open in tp/syscalls/sys_enter_openat:\n"), "{text}");
    for (insn, note) in [("call 0x83", "bpf_ringbuf_reserve"), ("r1 = 0x0 ll", "map events")] {
        let line = text.lines().find(|line| line.contains(insn) && line.ends_with(note));
        assert!(line.is_some(), "{insn}, {note}: {text}");
    }
    assert!(text.contains("; ./src/opens.bpf.c:"), "{text}");
    let json = bench.run(&["inspect", "opens", "--disasm", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["name"], "on_open");
    assert_eq!(json[0]["instructions"][0]["at"], 0);
    bench.refuses("no such program", &["inspect", object, "--disasm", "on_opem"]);
    insta::assert_snapshot!(bench.said, @r"
    ## no such program: 2
    error: there is no program 'on_opem'
    hint: did you mean 'on_open'?
    ");
}

#[test]
fn what_changed_is_told_with_what_can_be_kept() {
    let bench = Bench::built();
    let object = "opens/build/x86_64/opens.bpf.o";
    fs::copy(bench.path(object), bench.path("old.o")).unwrap();
    let source = bench.path("opens/src/opens.bpf.c");
    let text = fs::read_to_string(&source).unwrap();
    let more = text.replacen("__u32 pid = ", "bpf_send_signal(9);\n\t__u32 pid = ", 1);
    assert_ne!(text, more);
    fs::write(&source, more).unwrap();
    bench.run(BUILD);
    let text = bench.run(&["diff", "old.o", object]);
    insta::assert_snapshot!(text.lines().take(5).collect::<Vec<_>>().join("\n"), @r"
    The new version may do more than the old one.

    object opens.bpf.o
    + power: sends signals to processes
    + helper bpf_send_signal
    ");
    let json = bench.run(&["diff", object, "old.o", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["wider"], false);
    assert_eq!(json["objects"]["old.o"]["changed"]["helpers"]["removed"][0], "send_signal");
    assert_eq!(json["objects"]["old.o"]["changed"]["maps"][2]["keeps"], "all");
    assert!(bench.run(&["inspect", object]).contains("kills     processes, by signals"));
}

#[test]
fn a_package_is_shown_and_compared_as_its_manifest_attaches_it() {
    let bench = Bench::built();
    let toml = bench.path("opens/skep.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let attach = |at: &str| {
        let program = format!("\n[program.open]\nfunction = \"on_open\"\ntarget = \"{at}\"\n");
        fs::write(&toml, format!("{text}{program}")).unwrap();
    };
    attach("fmod_ret/bpf_modify_return_test");
    let page = bench.run(&["inspect", "opens"]);
    assert!(page.contains("changes   what kernel functions return"), "{page}");
    assert!(!page.contains("sys_enter_openat"), "{page}");
    assert!(page.contains("Together, when full: "), "{page}");
    let copied =
        Command::new("cp").arg("-r").args([bench.path("opens"), bench.path("old")]).status();
    assert!(copied.unwrap().success());
    attach("lsm/file_open");
    let json = bench.run(&["diff", "old", "opens", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["wider"], true, "{json}");
    let added = &json["objects"]["opens"]["changed"];
    assert_eq!(added["hooks"]["added"][0], "lsm/file_open", "{added}");
    assert_eq!(added["powers"]["added"][0], "decides-access", "{added}");
}

#[test]
fn what_a_package_leaves_out_is_said_and_counts_once_it_runs() {
    let bench = Bench::new();
    let source = bench.path("opens/src/opens.bpf.c");
    let more = "SEC(\"raw_tp/sys_exit\") int kill(void *ctx) { bpf_send_signal(9); return 0; }\n";
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, format!("{text}\n{more}")).unwrap();
    let toml = bench.path("opens/skep.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let one = format!("{text}\n[program.open]\nfunction = \"on_open\"\n");
    fs::write(&toml, &one).unwrap();
    bench.run(BUILD);
    let page = bench.run(&["inspect", "opens"]);
    assert!(page.contains("kills     nothing"), "{page}");
    assert!(page.contains("In it, and not run by the package: kill"), "{page}");
    let copied =
        Command::new("cp").arg("-r").args([bench.path("opens"), bench.path("old")]).status();
    assert!(copied.unwrap().success());
    fs::write(&toml, format!("{one}[program.kill]\nfunction = \"kill\"\n")).unwrap();
    let text = bench.run(&["diff", "old", "opens"]);
    assert!(text.contains("The new version may do more than the old one."), "{text}");
    assert!(text.contains("+ helper bpf_send_signal"), "{text}");
}

#[test]
fn who_fills_a_program_array_is_named_as_one_to_be_wary_of() {
    let bench = Bench::new();
    let source = bench.path("opens/src/opens.bpf.c");
    let jumps = |values: &str| {
        format!(
            "struct {{ __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, int);\n\
             __array(values, int(void *)); }} jumps SEC(\".maps\"){values};\n\
             SEC(\"xdp\") int entry(struct xdp_md *c) {{ bpf_tail_call(c, &jumps, 0); return 0; }}\n"
        )
    };
    let last = "SEC(\"xdp\") int last(struct xdp_md *c) { return 0; }\n";
    let text = fs::read_to_string(&source).unwrap();
    let said = "Place for programs of others in jumps: one that is put there runs where entry hands over to it";
    for (values, is_open) in [("", true), (" = { .values = { [0] = (void *)&last } }", false)] {
        fs::write(&source, format!("{text}\n{last}{}", jumps(values))).unwrap();
        bench.run(BUILD);
        let object = "opens/build/x86_64/opens.bpf.o";
        let page = bench.run(&["inspect", object]);
        assert_eq!(page.contains(said), is_open, "{page}");
        let kept = if is_open { "open.o" } else { "filled.o" };
        fs::copy(bench.path(object), bench.path(kept)).unwrap();
    }
    let opened = bench.run(&["diff", "filled.o", "open.o"]);
    assert!(opened.starts_with("The new version may do more than the old one."), "{opened}");
    assert!(opened.contains("+ place for programs of others in jumps"), "{opened}");
    assert!(opened.contains("slots filled: none, was 0 last"), "{opened}");
    let filled = bench.run(&["diff", "open.o", "filled.o"]);
    assert!(filled.starts_with("The new version may do no more than the old one."), "{filled}");
}

#[test]
fn a_map_of_devices_with_room_for_programs_is_told_as_one_and_without_room_is_not() {
    let bench = Bench::new();
    let source = bench.path("opens/src/opens.bpf.c");
    let text = fs::read_to_string(&source).unwrap();
    for (value, is_open) in [("struct bpf_devmap_val", true), ("__u32", false)] {
        let devices = format!(
            "struct {{ __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 4); __type(key, int); __type(value, {value}); }}\n\
             ports SEC(\".maps\");\n\
             SEC(\"xdp\") int entry(struct xdp_md *c) {{ return bpf_redirect_map(&ports, 0, 0); }}\n"
        );
        fs::write(&source, format!("{text}\n{devices}")).unwrap();
        bench.run(BUILD);
        let page = bench.run(&["inspect", "opens/build/x86_64/opens.bpf.o"]);
        let said = "Place for programs of others in ports: one that is put there runs where entry hands over to it";
        assert_eq!(page.contains(said), is_open, "{page}");
    }
}

#[test]
fn code_that_is_other_code_is_told_though_it_is_as_long() {
    let bench = Bench::new();
    let source = bench.path("opens/src/opens.bpf.c");
    let text = fs::read_to_string(&source).unwrap();
    let program =
        |verdict: u8| format!("SEC(\"xdp\") int judge(void *ctx) {{ return {verdict}; }}\n");
    let line = "\n\n";
    for (name, code) in [
        ("drops.o", program(1)),
        ("sends.o", program(3)),
        ("moved.o", format!("{line}{}", program(1))),
    ] {
        fs::write(&source, format!("{text}\n{code}")).unwrap();
        bench.run(BUILD);
        fs::copy(bench.path("opens/build/x86_64/opens.bpf.o"), bench.path(name)).unwrap();
    }
    let text = bench.run(&["diff", "drops.o", "sends.o"]);
    assert!(text.contains("judge"), "{text}");
    assert!(text.contains("as many, not the same"), "{text}");
    assert!(!text.contains("on_open"), "{text}");
    let same = bench.run(&["diff", "drops.o", "moved.o"]);
    assert!(!same.contains("judge"), "{same}");
}

/// A C file compiled without `-g`.
fn without_btf(bench: &Bench) -> Vec<u8> {
    let text = "struct { int (*type)[1]; } m __attribute__((section(\".maps\"), used));\n__attribute__((section(\"xdp\"), used)) int f(void *c) { return m.type != 0; }\n";
    fs::write(bench.path("m.c"), text).unwrap();
    let mut clang = Command::new("clang");
    clang.current_dir(bench.folder.path());
    let status = clang.args(["-O2", "-target", "bpf", "-c", "m.c", "-o", "m.o"]).status().unwrap();
    assert!(status.success());
    fs::read(bench.path("m.o")).unwrap()
}

#[test]
fn what_is_no_package_is_not_shown() {
    let mut bench = Bench::new();
    bench.refuses("nothing there", &["inspect", "nothing"]);
    bench.refuses("a folder of something else", &["inspect", "opens/src"]);
    bench.refuses("a project that is not built", &["inspect", "opens"]);
    bench.refuses("no registry and no hub", &["inspect", "acme/opens:1.0.0"]);
    insta::assert_snapshot!(bench.said);
}

/// Every blob in turn, cut short or taken away: each time it is said which, and nothing is shown.
#[test]
fn a_truncated_package_is_not_shown() {
    let bench = Bench::new();
    bench.run(&["pack", "opens", "--btf", "host", "--arch", "x86_64", "-o", "layout"]);
    let blobs = bench.path("layout/blobs/sha256");
    let mut refused = 0;
    for entry in fs::read_dir(&blobs).unwrap() {
        let path = entry.unwrap().path();
        let good = fs::read(&path).unwrap();
        if String::from_utf8_lossy(&good).contains("diff_ids") {
            continue; // a config, which only other tools read
        }
        let is_readme = String::from_utf8_lossy(&good).contains("README.md\0");
        for bad in [Some(&good[..good.len() / 2]), None] {
            match bad {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None if is_readme => continue, // nodes do without, and fetch none
                None => fs::remove_file(&path).unwrap(),
            }
            let output = wait::output(&mut bench.skep(&["inspect", "layout"]));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{said}");
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(said.contains(&*name) && output.stdout.is_empty(), "{said}");
            refused += 1;
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(refused, 9, "index, platform manifest, object, manifest.json, README");
    bench.run(&["inspect", "layout"]);
}
