//! Packages for peers: bpfman's bytecode images.

use std::collections::BTreeMap;

use skep_object::{Facts, ObjectError};
use skep_oci::pack::PackError;
use skep_oci::{Store, flat};
use skep_spec::{Arch, Digest, Manifest};

use crate::pack::labels;

/// The types of programs that bpfman attaches (`ProgramType` of its `program.go`).
const TYPES: [&str; 11] = [
    "xdp",
    "tc",
    "tcx",
    "tracepoint",
    "kprobe",
    "kretprobe",
    "uprobe",
    "uretprobe",
    "fentry",
    "fexit",
    "lsm",
];

/// An object by architecture.
pub type Object = BTreeMap<Arch, Vec<u8>>;

/// An image that was made.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The object's name, and the image's in the layout.
    pub name: String,
    /// The image's digest.
    pub digest: Digest,
    /// Its programs, with bpfman's word for their type.
    pub programs: BTreeMap<String, String>,
    /// Programs that bpfman has no type for.
    pub left: Vec<String>,
}

/// Why a package is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An object that cannot be read.
    #[error("the object '{object}' for {arch} cannot be read")]
    Object {
        /// The object.
        object: String,
        /// The architecture.
        arch: Arch,
        /// Why.
        source: ObjectError,
    },
    /// Nothing for bpfman.
    #[error("the object '{object}' has no program that bpfman attaches: it takes {}", TYPES.join(", "))]
    NoProgram {
        /// The object.
        object: String,
    },
    /// The image.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// Puts an image of each object into `store`.
///
/// # Errors
/// An object cannot be read or has no program for bpfman, or the store cannot be written.
pub fn to_bpfman(
    store: &Store,
    objects: &BTreeMap<String, Object>,
) -> Result<Vec<Exported>, ExportError> {
    objects.iter().map(|(name, object)| image(store, name, object)).collect()
}

fn image(store: &Store, name: &str, object: &Object) -> Result<Exported, ExportError> {
    let mut facts = Vec::new();
    for (arch, bytes) in object {
        let failed = |source| ExportError::Object { object: name.to_owned(), arch: *arch, source };
        facts.push(Facts::parse(bytes).map_err(failed)?);
    }
    let mut labels = labels(facts.iter());
    let (kept, left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut labels.programs)
        .into_iter()
        .partition(|(_, kind)| TYPES.contains(&kind.as_str()));
    if kept.is_empty() {
        return Err(ExportError::NoProgram { object: name.to_owned() });
    }
    labels.programs.clone_from(&kept);
    let digest = flat(store, name, object, &labels)?;
    Ok(Exported { name: name.to_owned(), digest, programs: kept, left: left.into_keys().collect() })
}

/// What of a manifest no image says, a sentence each.
#[must_use]
pub fn left(manifest: &Manifest) -> Vec<String> {
    let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>().join(", ");
    let mut left = Vec::new();
    if !manifest.param.is_empty() {
        left.push(format!(
            "parameters, whose variables keep the object's own values unless bpfman sets them: {}",
            names(manifest.param.keys().collect())
        ));
    }
    let placed = manifest.program.iter().filter(|(_, program)| program.target.is_some());
    let placed: Vec<&String> = placed.map(|(name, _)| name).collect();
    if !placed.is_empty() {
        let placed = names(placed);
        left.push(format!("targets of programs, which bpfman is told when it attaches: {placed}"));
    }
    for (what, keys) in [
        ("alternatives", manifest.alternatives.keys().collect::<Vec<_>>()),
        ("what becomes of maps", manifest.map.keys().collect()),
        ("outputs, which bpfman does not read", manifest.output.keys().collect()),
    ] {
        if !keys.is_empty() {
            left.push(format!("{what}: {}", names(keys)));
        }
    }
    left.extend(manifest.permissions.as_ref().map(|_| "permissions".to_owned()));
    left
}
