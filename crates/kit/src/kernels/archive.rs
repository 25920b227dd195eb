//! The mirror that apt is configured for: indexes and packages, downloaded once.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use skep_oci::durable;
use skep_spec::{Arch, Digest};

use super::index::{self, Entry};
use super::{Kernel, KernelsError};

/// How long a downloaded index counts as fresh.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// The keys of Debian's archive, which come with apt there.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Reads an index however apt packed it.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// A mirror and what was downloaded from it.
pub(super) struct Archive {
    cache: PathBuf,
    main: String,
    security: String,
}

impl Archive {
    /// Asks apt where its packages come from.
    pub fn find(cache: &Path) -> Result<Self, KernelsError> {
        let format =
            ["indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"];
        let listed = output(Command::new("apt-get").args(format), "apt-get", "its sources")?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let of = |codename: &str| {
            let line =
                listed.lines().find_map(|line| line.strip_prefix(codename)?.strip_prefix(' '));
            line.map(|uri| uri.trim_end_matches('/').to_owned())
        };
        let main = of("bookworm").or_else(|| of("trixie")).ok_or(KernelsError::NoMirror)?;
        let security = of("bookworm-security").or_else(|| of("trixie-security"));
        let security = security.unwrap_or_else(|| format!("{main}-security"));
        Ok(Self { cache: cache.to_owned(), main, security })
    }

    /// The kernel packages of a suite. A suite that cannot be read, and was never, is an error.
    pub fn index(&self, suite: &str, arch: Arch) -> Result<Vec<Entry>, KernelsError> {
        let path = self.cache.join("index").join(format!("{suite}-{}", arch.goarch()));
        if !is_fresh(&path) {
            match self.signed(suite, arch) {
                Ok(text) => {
                    let kernels = String::from_utf8_lossy(&text)
                        .split("\n\n")
                        .filter(|p| p.starts_with("Package: linux-"))
                        .collect::<Vec<_>>()
                        .join("\n\n");
                    put(&path, kernels.as_bytes())?;
                }
                Err(error) if !path.exists() => return Err(error),
                Err(error) => tracing::warn!(suite, %error, "an older package index is used"),
            }
        }
        let text = std::fs::read_to_string(&path).map_err(|source| file("read", &path, source))?;
        Ok(index::parse(&text, suite))
    }

    /// A suite's index, which apt holds against the archive's signature: in folders of our own, whatever is configured here.
    fn signed(&self, suite: &str, arch: Arch) -> Result<Vec<u8>, KernelsError> {
        let folder = self.cache.join("index").join(format!("{suite}-{}.apt", arch.goarch()));
        let (sources, lists) = (folder.join("sources.list"), folder.join("lists"));
        for made in [&lists.join("partial"), &folder.join("cache")] {
            std::fs::create_dir_all(made).map_err(|source| file("make", made, source))?;
        }
        let line = format!("deb [signed-by={KEYRING}] {} {suite} main\n", self.base(suite));
        put(&sources, line.as_bytes())?;
        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        let settings = [
            set("Dir::Etc::SourceList", &sources),
            set("Dir::Etc::SourceParts", Path::new("/dev/null")),
            set("Dir::State::Lists", &lists),
            set("Dir::State::Status", Path::new("/dev/null")),
            set("Dir::Cache", &folder.join("cache")),
            format!("APT::Architecture={}", arch.goarch()),
            format!("APT::Architectures={}", arch.goarch()),
            "APT::Sandbox::User=root".to_owned(), // another one cannot write into these folders
            "APT::Update::Error-Mode=any".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        let apt = || {
            let mut apt = Command::new("apt-get");
            apt.args(settings.iter().flat_map(|setting| ["-o", setting.as_str()]));
            apt
        };
        output(apt().arg("update"), "apt-get", suite)?;
        let names = ["indextargets", "--format", "$(FILENAME)", "Created-By: Packages"];
        let names = output(apt().args(names), "apt-get", suite)?;
        let names = String::from_utf8_lossy(&names);
        let packed = names.lines().next().unwrap_or_default();
        output(Command::new(HELPER).args(["cat-file", packed]), "apt-helper", suite)
    }

    /// Downloads and unpacks a kernel, with its modules if asked for.
    pub fn kernel(
        &self,
        entry: &Entry,
        all: &[Entry],
        modules: bool,
    ) -> Result<Kernel, KernelsError> {
        let folder = self.cache.join("kernel").join(entry.release());
        if !folder.join("vmlinuz").exists() {
            let part = format!("{}.part{}", entry.release(), std::process::id());
            let part = self.cache.join("kernel").join(part);
            let made = self.image(entry, &part).and_then(|()| move_whole(&part, &folder));
            if made.is_err() {
                let _ = std::fs::remove_dir_all(&part); // why it could not be had is what matters
            }
            made?;
        }
        if modules {
            self.modules(entry, all, &folder)?;
        }
        Ok(Kernel {
            series: entry.series(),
            release: entry.release().to_owned(),
            image: folder.join("vmlinuz"),
            modules: modules.then_some(folder),
        })
    }

    /// Unpacks a kernel, its image as `vmlinuz`.
    fn image(&self, entry: &Entry, part: &Path) -> Result<(), KernelsError> {
        self.unpack(entry, part)?;
        // Where it lies in linux-image-*, and in linux-binary-*.
        let image = [part.join("boot"), part.join("usr/lib/modules").join(entry.release())]
            .iter()
            .find_map(|folder| find_image(folder))
            .ok_or_else(|| KernelsError::NoImage(entry.name.clone()))?;
        std::fs::rename(&image, part.join("vmlinuz")).map_err(|source| file("move", &image, source))
    }

    /// Makes `folder/lib/modules/RELEASE` complete, `modules.dep` included.
    fn modules(&self, entry: &Entry, all: &[Entry], folder: &Path) -> Result<(), KernelsError> {
        if folder.join("modules.done").exists() {
            return Ok(());
        }
        let release = entry.release();
        let merged = folder.join("usr/lib");
        if !folder.join("lib/modules").join(release).join("kernel").exists()
            && !merged.join("modules").join(release).join("kernel").exists()
        {
            // From 6.19 on they are in packages of their own, which the index has of the newest point releases only.
            for name in [format!("linux-modules-{release}"), format!("linux-base-{release}")] {
                let is_it = |other: &&Entry| other.name == name && other.version == entry.version;
                let listed = all.iter().find(is_it);
                let unlisted = || KernelsError::Unlisted(format!("{name} {}", entry.version));
                self.unpack(listed.ok_or_else(unlisted)?, folder)?;
            }
        }
        if merged.exists() && !folder.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", folder.join("lib"))
                .map_err(|source| file("link", folder, source))?;
        }
        output(Command::new("depmod").arg("-b").arg(folder).arg(release), "depmod", release)?;
        put(&folder.join("modules.done"), b"")
    }

