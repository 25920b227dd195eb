//! The objects of the tests: built by clang where there is one, read from a folder in a guest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::attach::{KINDS, NAMED};
use crate::equal::text;
use serde_json::{Value, json};
use skep_spec::{Digest, Manifest};
use skep_trust::{Package, Verified};

const SOURCE: &str = include_str!("../objects/numbered.bpf.c");
const ATTACH: &str = include_str!("../objects/attach.bpf.c");
const VICTIM: &str = include_str!("../objects/victim.bpf.c");
const PROBED: &str = include_str!("../objects/probed.c");
const TOGETHER: &str = include_str!("../objects/together.bpf.c");

/// Hooks by the name of their test: what is defined for version 1 and for version 2.
pub const SETS: &[(&str, [&[&str]; 2])] = &[
    ("raw_tp", [&["ON_RAW_TP"], &["ON_RAW_TP"]]),
    ("tp_btf", [&["ON_TP_BTF"], &["ON_TP_BTF"]]),
    ("tracepoint", [&["ON_TRACEPOINT"], &["ON_TRACEPOINT"]]),
    ("uprobe", [&["ON_UPROBE"], &["ON_UPROBE"]]),
    ("kprobe", [&["ON_KPROBE"], &["ON_KPROBE"]]),
    ("fentry", [&["ON_FENTRY"], &["ON_FENTRY"]]),
    ("fexit", [&["ON_FEXIT"], &["ON_FEXIT"]]),
    ("xdp", [&["ON_XDP"], &["ON_XDP"]]),
    ("tc", [&["ON_TC"], &["ON_TC"]]),
    ("cgroup_skb", [&["ON_CGROUP_SKB"], &["ON_CGROUP_SKB"]]),
    ("two", [&["ON_RAW_TP", "AND_EXTRA_OLD"], &["ON_RAW_TP", "AND_EXTRA_NEW"]]),
    ("choice", [&["ON_KPROBE", "ON_RAW_TP"], &["ON_RAW_TP"]]),
    ("rings", [&["ON_RAW_TP"], &["ON_RAW_TP", "RING=1048576"]]),
    ("small", [&["ON_RAW_TP", "RING=4096"], &["ON_RAW_TP", "RING=4096"]]),
    ("quiet", [&["ON_RAW_TP", "RING_FLAGS=BPF_RB_NO_WAKEUP"], &["ON_RAW_TP"]]),
    ("wide", [&["ON_RAW_TP", "WIDE"], &["ON_RAW_TP", "WIDE"]]),
    ("unions", [&["ON_RAW_TP", "UNIONS"], &["ON_RAW_TP", "UNIONS"]]),
    ("perf", [&["ON_RAW_TP", "PERF"], &["ON_RAW_TP", "PERF"]]),
    ("perfs", [&["ON_RAW_TP", "PERF"], &["ON_RAW_TP", "PERF", "SLOTS=4096"]]),
    ("grown", [&["ON_CGROUP_SKB"], &["ON_CGROUP_SKB", "ON_RAW_TP"]]),
    ("moved", [&["ON_CGROUP_SKB"], &["ON_RAW_TP"]]),
    ("moved_tc", [&["ON_TC"], &["ON_RAW_TP"]]),
    ("net", [&["ON_TC", "AND_EXTRA_OLD"], &["ON_TC", "AND_EXTRA_OLD"]]),
    ("ksyscall", [&["ON_KSYSCALL"], &["ON_KSYSCALL"]]),
    ("fmod_ret", [&["ON_FMOD_RET"], &["ON_FMOD_RET"]]),
    ("fentry_s", [&["ON_FENTRY_S", "SILENT"], &["ON_FENTRY_S", "SILENT"]]),
    ("fexit_s", [&["ON_FEXIT_S", "SILENT"], &["ON_FEXIT_S", "SILENT"]]),
    ("lsm", [&["ON_LSM"], &["ON_LSM"]]),
    ("iter", [&["ON_ITER"], &["ON_ITER"]]),
    ("iter_gone", [&["ON_ITER"], &["ON_RAW_TP"]]),
    ("fixed", [&["ON_RAW_TP"], &["ON_RAW_TP", "AND_UPROBES"]]),
];

/// Where the objects lie.
pub struct Objects(PathBuf);

impl Objects {
    /// Builds all into `folder`.
    pub fn build(folder: &Path) -> Result<Self, String> {
        let headers = folder.join("include/bpf");
        fs::create_dir_all(&headers).map_err(text)?;
        for (name, content) in skep_kernel::kit::headers() {
            fs::write(headers.join(name), content).map_err(text)?;
        }
        let source = folder.join("numbered.bpf.c");
        fs::write(&source, SOURCE).map_err(text)?;
        let objects = Self(folder.to_path_buf());
        for (set, versions) in SETS {
            for (version, hooks) in (1..).zip(versions) {
                compile(&source, &objects.file(set, version), version, hooks)?;
            }
        }
        let source = folder.join("attach.bpf.c");
        fs::write(&source, ATTACH).map_err(text)?;
        for kind in KINDS.iter().chain(NAMED) {
            let section = format!("KIND=\"{}\"", kind.section);
            let returns = format!("RETURNS=({})", kind.returns);
            let defines = [&[section.as_str(), &returns], kind.defines].concat();
            for version in [1, 2] {
                compile(&source, &objects.file(&kind.set(), version), version, &defines)?;
            }
        }
        link_probed(folder)?;
        let source = folder.join("victim.bpf.c");
        fs::write(&source, VICTIM).map_err(text)?;
        compile(&source, &folder.join("victim.o"), 1, &[])?;
        let source = folder.join("together.bpf.c");
        fs::write(&source, TOGETHER).map_err(text)?;
        for (name, defines) in crate::together::OBJECTS {
            compile(&source, &folder.join(format!("{name}.o")), 1, defines)?;
        }
        Ok(objects)
    }

