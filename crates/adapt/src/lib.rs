//! How a program is changed so that it runs on a kernel, the report of what was changed, and the standard's requirements:
//! what a kernel has ([`KernelFacts`]), what an object needs of it ([`need`]), and whether both meet.
//!
//! Pure: whoever loads programs applies the passes and writes each [`Change`] into the report. The requirements decide nothing
//! there, since the kernel itself is asked by trying; the standard's vectors hold them. Of a kernel that does not run here they say
//! what its types let be known ([`of_types`], [`outlook`]).

mod change;
mod kernel_facts;
pub mod lost;
pub mod need;
pub mod of_types;
pub mod older;
pub mod outlook;
mod raw_btf;
pub mod renamed;
pub mod reread;
pub mod silent;

pub use change::{Change, Pass, Report};
pub use kernel_facts::{Feature, FeatureError, KernelFacts, Support};