    fn unpack(&self, entry: &Entry, folder: &Path) -> Result<(), KernelsError> {
        let name = entry.file.rsplit('/').next().unwrap_or(&entry.file);
        let deb = self.cache.join("deb").join(name);
        download(&format!("{}/{}", self.base(&entry.suite), entry.file), &deb)?;
        let bytes = std::fs::read(&deb).map_err(|source| file("read", &deb, source))?;
        if Digest::of(&bytes) != entry.digest {
            let _ = std::fs::remove_file(&deb);
            return Err(KernelsError::Checksum(name.to_owned()));
        }
        std::fs::create_dir_all(folder).map_err(|source| file("make", folder, source))?;
        output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(folder), "dpkg-deb", name)?;
        std::fs::remove_file(&deb).map_err(|source| file("remove", &deb, source))
    }

    fn base(&self, suite: &str) -> &str {
        if suite.ends_with("-security") { &self.security } else { &self.main }
    }
}

fn find_image(folder: &Path) -> Option<PathBuf> {
    let entries = folder.read_dir().ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinu"))
    })
}

fn is_fresh(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < FRESH))
}

/// Two processes may download the same kernel: the first that is done wins, both are whole.
fn move_whole(part: &Path, folder: &Path) -> Result<(), KernelsError> {
    match std::fs::rename(part, folder) {
        Err(_) if folder.join("vmlinuz").exists() => {
            std::fs::remove_dir_all(part).map_err(|source| file("remove", part, source))
        }
        other => other.map_err(|source| file("move", part, source)),
    }
}

fn download(address: &str, path: &Path) -> Result<(), KernelsError> {
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .map_err(|source| file("make", path, source))?;
    let part = path.with_extension(format!("part{}", std::process::id()));
    let fetched = output(
        Command::new("curl")
            .args(["-fsSL", "--retry", "3", "--connect-timeout", "20", "-o"])
            .arg(&part)
            .arg(address),
        "curl",
        address,
    );
    if let Err(error) = fetched {
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    std::fs::rename(&part, path).map_err(|source| file("write", path, source))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), KernelsError> {
    durable::pass_in_folders(path, bytes).map_err(|source| file("write", path, source))
}

fn file(action: &'static str, path: &Path, source: io::Error) -> KernelsError {
    KernelsError::File { action, path: path.to_owned(), source }
}

/// What `program` prints for `input`, even if it then finds what follows to be garbage.
pub(super) fn filter(program: &'static str, input: &[u8]) -> Result<Vec<u8>, KernelsError> {
    let run = |source| KernelsError::Run { program, source };
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(run)?;
    let mut stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // It may stop reading at the end of what it understands.
        scope.spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(input)));
        child.wait_with_output().map(|output| output.stdout).map_err(run)
    })
}

fn output(
    command: &mut Command,
    program: &'static str,
    what: &str,
) -> Result<Vec<u8>, KernelsError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| KernelsError::Run { program, source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(KernelsError::Failed { program, what: what.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose mirror nobody may ask.
    fn archive(cache: &Path) -> Archive {
        let nowhere = "http://127.0.0.1:1".to_owned();
        Archive { cache: cache.to_owned(), main: nowhere.clone(), security: nowhere }
    }

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            version: "7.0.4-1".to_owned(),
            suite: "trixie-backports".to_owned(),
            file: "pool/x.deb".to_owned(),
            digest: Digest::of(b"another"),
        }
    }

    #[test]
    fn modules_without_a_checksum_are_not_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, image) = (archive(folder.path()), entry("linux-binary-7.0.4+deb13-amd64"));
        let error = archive.modules(&image, &[], &folder.path().join("kernel")).unwrap_err();
        assert!(matches!(error, KernelsError::Unlisted(_)), "{error}");
        assert!(error.to_string().contains("linux-modules-7.0.4+deb13-amd64 7.0.4-1"), "{error}");
    }

    #[test]
    fn a_package_that_is_another_is_not_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = folder.path().join("pool");
        std::fs::create_dir(&mirror).unwrap();
        std::fs::write(mirror.join("x.deb"), "no package").unwrap();
        let here = format!("file://{}", folder.path().display());
        let archive = Archive { main: here, ..archive(folder.path()) };
        let to = folder.path().join("to");
        let error = archive.unpack(&entry("linux-image-7.0.4-amd64"), &to).unwrap_err();
        assert!(matches!(error, KernelsError::Checksum(_)), "{error}");
        assert!(!to.exists());
    }
}
