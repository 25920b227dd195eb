//! Facts from untrusted BPF objects: what an ELF and its BTF say, before any kernel sees them.
//!
//! Everything here is pure: bytes in, facts or a typed refusal out. Input is hostile, so that each table has
//! a limit ([`limits`]) and no walk goes on for ever. The kernel's own rules decide what loads; this crate
//! only reads.

mod attach;
pub mod bound;
pub mod btf;
pub mod btf_ext;
mod calls;
pub mod carve;
mod core_kind;
pub mod declared;
mod defaults;
pub mod difference;
pub mod disasm;
mod elf;
pub mod event;
mod facts;
mod fit;
mod flow;
pub mod functions;
mod global;
pub mod gpl;
mod guard;
pub mod helper;
pub mod insn;
mod jump;
mod kernel_enum;
mod kind;
pub mod layout;
pub mod limits;
mod loose;
mod map;
mod mark;
pub mod moves;
pub mod named;
mod opened;
mod outside;
pub mod permissions;
mod place;
mod program;
pub mod share;
mod shown;
mod slot;
mod stack;
pub mod suit;
mod tail;
mod texts;
mod unlisted;
pub mod usdt;
mod uses;
mod variables;
mod writers;

pub use btf::{Btf, TypeId};
pub use core_kind::CoreKind;
pub use defaults::with_defaults;
pub use facts::{Facts, ObjectError};
pub use fit::{Unfit, fit};
pub use global::Global;
pub use guard::Guard;
pub use kind::ProgramKind;
pub use loose::Loose;
pub use map::{MapFacts, MapKind, MapOrigin, Memory, OpenSize};
pub use outside::{Outside, OutsideKind};
pub use program::{CoreRelocation, ProgramFacts, Source};
pub use shown::{shown, shown_json, shown_lines};
pub use slot::Slot;
pub use unlisted::{Unlisted, unlisted};
pub use uses::{Use, Used};
pub use writers::Writers;
