//! New projects.

use std::io;
use std::path::{Path, PathBuf};

use skep_spec::PackageName;

/// What a new project starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A tracepoint, a ring buffer, a counter.
    Tracepoint,
    /// A packet counter on an interface.
    Xdp,
}

/// Why a project could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// There is something already.
    #[error("{} is there already and is not empty", .0.display())]
    Occupied(PathBuf),
    /// It could not be written.
    #[error("can't write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const TRACEPOINT: [(&str, &str); 4] = [
    ("skep.toml", include_str!("../templates/tracepoint/skep.toml")),
    ("src/NAME.bpf.c", include_str!("../templates/tracepoint/src/NAME.bpf.c")),
    ("README.md", include_str!("../templates/tracepoint/README.md")),
    (".gitignore", IGNORE),
];

const XDP: [(&str, &str); 4] = [
    ("skep.toml", include_str!("../templates/xdp/skep.toml")),
    ("src/NAME.bpf.c", include_str!("../templates/xdp/src/NAME.bpf.c")),
    ("README.md", include_str!("../templates/xdp/README.md")),
    (".gitignore", IGNORE),
];

const IGNORE: &str = "/build\n";

/// Writes a new project for `name` into `folder`, which must not be there or be empty.
///
/// # Errors
/// The folder holds something, or cannot be written: then nothing was made.
pub fn create(folder: &Path, name: &PackageName, template: Template) -> Result<(), TemplateError> {
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(TemplateError::Occupied(folder.to_owned()));
    }
    let was_there = folder.exists();
    let written = write(folder, name, template);
    if written.is_err() {
        // The folder was empty; what of it cannot go is told by the error as well.
        let _ = match was_there {
            true => empty(folder),
            false => std::fs::remove_dir_all(folder),
        };
    }
    written
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &PackageName, template: Template) -> Result<(), TemplateError> {
    let files = match template {
        Template::Tracepoint => TRACEPOINT,
        Template::Xdp => XDP,
    };
    for (path, text) in files {
        let path = folder.join(path.replace("NAME", name.short()));
        let write = |source| TemplateError::Write { path: path.clone(), source };
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(write)?;
        let text = text.replace("PUBLISHER", name.publisher()).replace("NAME", name.short());
        std::fs::write(&path, text).map_err(write)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_whole_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        // So deep that there is room for the path of skep.toml, and not for that of the source.
        let mut deep = folder.path().to_owned();
        while deep.as_os_str().len() < 3_900 {
            deep.push("x".repeat(100));
        }
        deep.push("x".repeat(4_083 - deep.as_os_str().len()));
        let name: PackageName = "acme/counter".parse().unwrap();
        for is_there in [false, true] {
            if is_there {
                std::fs::create_dir_all(&deep).unwrap();
            }
            let refused = create(&deep, &name, Template::Tracepoint).unwrap_err();
            assert!(
                matches!(&refused, TemplateError::Write { path, .. } if path.ends_with("src/counter.bpf.c"))
            );
            let left = deep.read_dir().map(Iterator::count).ok();
            assert_eq!(left, is_there.then_some(0), "{is_there}");
        }
    }

    #[test]
    fn both_templates_are_packages_and_nothing_is_overwritten() {
        for template in [Template::Tracepoint, Template::Xdp] {
            let folder = tempfile::tempdir().unwrap();
            let project = folder.path().join("counter");
            let name: PackageName = "acme/counter".parse().unwrap();
            create(&project, &name, template).unwrap();
            let source = skep_spec::source::parse(
                &std::fs::read_to_string(project.join("skep.toml")).unwrap(),
            )
            .unwrap();
            assert_eq!(source.package.name, name);
            assert!(project.join("src/counter.bpf.c").exists());
            assert!(matches!(create(&project, &name, template), Err(TemplateError::Occupied(_))));
        }
    }
}
