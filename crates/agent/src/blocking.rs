//! What takes time beside the answers to others: the daemon's one thread of its own waits for sockets only.

use std::sync::Arc;

use crate::ending::Ending;
use crate::error::NodeError;
use crate::node::Node;

/// Runs `work` on a thread of its own; the end of skepd waits for it. A panic in it ends skepd, and the next start takes up what
/// was under way.
///
/// # Errors
/// As `work`, or when skepd ends before it began.
pub async fn blocking<T: Send + 'static>(
    node: Arc<Node>,
    work: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    let at_work = node.ending().at_work()?;
    let task = tokio::task::spawn_blocking(move || {
        let _at_work = at_work;
        work(&node)
    });
    task.await.map_err(|_| Ending::ended())?
}
