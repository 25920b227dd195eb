//! The mirror that apt is configured for: indexes and packages, downloaded once.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use skep_spec::{Arch, Digest};

use super::index::{self, Entry};
use super::{Kernel, KernelsError};

/// How long a downloaded index counts as fresh.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

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
            let address = format!(
                "{}/dists/{suite}/main/binary-{}/Packages.xz",
                self.base(suite),
                arch.goarch()
            );
            match download(&address, &path.with_extension("xz")) {
                Ok(()) => {
                    let text = unpack("xz", &path.with_extension("xz"))?;
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
            self.unpack(entry, &part)?;
            // Where it lies in linux-image-*, and in linux-binary-*.
            let image = [part.join("boot"), part.join("usr/lib/modules").join(entry.release())]
                .iter()
                .find_map(|folder| find_image(folder))
                .ok_or_else(|| KernelsError::NoImage(entry.name.clone()))?;
            std::fs::rename(&image, part.join("vmlinuz"))
                .map_err(|source| file("move", &image, source))?;
            move_whole(&part, &folder)?;
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
            // From 6.19 on they are in packages of their own; older point releases are in the pool without an index.
            for name in [format!("linux-modules-{release}"), format!("linux-base-{release}")] {
                let listed = all
                    .iter()
                    .find(|other| other.name == name && other.version == entry.version)
                    .cloned();
                let guess = || Entry {
                    file: format!(
                        "pool/main/l/linux/{name}_{}_{}.deb",
                        entry.version,
                        goarch_of(release)
                    ),
                    name: name.clone(),
                    sha256: String::new(),
                    ..entry.clone()
                };
                self.unpack(&listed.unwrap_or_else(guess), folder)?;
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
        if !entry.sha256.is_empty() {
            let bytes = std::fs::read(&deb).map_err(|source| file("read", &deb, source))?;
            if Digest::of(&bytes).hex() != entry.sha256 {
                let _ = std::fs::remove_file(&deb);
                return Err(KernelsError::Checksum(name.to_owned()));
            }
        }
        std::fs::create_dir_all(folder).map_err(|source| file("make", folder, source))?;
        output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(folder), "dpkg-deb", name)?;
        std::fs::remove_file(&deb).map_err(|source| file("remove", &deb, source))
    }

    fn base(&self, suite: &str) -> &str {
        if suite.ends_with("-security") { &self.security } else { &self.main }
    }
}

fn goarch_of(release: &str) -> &str {
    release.rsplit('-').next().unwrap_or(release)
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
    let part = path.with_extension(format!("part{}", std::process::id()));
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|source| file("write", path, source))
}

fn file(action: &'static str, path: &Path, source: io::Error) -> KernelsError {
    KernelsError::File { action, path: path.to_owned(), source }
}

/// Unpacks a file by a program that knows how.
fn unpack(program: &'static str, path: &Path) -> Result<Vec<u8>, KernelsError> {
    output(Command::new(program).arg("-dc").arg(path), program, &path.display().to_string())
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
