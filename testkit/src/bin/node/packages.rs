//! The packages: two versions for each kind of hook, of one C file, signed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::generator::Kind;
use crate::skepd::beside;

/// Numbered events of one process: what the runtime's own tests use, too.
const SOURCE: &str = include_str!("../../../../crates/runtime/tests/objects/numbered.bpf.c");

/// A kind of hook.
pub struct Set {
    pub name: &'static str,
    /// As permissions spell it.
    hook: &'static str,
    /// Programs of version 1 and of version 2, by the macros that define them; the first one takes the target.
    programs: [&'static [&'static str]; 2],
    /// Whether every kernel of ours has it.
    pub everywhere: bool,
    /// How its events are made.
    pub events: Kind,
    /// Where its first program attaches, if not where its section says; `{}` becomes what [`crate::stage`] offers.
    pub target: Option<&'static str>,
}

const fn set(name: &'static str, program: &'static [&'static str]) -> Set {
    Set {
        name,
        hook: name,
        programs: [program, program],
        everywhere: true,
        events: Kind::Seek,
        target: None,
    }
}

/// All kinds.
pub const SETS: [Set; 11] = [
    set("tracepoint", &["ON_TRACEPOINT"]),
    Set { events: Kind::Rename, ..set("raw_tp", &["ON_RAW_TP"]) },
    Set { events: Kind::Rename, ..set("tp_btf", &["ON_TP_BTF"]) },
    Set { everywhere: false, ..set("kprobe", &["ON_KPROBE"]) },
    Set { everywhere: false, ..set("fentry", &["ON_FENTRY"]) },
    Set { everywhere: false, ..set("fexit", &["ON_FEXIT"]) },
    Set { target: Some("uprobe/${param.place}:lseek"), ..set("uprobe", &["ON_UPROBE"]) },
    Set { events: Kind::Packet, target: Some("xdp/${param.place}"), ..set("xdp", &["ON_XDP"]) },
    Set {
        events: Kind::Packet,
        target: Some("tcx/ingress/${param.place}"),
        ..set("tc", &["ON_TC"])
    },
    Set {
        events: Kind::Packet,
        target: Some("cgroup_skb/egress:${param.place}"),
        ..set("cgroup_skb", &["ON_CGROUP_SKB"])
    },
    Set {
        programs: [&["ON_RAW_TP", "AND_EXTRA_OLD"], &["ON_RAW_TP", "AND_EXTRA_NEW"]],
        hook: "raw_tp",
        events: Kind::Rename,
        ..set("two", &[])
    },
];

impl Set {
    /// The layout of a version.
    pub fn layout(&self, packages: &Path, version: usize) -> PathBuf {
        packages.join(format!("{}-{version}.oci", self.name))
    }

    /// Builds, packs and signs both versions.
    fn build(&self, work: &Path, key: &Path, folder: &Path) -> Result<()> {
        for version in [1, 2] {
            let project = work.join(format!("{}-{version}", self.name));
            std::fs::create_dir(&project).context("make a project")?;
            std::fs::write(project.join("numbered.bpf.c"), SOURCE).context("write the source")?;
            std::fs::write(project.join("skep.toml"), self.manifest(version))
                .context("write skep.toml")?;
            let layout = self.layout(folder, version);
            let _ = std::fs::remove_dir_all(&layout); // of an earlier build
            skep(&["pack", "--quiet", "-o"], &[&layout, &project])?;
            skep(&["sign", "--quiet", "--key"], &[key, &layout])?;
        }
        Ok(())
    }

    fn manifest(&self, version: usize) -> String {
        let programs = self.programs[version - 1];
        let cflags: Vec<String> = programs
            .iter()
            .map(|macro_name| format!("-D{macro_name}"))
            .chain([format!("-DVERSION={version}")])
            .chain(["-I/usr/include/x86_64-linux-gnu".into(), "-Wno-visibility".into()])
            .map(|flag| format!("{flag:?}"))
            .collect();
        let mut text = format!(
            "spec = \"1.0\"\n\n[package]\nname = \"test/{}\"\nversion = \"{version}.0.0\"\n\
             license = \"Apache-2.0\"\n\n[build]\nbtf = {{ x86_64 = \"debian:6.12\" }}\n\
             cflags = [{}]\n\n[object.numbered]\nsources = [\"numbered.bpf.c\"]\narch = [\"x86_64\"]\n\n\
             [param.pid]\ntype = \"uint\"\nrodata = \"own_pid\"\n\n\
             [map.seen]\nupgrade = \"reset\"\n\n[map.counts]\nupgrade = \"migrate\"\n\
             fields = {{ events = \"sum\", bytes = \"sum\" }}\n\n\
             [map.\".bss\"]\nupgrade = \"migrate\"\nfields = {{ total = \"sum\" }}\n\n\
             [output.numbered]\nkind = \"event\"\nmap = \"events\"\nstruct = \"event\"\n\n\
             [output.counts]\nkind = \"counter\"\nmap = \"counts\"\n\n\
             [permissions]\nhooks = [\"{}\", \"raw_tp\", \"tracepoint\"]\nmap-memory = \"8MiB\"\n\
             helpers = [\"get_*\", \"map_*\", \"probe_read_kernel\", \"ringbuf_*\", \"skb_load_bytes\"]\n",
            self.name.replace('_', "-"),
            cflags.join(", "),
            self.hook,
        );
        if version == 1 {
            text = text.replace(", bytes = \"sum\"", "");
        }
        if self.target.is_some() {
            text += "\n[param.place]\ntype = \"string\"\n";
        }
        for (at, macro_name) in programs.iter().enumerate() {
            let function = macro_name.strip_prefix("AND_").unwrap_or(macro_name).to_lowercase();
            // Writing to a String cannot fail.
            let _ = write!(text, "\n[program.{function}]\nfunction = \"{function}\"\n");
            if let Some(target) = self.target.filter(|_| at == 0) {
                let _ = writeln!(text, "target = \"{target}\"");
            }
        }
        text
    }
}

/// Builds, packs and signs all into `folder`, with a `trust.toml` that trusts the key.
pub fn build(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let work = tempfile::tempdir().context("make a folder")?;
    let key = work.path().join("key");
    skep(&["key", "new", "-o"], &[&key])?;
    let trust = skep(&["key", "trust", "--packages", "test/*"], &[&key.with_extension("pub")])?;
    std::fs::write(folder.join("trust.toml"), trust).context("write trust.toml")?;
    let key = key.with_extension("key");
    // Clang and the analysis of its objects take their time: two at once.
    let (some, others) = SETS.split_at(SETS.len() / 2);
    let build = |sets: &[Set]| sets.iter().try_for_each(|set| set.build(work.path(), &key, folder));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| build(some));
        build(others).and(thread.join().unwrap_or_else(|_| bail!("a building thread panicked")))
    })
}

fn skep(words: &[&str], paths: &[&Path]) -> Result<String> {
    let mut command = Command::new(beside("skep")?);
    let output = command.args(words).args(paths).output().context("run skep")?;
    if !output.status.success() {
        bail!("skep {} failed:\n{}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("skep printed no text")
}
