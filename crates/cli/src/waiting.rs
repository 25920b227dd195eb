//! Work that waits for others, done to its end.

use crate::error::{Result, failed};

/// Does it to its end.
///
/// # Errors
/// As `work`, or when the machine gives no threads.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(work)
}
