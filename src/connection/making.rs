//! How bb8 comes by connections, and how many of them may idle.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::manager::Manager;
use super::pg_connection::PgConnection;
use super::pool::{Inner, Pool};
use crate::error::{Error, Result};

/// How long one connection too many may idle: the next burst may want it.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// bb8 owns its manager; the pool asks it for its state too.
pub(super) struct Shared {
    manager: Arc<Manager>,
    pool: Weak<Inner>,
}

impl bb8::ManageConnection for Shared {
    type Connection = PgConnection;
    type Error = Error;

    /// It counts as idle until it is lent: the caller for whom it is made may get one that comes back before.
    async fn connect(&self) -> Result<PgConnection> {
        let under_way = Connecting { pool: &self.pool, has_ended: false };
        let connected = self.manager.connect().await;
        under_way.ended();
        let mut connection = connected?;
        if let Some(inner) = self.pool.upgrade() {
            let (parked, idle) = Parked::new(&inner.idle);
            connection.parked = Some(parked);
            if idle > inner.kept {
                tokio::spawn(trim(self.pool.clone()));
            }
        }
        Ok(connection)
    }
    async fn is_valid(&self, connection: &mut PgConnection) -> Result<()> {
        self.manager.is_valid(connection).await
    }
    fn has_broken(&self, connection: &mut PgConnection) -> bool {
        self.manager.has_broken(connection)
    }
}

/// A connection in the making. Dropped before it has ended, because its runtime shuts down, or by a panic, bb8 would count on
/// it for ever.
struct Connecting<'a> {
    pool: &'a Weak<Inner>,
    has_ended: bool,
}

impl Connecting<'_> {
    fn ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.pool.upgrade().filter(|_| !self.has_ended) {
            inner.is_stuck.store(true, Ordering::Release);
            // Those who wait for it ask again.
            inner.manager.was_cut_off();
        }
    }
}

/// A pool that has made nothing yet.
pub(super) fn bb8(
    manager: &Arc<Manager>,
    pool: &Weak<Inner>,
    max: usize,
    timeout: Duration,
) -> bb8::Pool<Shared> {
    bb8::Pool::builder()
        .max_size(u32::try_from(max).unwrap_or(u32::MAX))
        .queue_strategy(bb8::QueueStrategy::Lifo)
        .connection_timeout(timeout)
        // The waiter repeats it, at a pace that notices soon when the server is back.
        .retry_connection(false)
        // Age has jitter here (see `Manager`), idle time does not matter: a ping finds the dead.
        .max_lifetime(None)
        .idle_timeout(None)
        .build_unchecked(Shared { manager: manager.clone(), pool: pool.clone() })
}

/// Closes an idle connection where there are more than are to be kept.
async fn trim(pool: Weak<Inner>) {
    tokio::time::sleep(TRIM_AFTER).await;
    let Some(inner) = pool.upgrade() else { return };
    if inner.idle.load(Ordering::Acquire) > inner.kept {
        // What comes back is not kept then.
        drop(Pool::from(inner).checkout().await);
    }
}

/// Counts a connection as idle for as long as it exists.
pub(super) struct Parked(Arc<AtomicUsize>);

impl Parked {
    /// And how many are idle with it.
    pub fn new(count: &Arc<AtomicUsize>) -> (Self, usize) {
        let others = count.fetch_add(1, Ordering::AcqRel);
        (Parked(count.clone()), others + 1)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
