//! What takes time beside the answers to others: the daemon's one thread of its own waits for sockets only.

use axum::http::StatusCode;

use crate::error::Error;

/// Runs `work` on a thread of its own. A panic in it ends skepd, and the next start takes up what was under way.
///
/// # Errors
/// As `work`, or when skepd ends before it began.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ends = |_| {
        Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "internal",
            "skepd ends, and the operation was not begun: ask again when it runs",
        )
    };
    tokio::task::spawn_blocking(work).await.map_err(ends)?
}
