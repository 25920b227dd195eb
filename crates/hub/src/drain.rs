//! Bodies that nobody wants any more.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

/// Reads what a refused client still sends, within limits: closing at once could cost it the answer.
pub async fn drain(mut body: BodyDataStream) {
    const MOST: usize = 8 << 20;
    const TIME: Duration = Duration::from_secs(2);
    let mut left = MOST;
    let read = async {
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(TIME, read).await;
}
