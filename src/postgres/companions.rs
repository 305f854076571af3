//! The calls that run beside each other on one connection. In `try_join!` an error of one drops the others: where it
//! waits for their answers first, nothing is dropped in flight, and what harmed nothing does no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Longest wait: somebody may keep a call and not poll it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many statements of a connection are in flight.
#[derive(Default)]
pub(super) struct Companions {
    waiting: AtomicUsize,
    quiet: Notify,
}

impl Companions {
    /// One more is, until this is dropped.
    pub fn joined(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self.clone())
    }

    /// Returns when no call waits any more.
    pub async fn quiet(&self) {
        let quiet = async {
            loop {
                let mut told = std::pin::pin!(self.quiet.notified());
                told.as_mut().enable();
                if self.waiting.load(Ordering::Acquire) == 0 {
                    return;
                }
                told.await;
            }
        };
        // A call that waits longer may be dropped by the caller.
        let _ = tokio::time::timeout(PATIENCE, quiet).await;
    }
}

/// A call that is waited for.
pub(crate) struct Waiting(Arc<Companions>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}
