//! What takes time: answered at once with a number, waited for by that number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::to_raw_value;
use skep_api::{Operation, OperationState};
use tokio::sync::watch;

use crate::error::NodeError;

/// Ended operations that are remembered.
const REMEMBERED: usize = 256;
/// How long one request waits for an end.
const WAIT: Duration = Duration::from_secs(30);

/// The operations of this daemon since it started.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    list: Arc<Mutex<BTreeMap<u64, watch::Receiver<OperationState>>>>,
}

/// The first number: none that an earlier skepd gave, whose client may still ask for it.
fn first() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

impl Operations {
    /// Starts `work`. It goes on if the client goes away.
    pub fn start<T: Serialize>(
        &self,
        work: impl Future<Output = Result<T, NodeError>> + Send + 'static,
    ) -> Operation {
        let (sender, receiver) = watch::channel(OperationState::Running);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let id = list.last_key_value().map_or_else(first, |(last, _)| last + 1);
        list.insert(id, receiver);
        while list.len() > REMEMBERED {
            list.pop_first();
        }
        tokio::spawn(async move {
            let state = match work.await {
                Ok(result) => {
                    OperationState::Done { result: to_raw_value(&result).unwrap_or_default() }
                }
                Err(error) => OperationState::Failed { error: error.body() },
            };
            sender.send_replace(state);
        });
        Operation { id, state: OperationState::Running }
    }

    /// How an operation stands; waits for its end a while if asked to.
    ///
    /// # Errors
    /// There is none of that number.
    pub async fn look(&self, id: u64, wait: bool) -> Result<Operation, NodeError> {
        let receiver = self.list.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let mut receiver = receiver.ok_or(NodeError::NoOperation(id))?;
        if wait {
            let ended = receiver.wait_for(|state| !matches!(state, OperationState::Running));
            // Still running after that long is an answer too.
            let _ = tokio::time::timeout(WAIT, ended).await;
        }
        let state = receiver.borrow().clone();
        Ok(Operation { id, state })
    }
}
