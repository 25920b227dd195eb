//! The kernel, made safe: load, attach, maps, links, rings, and the programs that skep emits itself.
//!
//! The only crate of the workspace with `unsafe` and the only one that links libbpf. Everything is
//! synchronous. An object goes `object::open` → [`object::Opened`] → [`object::Loaded`]; a loaded
//! [`Program`] is attached by [`attach::attach`], which gives a [`Link`].

pub mod asm;
pub mod attach;
pub mod bpffs;
pub mod cgroup;
pub mod clock;
pub mod error;
pub mod kit;
pub mod loaded;
pub mod maps;
pub mod merge;
pub mod mounts;
mod netlink;
pub mod netns;
pub mod object;
pub mod perf;
mod pin;
mod print;
pub mod probe;
pub mod process;
pub mod program;
pub mod ring;
pub mod sched;
mod socket;
pub mod stub;
mod sys;
pub mod tracefs;
pub mod vmlinux;
mod wake;

pub use attach::{AttachPlan, Link};
pub use error::KernelError;
pub use maps::MapHandle;
pub use object::{LoadError, Loaded, OpenOptions, Opened};
pub use program::Program;
