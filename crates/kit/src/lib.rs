//! From C to a package: projects, clang, kernel types, the lock file, linking; and kernels for tests.
//!
//! A project goes [`project::Project::read`] → [`build::build`] → [`pack::pack`].

pub mod attest;
pub mod build;
pub mod export;
pub mod folder;
pub mod guest;
pub mod import;
pub mod kernels;
mod lines;
pub mod lint;
pub mod pack;
pub mod project;
pub mod template;

pub use lines::has_lines;
