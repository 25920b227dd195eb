//! The packages: of each object what `skep import` makes of it alone, and what its manifest does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::entry::{Entries, Entry, Kind, read};
use crate::proof;
use crate::skepd::beside;

/// The manifests and the list.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus");
/// Programs of this machine that workloads run in the guest, with their loader and libraries.
const GUESTS: [&str; 2] = ["/bin/bash", "/usr/bin/getent"];

/// A program with probes, and its options: where parts share a page of the file, the kernel puts probes into each of them.
const PROBED: [&str; 7] = [
    "-O2",
    "-ffreestanding",
    "-fno-stack-protector",
    "-static",
    "-nostdlib",
    "-fuse-ld=lld",
    "-Wl,-z,separate-loadable-segments",
];

/// Where a package of a kind lies.
pub fn layout(folder: &Path, name: &str, kind: Kind) -> PathBuf {
    folder.join(kind.word()).join(format!("{name}.oci"))
}

/// Why there is none.
pub fn refusal(folder: &Path, name: &str, kind: Kind) -> PathBuf {
    folder.join(kind.word()).join(format!("{name}.txt"))
}

/// Whether the package by the manifest is the very one that `skep import` makes.
pub fn are_one(folder: &Path, name: &str) -> bool {
    let [import, manifest] =
        Kind::ALL.map(|kind| fs::read(layout(folder, name, kind).join("index.json")));
    import.is_ok_and(|import| manifest.is_ok_and(|manifest| import == manifest))
}

/// Builds all of them, signed, with a `trust.toml` that trusts the key.
pub fn build(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    for kind in Kind::ALL {
        fs::create_dir_all(folder.join(kind.word())).context("make a folder")?;
    }
    fs::copy(Path::new(SOURCES).join("corpus.toml"), folder.join("corpus.toml"))
        .context("copy corpus.toml")?;
    let work = tempfile::tempdir().context("make a folder")?;
    let key = work.path().join("key");
    skep(&["key", "new", "-o"], &[&key])?;
    let trust = skep(&["key", "trust", "--packages", "local/*"], &[&key.with_extension("pub")])?;
    fs::write(folder.join("trust.toml"), trust).context("write trust.toml")?;
    let entries = read(folder)?;
    let build =
        Build { folder, work: work.path(), key: &key.with_extension("key"), entries: &entries };
    build.all()?;
    programs(folder)?;
    image(&folder.join("ext4.img"))
}

struct Build<'a> {
    folder: &'a Path,
    work: &'a Path,
    key: &'a Path,
    entries: &'a Entries,
}

impl Build<'_> {
    fn all(&self) -> Result<()> {
        let left = Mutex::new(self.entries.iter());
        let next = || left.lock().ok()?.next();
        let some = || -> Result<()> {
            while let Some((name, entry)) = next() {
                self.one(name, entry).with_context(|| format!("build {name}"))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(some);
            some().and(other.join().unwrap_or_else(|_| bail!("a building thread panicked")))
        })
    }

    /// An object that cannot be imported or packed is a figure of the corpus; one that is not there is a fault.
    fn one(&self, name: &str, entry: &Entry) -> Result<()> {
        let file = cache()?.join(&entry.from);
        anyhow::ensure!(file.exists(), "{} is missing: scripts/setup.sh test", file.display());
        let file = file.to_str().context("a path that is not UTF-8")?;
        let project = self.work.join(name);
        let package = format!("local/{name}");
        let object = entry.object.as_deref().unwrap_or("object1");
        let mut import = vec!["import", "--quiet", "--name", &package];
        if entry.object.is_some() {
            import.extend(["--object", object]);
        }
        import.extend([file, "--folder"]);
        let bytes = carved(file, object)?;
        let imported = skep(&import, &[&project]);
        self.keep(
            name,
            Kind::Import,
            imported.and_then(|_| self.pack(name, Kind::Import, &project)),
        )?;
        let manifest = Path::new(SOURCES).join(format!("{name}.toml"));
        if !manifest.exists() {
            return self.keep(name, Kind::Manifest, Err(anyhow::anyhow!("it has no manifest")));
        }
        let text = fs::read_to_string(manifest).context("read the manifest")?;
        proof::write(self.folder, name, (&text, &bytes), entry.params(Kind::Manifest))?;
        fs::create_dir_all(project.join("objects")).context("make a folder")?;
        fs::write(project.join("objects/object.o"), &bytes).context("write the object")?;
        fs::write(project.join("skep.toml"), text).context("write the manifest")?;
        self.keep(name, Kind::Manifest, self.pack(name, Kind::Manifest, &project))
    }

    fn pack(&self, name: &str, kind: Kind, project: &Path) -> Result<String> {
        let layout = layout(self.folder, name, kind);
        skep(&["pack", "--quiet", "-o"], &[&layout, project])?;
        skep(&["sign", "--quiet", "--key"], &[self.key, &layout])
    }

    fn keep(&self, name: &str, kind: Kind, made: Result<String>) -> Result<()> {
        let Err(error) = made else { return Ok(()) };
        fs::write(refusal(self.folder, name, kind), format!("{error:#}")).context("write why")
    }
}

/// The object, also where `skep import` makes nothing of it.
fn carved(file: &str, object: &str) -> Result<Vec<u8>> {
    let data = fs::read(file).with_context(|| format!("read {file}"))?;
    let number = object.strip_prefix("object").and_then(|number| number.parse::<usize>().ok());
    let mut ranges = skep_object::carve::objects(&data).into_iter();
    let range = ranges.nth(number.unwrap_or(1).saturating_sub(1)).context("no such object")?;
    Ok(data[range].to_vec())
}

/// What workloads run, into `root` of the folder: a guest has nothing but our own static programs.
fn programs(folder: &Path) -> Result<()> {
    for program in GUESTS {
        let list = Command::new("ldd")
            .arg(program)
            .output()
            .with_context(|| format!("run ldd {program}"))?;
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain([program]) {
            let to = folder.join("root").join(file.trim_start_matches('/'));
            fs::create_dir_all(to.parent().context("a file without a folder")?)
                .context("make a folder")?;
            fs::copy(file, &to).with_context(|| format!("copy {file}"))?;
        }
    }
    let mut clang = Command::new("clang");
    clang.args(PROBED).arg("-o").arg(folder.join("root/bin/collector"));
    let status = clang.arg(Path::new(SOURCES).join("collector.c")).status().context("run clang")?;
    anyhow::ensure!(status.success(), "clang: {status}");
    Ok(())
}

/// A file system for a disk in memory, whose size the kernel says.
fn image(file: &Path) -> Result<()> {
    fs::File::create(file).and_then(|file| file.set_len(16 << 20)).context("make the image")?;
    let status = Command::new("/usr/sbin/mkfs.ext4")
        .args(["-q", "-F", "-O", "^has_journal"])
        .arg(file)
        .status()
        .context("run mkfs.ext4")?;
    anyhow::ensure!(status.success(), "mkfs.ext4: {status}");
    Ok(())
}

/// Where `scripts/setup.sh` unpacks the packages.
fn cache() -> Result<PathBuf> {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(set.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("skep/corpus"))
}

fn skep(words: &[&str], paths: &[&Path]) -> Result<String> {
    let mut command = Command::new(beside("skep")?);
    let output = command.args(words).args(paths).output().context("run skep")?;
    if !output.status.success() {
        bail!("skep {} failed: {}", words[0], String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("skep printed no text")
}
