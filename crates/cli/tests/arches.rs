//! `skep inspect` and `skep diff` of packages: what any architecture, default or line of the manifest changes is told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod wait;

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const QUIET: &str = r#"
#define SEC(name) __attribute__((section(name), used))
const volatile int verbose = 0;
static long (*send_signal)(unsigned) = (void *)109;
SEC("raw_tp/task_rename") int on(void *ctx) { BODY return 0; }
char LICENSE[] SEC("license") = "GPL";
"#;

/// A folder with objects that do nothing (`quiet.o`), kill (`kills.o`), and kill if a constant says so (`asks.o`).
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        for (name, body) in
            [("quiet", ""), ("kills", "send_signal(9);"), ("asks", "if (verbose) send_signal(9);")]
        {
            bench.compile(name, &QUIET.replace("BODY", body));
        }
        bench
    }

    /// Makes the object `name.o`.
    fn compile(&self, name: &str, source: &str) {
        let folder = self.0.path();
        let (file, object) = (folder.join("x.c"), folder.join(format!("{name}.o")));
        fs::write(&file, source).unwrap();
        let mut clang = Command::new("clang");
        clang.args(["-target", "bpf", "-O2", "-g", "-c", "-o"]).arg(object).arg(file);
        assert!(clang.status().unwrap().success());
    }

    /// Packs a package of these objects, with tables behind its permissions.
    fn pack(&self, name: &str, version: &str, file: &str, tables: &str) {
        let folder = self.0.path().join(name);
        fs::create_dir(&folder).unwrap();
        for object in ["quiet.o", "kills.o", "asks.o"] {
            fs::copy(self.0.path().join(object), folder.join(object)).unwrap();
        }
        let permissions = if tables.contains("[permissions]") { "" } else { PERMISSIONS };
        let text = format!(
            "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"{version}\"\nlicense = \"MIT\"\n\
             [object.x]\nfile = {{ {file} }}\n{tables}\n{permissions}"
        );
        fs::write(folder.join("skep.toml"), text).unwrap();
        if tables.contains("[dependencies.") {
            fs::write(folder.join("skep.lock"), LOCK).unwrap();
        }
        self.run(&["pack", name, "-o", &format!("{name}.oci")]);
    }

    fn run(&self, args: &[&str]) -> String {
        let output = wait::output(&mut self.skep(args));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skep {}: {text}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["--output", "json"]].concat())).unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = wait::output(&mut self.skep(args));
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    fn skep(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.current_dir(self.0.path()).args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.0.path());
        command
    }
}

/// What was found of the package that is needed: no registry is asked again.
const LOCK: &str = "version = 1\n[dependencies.\"acme/y\"]\nversion = \"1.0.0\"\n\
     digest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";
const PERMISSIONS: &str =
    "[permissions]\nhooks = [\"raw_tp\"]\nhelpers = [\"send_signal\"]\nmap-memory = \"1KiB\"\n";
const BOTH: &str = "x86_64 = \"quiet.o\", aarch64 = \"quiet.o\"";
const DIFFER: &str = "x86_64 = \"quiet.o\", aarch64 = \"kills.o\"";

/// The line of a page that begins with a word.
fn line<'a>(page: &'a str, word: &str) -> &'a str {
    page.lines().find(|line| line.starts_with(word)).unwrap_or_default()
}

#[test]
fn what_any_architecture_may_do_is_shown_and_compared() {
    let bench = Bench::new();
    bench.pack("old", "1.0.0", BOTH, "");
    bench.pack("new", "1.1.0", DIFFER, "");
    let page = bench.run(&["inspect", "old.oci"]);
    assert_eq!(line(&page, "kills"), "kills     nothing");
    assert!(page.contains("\nobject x: ") && !page.contains("together"), "{page}");
    let page = bench.run(&["inspect", "new.oci"]);
    assert_eq!(line(&page, "kills"), "kills     processes, by signals on aarch64", "{page}");
    assert!(page.contains("\nobject x for x86_64: ") && page.contains("\nobject x for aarch64: "));
    let json = bench.json(&["inspect", "new.oci"]);
    assert_eq!(json["powers"][0]["power"], "sends-signals");
    assert_eq!(json["powers"][0]["architectures"], serde_json::json!(["aarch64"]));
    assert_eq!(json["objects"][0]["architectures"], serde_json::json!(["x86_64"]));
    let disasm = bench.run(&["inspect", "new.oci", "--disasm", "on"]);
    assert!(disasm.contains("object x for aarch64"), "{disasm}");

    let text = bench.run(&["diff", "old.oci", "new.oci"]);
    assert!(text.contains("The new version may do more than the old one."), "{text}");
    assert!(text.contains("object x for aarch64\n+ power: sends signals to processes"), "{text}");
    let json = bench.json(&["diff", "old.oci", "new.oci"]);
    assert_eq!(json["wider"], true);
    let added = &json["objects"]["x for aarch64"]["changed"]["helpers"]["added"];
    assert_eq!(added, &serde_json::json!(["send_signal"]));
    assert_eq!(bench.json(&["diff", "new.oci", "old.oci"])["wider"], false);
}