    /// Those that were built before.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// A program with USDT probes.
    pub fn probed(&self) -> PathBuf {
        self.0.join("probed")
    }

    /// A program with a function that another one may replace.
    pub fn victim(&self) -> Result<Vec<u8>, String> {
        fs::read(self.0.join("victim.o")).map_err(text)
    }

    pub fn file(&self, set: &str, version: u32) -> PathBuf {
        self.0.join(format!("{set}.{version}.o"))
    }

    /// A version of a set as a package; `target` overrides where its main program attaches.
    pub fn package(
        &self,
        set: &str,
        version: u32,
        target: Option<&str>,
    ) -> Result<Package, String> {
        let file = self.file(set, version);
        let object = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let manifest: Manifest =
            serde_json::from_value(manifest(set, version, target)).map_err(text)?;
        let digest = Digest::of(&object);
        Ok(Package {
            index: digest,
            platform: digest,
            manifest_bytes: Vec::new(),
            manifest,
            objects: BTreeMap::from([("numbered".to_owned(), object)]),
            readme: None,
        })
    }
}

/// A package as the runtime takes it.
pub fn verified(package: Package) -> Verified<Package> {
    Verified::local(package)
}

/// The section of the other program of a set.
fn beside(set: &str) -> Option<&'static str> {
    let kind = KINDS.iter().chain(NAMED).find(|kind| kind.set() == set)?;
    let section = kind.defines.iter().find_map(|define| define.strip_prefix("BESIDE=\""))?;
    section.strip_suffix('"')
}

/// Of a test of an attach type.
fn attach_manifest(set: &str, version: u32, target: Option<&str>) -> Value {
    let mut program = json!({ "function": "on_event" });
    if let Some(target) = target {
        program["target"] = json!(target);
    }
    if set == "attach_usdt" {
        program["pid"] = json!("${param.only}");
    }
    let mut programs = json!({ "on_event": program });
    if let Some(beside) = beside(set) {
        let place = if beside == "xdp" { "/lo" } else { ":sockets" };
        let target = format!("{beside}{place}");
        programs["beside"] = json!({ "function": "beside", "target": target });
    }
    json!({
        "spec": "1.0",
        "package": { "name": "test/attach", "version": format!("{version}.0.0"), "license": "Apache-2.0" },
        "objects": {},
        "program": programs,
        "param": {
            "pid": { "type": "uint", "rodata": "own_pid" },
            "only": { "type": "pid", "default": 0 },
        },
        "map": { "now": { "upgrade": "keep" }, "seen": { "upgrade": "keep" } },
    })
}

fn manifest(set: &str, version: u32, target: Option<&str>) -> Value {
    if set.starts_with("attach_") {
        return attach_manifest(set, version, target);
    }
    let (_, hooks) = SETS.iter().find(|(name, _)| *name == set).expect("a set");
    let mut programs = serde_json::Map::new();
    let are_hooks = |define: &&&str| define.starts_with("ON_") || define.starts_with("AND_");
    for (at, hook) in hooks[version as usize - 1].iter().filter(are_hooks).enumerate() {
        let function = hook.strip_prefix("AND_").unwrap_or(hook).to_lowercase();
        let mut program = json!({ "function": function });
        if let Some(target) = target.filter(|_| at == 0 && *hook != "ON_RAW_TP") {
            program["target"] = json!(target);
        }
        programs.insert(function, program);
    }
    let event = json!({ "kind": "event", "map": "events", "struct": "event" });
    let outputs =
        if hooks[0].contains(&"SILENT") { json!({}) } else { json!({ "numbered": event }) };
    json!({
        "spec": "1.0",
        "package": { "name": "test/numbered", "version": format!("{version}.0.0"), "license": "Apache-2.0" },
        "objects": {},
        "program": programs,
        "param": { "pid": { "type": "uint", "rodata": "own_pid" } },
        "map": {
            "seen": { "upgrade": "reset" },
            "counts": { "upgrade": "migrate", "fields": { "events": "sum", "bytes": "sum" } },
            ".bss": { "upgrade": "migrate", "fields": { "total": "sum" } },
        },
        "output": outputs,
    })
}

fn compile(source: &Path, object: &Path, version: u32, hooks: &[&str]) -> Result<(), String> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86" };
    let machine = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let mut clang = Command::new("clang");
    clang
        .args(["-g", "-O2", "-target", "bpf", "-Wall", "-Wno-visibility"])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .arg(format!("-DVERSION={version}"))
        .args(hooks.iter().map(|hook| format!("-D{hook}")))
        .arg("-I")
        .arg(source.with_file_name("include"))
        .arg(format!("-I/usr/include/{machine}-linux-gnu"))
        .arg("-c")
        .args([source, Path::new("-o"), object]);
    run(clang)
}

/// The program with USDT probes, which needs no C library.
fn link_probed(folder: &Path) -> Result<(), String> {
    let source = folder.join("probed.c");
    fs::write(&source, PROBED).map_err(text)?;
    let mut clang = Command::new("clang");
    clang
        .args(["-O2", "-Wall", "-ffreestanding", "-fno-stack-protector"])
        // Where parts share a page of the file, the kernel puts probes into each of them, and counts their semaphore wrong.
        .args(["-nostdlib", "-static", "-fuse-ld=lld", "-Wl,-z,separate-loadable-segments", "-o"])
        .args([&folder.join("probed"), &source]);
    run(clang)
}

fn run(mut clang: Command) -> Result<(), String> {
    let done = clang.output().map_err(|e| format!("clang: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&done.stderr).into_owned())
}
