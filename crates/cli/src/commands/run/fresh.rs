//! Whether a project's objects are those of its sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use skep_kit::project::Project;
use skep_oci::regular;
use skep_spec::Arch;

/// Folders under each other that are looked into.
const DEPTH: usize = 8;

/// The objects as they were built, if no file of the project has changed since.
pub(super) fn objects(project: &Project, arch: Arch) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut objects = BTreeMap::new();
    let mut oldest = None::<SystemTime>;
    for name in project.source.object.keys() {
        let path = project.built(name, arch);
        let built = fs::metadata(&path).ok()?.modified().ok()?;
        oldest = Some(oldest.map_or(built, |oldest| oldest.min(built)));
        objects.insert(name.clone(), regular::bytes(&path).ok()?);
    }
    (changed(&project.folder, &project.out, DEPTH)? <= oldest?).then_some(objects)
}

/// When a file in the folder last changed, but for what lies in `build` and for the lock, which a build writes.
fn changed(folder: &Path, build: &Path, depth: usize) -> Option<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        let (path, name) = (entry.path(), entry.file_name());
        if path == build || name == "skep.lock" || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let time = match entry.file_type().ok()?.is_dir() {
            true => changed(&path, build, depth.checked_sub(1)?)?,
            false => fs::metadata(&path).ok()?.modified().ok()?,
        };
        newest = newest.max(time);
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOURCE: &str = r#"
        spec = "1.0"
        [package]
        name = "a/b"
        version = "1.0.0"
        license = "MIT"
        [object.b]
        sources = ["src/b.c"]
        arch = ["x86_64"]
    "#;

    #[test]
    fn a_changed_source_makes_a_build_old() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("src")).unwrap();
        fs::create_dir_all(root.join("build/x86_64")).unwrap();
        let write = |file: &str, text: &str, age: u64| {
            let file = root.join(file);
            fs::write(&file, text).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
        };
        write("skep.toml", SOURCE, 90);
        write("src/b.c", "", 80);
        write("build/x86_64/b.bpf.o", "object", 70);
        let project = Project::read(root).unwrap();
        assert!(objects(&project, Arch::X86_64).is_some());
        assert!(objects(&project, Arch::Aarch64).is_none());
        write("src/b.c", "", 60);
        assert!(objects(&project, Arch::X86_64).is_none());
    }
}
