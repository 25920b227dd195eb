//! The package standard as types: names, references, digests, the manifest and the OCI documents.
//!
//! Pure: no I/O, no async, no `unsafe`. Everything here is built by parsing, so that a value's type says
//! that it was checked.

pub mod arch;
mod chain;
pub mod dependency;
pub mod digest;
pub mod journal;
pub mod json;
pub mod license;
pub mod life;
pub mod manifest;
pub mod media;
pub mod name;
pub mod nearest;
pub mod oci;
pub mod param;
pub mod permission;
pub mod reference;
pub mod schema;
pub mod site;
pub mod source;
pub mod target;
pub mod toml_1_0;

pub use arch::Arch;
pub use chain::{causes, causes_as, chain, line};
pub use dependency::Range;
pub use digest::{Digest, Digesting};
pub use manifest::Manifest;
pub use name::{Channel, PackageName, ServiceName, Version};
pub use reference::PackageRef;
pub use site::Site;
pub use target::Target;
