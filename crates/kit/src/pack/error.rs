//! Why a project could not be packed.

use std::io;
use std::path::PathBuf;

use skep_object::ObjectError;
use skep_object::bound::Misbound;
use skep_object::named::TwoMaps;
use skep_object::suit::{Unattachable, Unsuited};
use skep_oci::StoreError;
use skep_oci::pack::PackError;
use skep_spec::Arch;
use skep_spec::license::LicenseError;

use crate::project::Mistakes;

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
    /// The manifest names a program without saying where it attaches, and its section does not either.
    #[error(
        "the program '{program}' says nowhere what it attaches to: give [program.{program}] a target"
    )]
    NoTarget {
        /// The program.
        program: String,
    },
    /// A map's size by its parameters' defaults.
    #[error(
        "[map.{map}] max_entries = \"{written}\" is {size} by the defaults of its parameters, and a map has from 1 to 2^32-1: give another default, or a range"
    )]
    MapSize {
        /// The map.
        map: String,
        /// As the manifest has it.
        written: String,
        /// With the defaults.
        size: String,
    },
    /// A parameter cannot set its variable.
    #[error("skep.toml has a parameter that cannot be set")]
    Bound(#[from] Misbound),
    /// The manifest gives a program a target of another kind.
    #[error("skep.toml gives a program a target that it cannot have")]
    Unsuited(#[from] Unsuited),
    /// A program that runs nowhere.
    #[error("{0}; list the programs that are to run under [program], without it")]
    Unattachable(#[from] Unattachable),
    /// The struct of an output's records is several.
    #[error(
        "[output.{output}] names the struct '{told}', and the object has different ones of that name: {each}; give each its own name"
    )]
    Namesakes {
        /// The output.
        output: String,
        /// The struct's name.
        told: String,
        /// The fields of each.
        each: String,
    },
    /// A counter shows variables, which are no entries.
    #[error(
        "[output.{output}] shows {map}, and a {kind} shows the entries of a map: put what counts into a map of its own, such as an array of one entry"
    )]
    Variables {
        /// The output.
        output: String,
        /// The section.
        map: String,
        /// `counter` or `gauge`.
        kind: &'static str,
    },
    /// Two objects have the map that an output shows.
    #[error("{0}: give it another name in one of them")]
    TwoMaps(#[from] TwoMaps),
    /// The code does more than `[permissions]` say.
    #[error("[permissions] do not cover what the code does:\n{}", missing.join("\n"))]
    Permissions {
        /// What is not covered.
        missing: Vec<String>,
        /// Permissions that cover all of it.
        needed: String,
    },
    /// The code calls what its own licence does not allow.
    #[error("the kernel would refuse the object")]
    License(#[from] LicenseError),
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
