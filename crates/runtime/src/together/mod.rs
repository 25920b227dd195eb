//! Services that need each other: which one gives what, which maps they have in common, and sets of them that come and go as a
//! whole.

mod back;
mod needs;
mod owed;
mod planned;
mod set;
mod shared;

pub use self::needs::Provider;
pub(crate) use self::set::Left;
pub use self::set::{Member, Together};
pub(crate) use self::shared::{Anew, Shared};
pub use self::shared::{GivenBack, Sharing};