#[test]
fn one_architecture_can_be_looked_at() {
    let bench = Bench::new();
    bench.pack("old", "1.0.0", "x86_64 = \"quiet.o\"", "");
    bench.pack("new", "1.1.0", DIFFER, "");
    let page = bench.run(&["inspect", "new.oci", "--arch", "x86_64"]);
    assert_eq!(line(&page, "kills"), "kills     nothing");
    let said = line(&page, "architectures");
    assert!(said.ends_with("; not looked at: aarch64"), "{said}");
    let page = bench.run(&["inspect", "new", "--arch", "aarch64"]);
    assert!(line(&page, "object x: ").starts_with("object x: "), "{page}");
    let said = bench.refused(&["inspect", "old.oci", "--arch", "riscv64"]);
    assert!(
        said.contains("has nothing for riscv64") && said.contains("it is for x86_64"),
        "{said}"
    );
    let said = bench.refused(&["inspect", "quiet.o", "--arch", "aarch64"]);
    assert!(said.contains("--arch is for packages"), "{said}");
    let one = bench.json(&["diff", "old.oci", "new.oci", "--arch", "x86_64"]);
    assert_eq!(one["wider"], false, "{one}");
    // Nobody has seen what the old version does there.
    let all = bench.json(&["diff", "old.oci", "new.oci"]);
    assert_eq!((&all["wider"], &all["objects"]["x for aarch64"]), (&true.into(), &"added".into()));
}

#[test]
fn defaults_of_the_manifest_count() {
    let bench = Bench::new();
    let loud = |default| {
        format!("[param.loud]\ntype = \"int\"\nrodata = \"verbose\"\ndefault = {default}")
    };
    let at = |place| {
        format!(
            "[param.tp]\ntype = \"string\"\ndefault = \"{place}\"\n\
             [program.on]\nfunction = \"on\"\ntarget = \"raw_tp/${{param.tp}}\""
        )
    };
    let file = "x86_64 = \"asks.o\"";
    bench.pack("off", "1.0.0", file, &loud("0"));
    bench.pack("on", "1.1.0", file, &loud("1"));
    bench.pack("here", "1.0.0", file, &at("task_rename"));
    bench.pack("there", "1.1.0", file, &at("sys_enter"));
    let page = bench.run(&["inspect", "off.oci"]);
    assert!(page.contains("off unless verbose is changed (parameter loud)"), "{page}");
    let page = bench.run(&["inspect", "on.oci"]);
    assert!(page.contains("depends on verbose (parameter loud)"), "{page}");
    assert!(!page.contains("off unless"), "{page}");
    let text = bench.run(&["diff", "off.oci", "on.oci"]);
    assert!(text.contains("may do more than the old one."), "{text}");
    assert!(text.contains("+ power that was off: sends signals to processes"), "{text}");
    assert!(!text.contains("FIELD OF"), "one object is in both: {text}");
    assert_eq!(bench.json(&["diff", "on.oci", "off.oci"])["wider"], false);

    let page = bench.run(&["inspect", "here.oci"]);
    assert!(page.contains("raw_tp/task_rename (raw_tp/${param.tp})"), "{page}");
    let text = bench.run(&["diff", "here.oci", "there.oci"]);
    assert!(text.contains("may do more than the old one."), "{text}");
    assert!(text.contains("+ hook raw_tp/sys_enter\n- hook raw_tp/task_rename"), "{text}");
}

#[test]
fn all_that_two_manifests_say_is_compared() {
    let bench = Bench::new();
    let file = "x86_64 = \"kills.o\"";
    bench.pack("old", "1.0.0", file, "[program.on]\nfunction = \"on\"");
    let wide = "[program.on]\nfunction = \"on\"\noptional = true\n\
         [requirements]\nmodules = [\"nbd\"]\n[dependencies.\"acme/y\"]\nversion = \"^1\"\n\
         [permissions]\nhooks = [\"*\"]\nhelpers = [\"*\"]";
    bench.pack("new", "1.1.0", file, wide);
    let text = bench.run(&["diff", "old.oci", "new.oci"]);
    let first =
        "The new version may do no more than the old one, but its [permissions] allow more.";
    assert!(text.contains(first), "{text}");
    for path in [
        "permissions.hooks",
        "permissions.helpers",
        "permissions.map-memory",
        "program.on.optional",
        "requirements.modules",
        "dependencies.acme/y.version",
    ] {
        assert!(text.lines().any(|line| line.starts_with(path)), "{path}: {text}");
    }
    let json = bench.json(&["diff", "old.oci", "new.oci"]);
    assert_eq!((&json["wider"], &json["package"]["permits_more"]), (&false.into(), &true.into()));
    let json = bench.json(&["diff", "new.oci", "old.oci"]);
    assert_eq!(json["package"]["permits_more"], false);
    assert_eq!(
        bench.json(&["diff", "old.oci", "old.oci"])["package"]["manifest"],
        Value::Array(vec![])
    );
}

