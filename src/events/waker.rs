//! One connection that listens for all readers of a handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::postgres::Pool;
use crate::store::tables::EVENT_CHANNEL;

/// Notifications that come within this time of each other are one reason to read.
const GATHER: Duration = Duration::from_millis(5);
/// How often it checks whether there are readers, and how soon a lost connection is made again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Notifies readers that there may be new events. It listens as long as there are readers.
pub(crate) struct Waker {
    pool: Pool,
    news: watch::Sender<u64>,
    running: AtomicBool,
}

impl Waker {
    pub fn new(pool: &Pool) -> Arc<Self> {
        let running = AtomicBool::new(false);
        Arc::new(Waker { pool: pool.clone(), news: watch::Sender::new(0), running })
    }

    /// Changes when there may be new events. That the connection which listens is not there, or not
    /// made yet, does not show: readers look by themselves, too.
    pub fn subscribe(self: &Arc<Self>) -> watch::Receiver<u64> {
        let receiver = self.news.subscribe();
        if !self.running.swap(true, Ordering::AcqRel) {
            tokio::spawn(run(self.clone()));
        }
        receiver
    }

    fn is_wanted(&self) -> bool {
        self.news.receiver_count() > 0
    }
}

/// Cut off by the end of its runtime, it leaves the place to the next.
struct Running<'a>(Option<&'a AtomicBool>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.0 {
            running.store(false, Ordering::Release);
        }
    }
}

async fn run(waker: Arc<Waker>) {
    let mut running = Running(Some(&waker.running));
    loop {
        while waker.is_wanted() {
            listen(&waker).await;
        }
        waker.running.store(false, Ordering::Release);
        // A reader that came after the last check saw it running.
        if !waker.is_wanted() || waker.running.swap(true, Ordering::AcqRel) {
            // By now it may be another's.
            running.0 = None;
            return;
        }
    }
}

/// Passes notifications on until nobody wants them or the connection ends.
async fn listen(waker: &Waker) {
    let told = Arc::new(Notify::new());
    let connection = match waker.pool.listen(EVENT_CHANNEL, told.clone()).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(target: "buffetbot_db::events", %error, "no connection to listen on");
            tokio::time::sleep(LOOK_EVERY).await;
            return;
        }
    };
    // What happened before is to be looked for.
    waker.news.send_modify(|news| *news += 1);
    while waker.is_wanted() && !connection.is_discarded() {
        if tokio::time::timeout(LOOK_EVERY, told.notified()).await.is_ok() {
            tokio::time::sleep(GATHER).await;
            waker.news.send_modify(|news| *news += 1);
        }
    }
}
