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

/// What lends connections: bb8, until a connection that it waits for will never be made. Then another takes its place, and
/// what this one has lent is not taken back.
#[derive(Clone)]
pub(super) struct Lender {
    pub bb8: bb8::Pool<Shared>,
    /// How many of its connections idle.
    pub idle: Arc<AtomicUsize>,
    /// 0 is the pool's first; each that takes the place of another has the next number.
    pub number: u64,
}

impl Lender {
    /// One that has made nothing yet.
    pub fn new(
        number: u64,
        manager: &Arc<Manager>,
        pool: &Weak<Inner>,
        max: usize,
        timeout: Duration,
    ) -> Self {
        let idle = Arc::new(AtomicUsize::new(0));
        let shared =
            Shared { number, manager: manager.clone(), pool: pool.clone(), idle: idle.clone() };
        let bb8 = bb8::Pool::builder()
            .max_size(u32::try_from(max).unwrap_or(u32::MAX))
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .connection_timeout(timeout)
            // The waiter repeats it, at a pace that notices soon when the server is back.
            .retry_connection(false)
            // Age has jitter here (see `Manager`), idle time does not matter: a ping finds the dead.
            .max_lifetime(None)
            .idle_timeout(None)
            .build_unchecked(shared);
        Lender { bb8, idle, number }
    }
}

/// bb8 owns its manager; the pool asks it for its state too.
pub(super) struct Shared {
    /// The lender's.
    number: u64,
    manager: Arc<Manager>,
    pool: Weak<Inner>,
    idle: Arc<AtomicUsize>,
}

impl bb8::ManageConnection for Shared {
    type Connection = PgConnection;
    type Error = Error;

    /// It counts as idle until it is lent: the caller for whom it is made may get one that comes back before.
    async fn connect(&self) -> Result<PgConnection> {
        let under_way = Connecting { lender: self, has_ended: false };
        let connected = self.manager.connect().await;
        under_way.ended();
        let mut connection = connected?;
        let (parked, idle) = Parked::new(&self.idle);
        connection.parked = Some(parked);
        if self.pool.upgrade().is_some_and(|inner| idle > inner.kept) {
            tokio::spawn(trim(self.pool.clone(), self.number));
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

/// A connection in the making. Dropped before it has ended, because its runtime shuts down, or by a panic, bb8 would wait for
/// it without end.
struct Connecting<'a> {
    lender: &'a Shared,
    has_ended: bool,
}

impl Connecting<'_> {
    fn ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.lender.pool.upgrade().filter(|_| !self.has_ended) {
            inner.replace(self.lender.number);
        }
    }
}

/// Closes an idle connection where there are more than are to be kept.
async fn trim(pool: Weak<Inner>, number: u64) {
    tokio::time::sleep(TRIM_AFTER).await;
    let Some(inner) = pool.upgrade() else { return };
    let lender = inner.lender();
    if lender.number == number && lender.idle.load(Ordering::Acquire) > inner.kept {
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
