//! Packages at rest and on the wire: an OCI layout as a content-addressed store, packing, and a registry client whose
//! every read is capped.
//!
//! Nothing here trusts: digests are checked, signatures are `skep-trust`'s matter.

pub mod archive;
pub mod durable;
mod error;
mod flat;
pub mod image;
mod kernel_types;
pub mod keys_and_channels;
pub mod memory;
pub mod pack;
pub mod registry;
pub mod regular;
pub mod signatures;
pub mod store;
pub mod trust_file;

pub use flat::flat;
pub use kernel_types::KernelTypes;
pub use memory::{Claimed, FollowError, Memory};
pub use pack::pack;
pub use registry::{Credentials, Registry, RegistryError};
pub use store::{Collected, Store, StoreError};