/// Nobody looks at instructions of no function, so that new ones may do anything.
#[test]
fn instructions_of_no_function_that_are_new_or_others_make_a_version_wider() {
    let bench = Bench::new();
    for (name, loose) in [("two", "r0 = 0\\nexit"), ("calls", "call 109\\nexit"), ("one", "exit")] {
        let code = format!("asm(\".section xdp,\\\"ax\\\"\\n{loose}\\n\");");
        bench.compile(name, &format!("{}{code}", QUIET.replace("BODY", "")));
    }
    let said = |old: &str, new: &str| {
        let json = bench.json(&["diff", old, new]);
        let changed = &json["objects"][new]["changed"];
        assert_eq!(json["wider"], changed["loose"][0]["new"].is_string(), "{json}");
        let text = bench.run(&["diff", old, new]);
        let mut rows = text.lines().skip_while(|line| !line.starts_with("IN NO")).skip(1);
        let words = rows.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        (text.lines().next().unwrap().to_owned(), words.join(" "))
    };
    let wider = "The new version may do more than the old one, and instructions of it that belong to no function are new or others: nobody looked at them.";
    let no_wider = "The new version may do no more than the old one.";
    for (old, new, first, row) in [
        ("quiet.o", "one.o", wider, "xdp 1 instruction -"),
        ("one.o", "two.o", wider, "xdp 2 instructions 1 instruction"),
        ("two.o", "calls.o", wider, "xdp as many, not the same its instructions"),
        ("two.o", "quiet.o", no_wider, "xdp - 2 instructions"),
        ("calls.o", "calls.o", no_wider, ""),
    ] {
        assert_eq!(said(old, new), (first.to_owned(), row.to_owned()), "{old} to {new}");
    }
}

#[test]
fn lint_says_what_packing_refuses_of_the_code() {
    let bench = Bench::new();
    let folder = bench.0.path().join("refused");
    fs::create_dir(&folder).unwrap();
    let code = QUIET.replace("BODY", "long at; send_signal(9); read(&at, 8, ctx);");
    let read = "static long (*read)(void *, unsigned, void *) = (void *)113;\
                __attribute__((section(\"lsm/file_open\"), used)) int open(void *ctx) { return 0; }";
    bench.compile("refused/x", &format!("{read}{}", code.replace("\"GPL\"", "\"MIT\"")));
    let text = "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\nsummary = \"x\"\n\
                [object.x]\nfile = { x86_64 = \"x.o\", aarch64 = \"x.o\" }\n\
                [permissions]\nhooks = [\"xdp\"]\nhelpers = [\"send_signal\"]\n";
    fs::write(folder.join("skep.toml"), text).unwrap();
    let output =
        wait::output(&mut bench.skep(&["lint", "refused", "--allow", "unneeded-permission"]));
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    insta::assert_snapshot!(told.replace(bench.0.path().to_str().unwrap(), "FOLDER"), @r#"
    refused/skep.toml:7:9: a program of type lsm (in 'open', FOLDER/x.c:1) is for GPL-compatible programs only, and the object's licence is 'MIT': give it SEC("license") = "GPL" or "Dual BSD/GPL" (license.object)
    refused/skep.toml:7:9: bpf_probe_read_kernel (in 'on', FOLDER/x.c:5) is for GPL-compatible programs only, and the object's licence is 'MIT': give it SEC("license") = "GPL" or "Dual BSD/GPL" (license.object)
    refused/skep.toml:10:1: hooks lacks 'lsm': program 'open' attaches to lsm/file_open (permission.hook)
    refused/skep.toml:10:1: hooks lacks 'raw_tp': program 'on' attaches to raw_tp/task_rename (permission.hook)
    refused/skep.toml:11:1: helpers lacks 'probe_read_kernel', which is called by 'on' (permission.helper)
    "#);
    // Packing says the same of licences, all of it and where.
    let refused = bench.refused(&["pack", "refused"]);
    for licence in told.lines().filter(|line| line.ends_with("(license.object)")) {
        assert!(refused.contains(licence), "{refused}");
    }
    let refused = bench.refused(&["pack", "refused", "--output", "json"]);
    assert!(refused.contains(r#""code":"license.object""#), "{refused}");
}
