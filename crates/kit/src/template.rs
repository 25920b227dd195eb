//! New projects.

use std::path::Path;

use skep_spec::PackageName;

use crate::folder::{self, FolderError, IGNORE};

/// What a new project starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A tracepoint, a ring buffer, a counter.
    Tracepoint,
    /// A packet counter on an interface.
    Xdp,
}

const TRACEPOINT: [(&str, &str); 4] = [
    ("skep.toml", include_str!("../templates/tracepoint/skep.toml")),
    ("src/NAME.bpf.c", include_str!("../templates/tracepoint/src/NAME.bpf.c")),
    ("README.md", include_str!("../templates/tracepoint/README.md")),
    IGNORE,
];

const XDP: [(&str, &str); 4] = [
    ("skep.toml", include_str!("../templates/xdp/skep.toml")),
    ("src/NAME.bpf.c", include_str!("../templates/xdp/src/NAME.bpf.c")),
    ("README.md", include_str!("../templates/xdp/README.md")),
    IGNORE,
];

/// Writes a new project for `name` into `folder`, which must not be there or be empty.
///
/// # Errors
/// As [`folder::make`].
pub fn create(folder: &Path, name: &PackageName, template: Template) -> Result<(), FolderError> {
    let files = match template {
        Template::Tracepoint => TRACEPOINT,
        Template::Xdp => XDP,
    };
    let of_name = |text: &str| text.replace("NAME", name.short());
    let filled = files
        .map(|(path, text)| (of_name(path), of_name(&text.replace("PUBLISHER", name.publisher()))));
    folder::make(folder, filled)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(matches!(create(&project, &name, template), Err(FolderError::Occupied(_))));
        }
    }
}
