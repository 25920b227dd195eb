//! Why a project could not be packed.

use std::io;
use std::path::{Path, PathBuf};

use skep_object::ObjectError;
use skep_oci::StoreError;
use skep_oci::pack::PackError;
use skep_spec::Arch;

use crate::lint::Finding;
use crate::project::Mistakes;

/// What objects do that asks for another licence than theirs, as `skep lint` says it: each with the place of its object.
#[derive(Debug, thiserror::Error)]
#[error("the kernel would refuse what its licence does not allow:\n{}", found(path, list))]
pub struct Unlicensed {
    /// The `skep.toml`.
    pub path: PathBuf,
    /// All of it.
    pub list: Vec<Finding>,
}

fn found(path: &Path, list: &[Finding]) -> String {
    let line = |one: &Finding| format!("{}:{}", path.display(), skep_spec::line(&one.to_string()));
    list.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Why a project could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// The manifest names what no object has, or what does not fit it.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
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
    /// An object of the other byte order.
    #[error(
        "the object '{object}' for {arch} is {} (clang -target {}), and {arch} is {}: no kernel there loads it",
        order(!arch.is_big_endian()), if arch.is_big_endian() { "bpfel" } else { "bpfeb" }, order(arch.is_big_endian())
    )]
    ByteOrder {
        /// The object.
        object: String,
        /// What it is to be for.
        arch: Arch,
    },
    /// The code does more than `[permissions]` say.
    #[error("[permissions] do not cover what the code does:\n{}", lines(missing))]
    Permissions {
        /// What is not covered.
        missing: Vec<String>,
        /// Permissions that cover all of it.
        needed: String,
    },
    /// The code calls what its own licence does not allow.
    #[error(transparent)]
    License(#[from] Unlicensed),
    /// The README.
    #[error("can't read the README {}", path.display())]
    Readme {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The layout.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The package.
    #[error(transparent)]
    Pack(#[from] PackError),
}

const fn order(big_endian: bool) -> &'static str {
    if big_endian { "big-endian" } else { "little-endian" }
}

fn lines(missing: &[String]) -> String {
    missing.iter().map(|one| skep_spec::line(one)).collect::<Vec<_>>().join("\n")
}
