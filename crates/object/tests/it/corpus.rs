//! Objects that nobody here wrote, which Debian's tools carry.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use skep_object::carve;

/// An object, and the tool that it was carved from.
pub struct Carved {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The objects of Debian's libbpf-tools, xdp-tools and libxdp, unpacked, never installed.
pub static CORPUS: LazyLock<Vec<Carved>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let objects = "usr/lib/x86_64-linux-gnu/bpf";
    for (package, folder) in
        [("libbpf-tools", "usr/sbin"), ("xdp-tools", "usr/sbin"), ("libxdp1", objects)]
    {
        let folder = unpacked(package).join(folder);
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| !path.is_symlink());
        files.sort();
        files.iter().for_each(|path| all.extend(carved(path)));
    }
    all
});

fn carved(path: &Path) -> impl Iterator<Item = Carved> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let data = std::fs::read(path).unwrap();
    let ranges = carve::objects(&data).into_iter().enumerate();
    ranges.map(move |(at, range)| Carved {
        name: format!("{name}[{at}]"),
        bytes: data[range].to_vec(),
    })
}

/// Where `scripts/setup.sh test` unpacks a package of Debian's.
fn unpacked(package: &str) -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = set.map(PathBuf::from).or_else(home).unwrap_or_default();
    let folder = cache.join("skep/corpus").join(package);
    assert!(folder.exists(), "{} is missing: scripts/setup.sh test", folder.display());
    folder
}
