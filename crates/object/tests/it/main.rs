//! Objects built with the system's clang, read back.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod build;
mod corpus;
mod difference;
mod disasm;
mod encode;
mod events;
mod facts;
mod foreign;
mod forge;
mod hostile;
mod layouts;
mod loaders;
mod made;
mod peers;
mod permissions;
mod refused;
mod types;
mod uses;
mod writers;
