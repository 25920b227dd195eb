//! What a kernel can do, what an object needs of it, and how a program is changed so that both meet.
//!
//! Pure: `skep-kernel` asks the kernel and fills [`KernelFacts`]; decisions are made here, so that the
//! hub can make them for kernels that it does not run on. Every decision is a [`Change`] of the load report.

mod change;
pub mod decide;
mod ground;
mod kernel_facts;
pub mod lost;
pub mod need;

pub use change::{Change, Pass};
pub use ground::Ground;
pub use kernel_facts::{Feature, FeatureError, KernelFacts, Support};
