//! Drops the copies in memory whose rows have changed.
//!
//! The log of changes decides; a notification only says when to read it. The reader keeps the snapshot of
//! its last reading and takes the changes that it did not see: each is taken exactly once, in
//! whichever order the transactions committed. A reader that was away resumes where it was; one that was
//! away for longer than the log is kept forgets all that it holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Jsonb, Nullable, Text, Uuid as SqlUuid};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::change::{Change, Changed, ChangedKey};
use super::core::CacheInner;
use crate::error::{Error, Result};
use crate::postgres::PgConnection;
use crate::store::tables::CACHE_CHANNEL;
use crate::store::{Namespace, SNAPSHOT, Snapshot, oldest};
use crate::types::{Document, PortfolioId, Ticker};

/// Notifications that come within this time of each other are one reason to read.
const GATHER: Duration = Duration::from_millis(5);
/// How long a first caller waits for the reader to begin.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon a lost connection is made again.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);
/// How long the log is kept.
pub(super) const KEPT: Duration = Duration::from_secs(3600);
/// How often old log entries and leases are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A reading takes up to so many changes at once: the limit of [`CHANGES`].
const CHUNK: usize = 10_000;

/// The changes that are visible to `$2` and were not to `$1`, after those of `($3, $4)`. The row
/// comparison is what the index serves. Qualified, the order is that of the column, not of the text.
const CHANGES: &str = "
    SELECT transaction::TEXT AS transaction, version, space, ticker, name, parameters, portfolio_id
    FROM cache_changes
    WHERE (transaction, version) > ($3::TEXT::XID8, $4)
        AND NOT pg_visible_in_snapshot(transaction, $1::TEXT::PG_SNAPSHOT)
        AND pg_visible_in_snapshot(transaction, $2::TEXT::PG_SNAPSHOT)
    ORDER BY cache_changes.transaction, version LIMIT 10000";

/// By a function with the owner's rights: a login of the application role alone sees no private key.
const SWEEP: &str = "SELECT sweep_cache_log()";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    transaction: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Text)]
    space: String,
    #[diesel(sql_type = Nullable<Text>)]
    ticker: Option<Ticker>,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    parameters: Option<Document>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    portfolio_id: Option<PortfolioId>,
}

impl Row {
    fn change(self) -> Option<Change> {
        let changed = match (self.ticker.zip(self.name), self.portfolio_id) {
            (Some((ticker, name)), portfolio) => Changed::Key(ChangedKey {
                ticker,
                name: name.into(),
                parameters: self.parameters,
                portfolio,
            }),
            (None, Some(portfolio)) => Changed::Portfolio(portfolio),
            (None, None) => Changed::Namespace,
        };
        // A space of a later version of this crate has no copies here.
        Some(Change { space: Namespace::parse(&self.space)?, changed, version: self.version })
    }
}

/// What the reader and the callers know of each other.
pub(crate) struct Invalidator {
    started: Instant,
    /// When the last complete reading began, in nanoseconds since `started`; 0: never.
    current: AtomicU64,
    wake: Arc<Notify>,
    /// Readings that were asked for, and the latest of them that has been done.
    asked: AtomicU64,
    done: watch::Sender<u64>,
    /// Counts reasons to look at a row again.
    news: watch::Sender<u64>,
    /// It ends with the runtime on which it was started.
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl Invalidator {
    pub fn new() -> Self {
        Invalidator {
            started: Instant::now(),
            current: AtomicU64::new(0),
            wake: Arc::new(Notify::new()),
            asked: AtomicU64::new(0),
            done: watch::Sender::new(0),
            news: watch::Sender::new(0),
            reader: Mutex::default(),
        }
    }

    /// Whether the log was read within the last `bound`.
    pub fn is_current(&self, now: Instant, bound: Duration) -> bool {
        let current = self.current.load(Ordering::Acquire);
        let read_at = self.started + Duration::from_nanos(current);
        current > 0 && now.saturating_duration_since(read_at) <= bound
    }

    /// Starts the reader if it is not running, and then waits until it has begun, or cannot.
    pub async fn ensure_running(&self, core: &Arc<CacheInner>) {
        if self.start(core) {
            self.catch_up().await;
        }
    }

    /// Starts the reader if it is not running. Returns `true` if it started it.
    pub fn start(&self, core: &Arc<CacheInner>) -> bool {
        let mut reader = self.reader();
        let is_running = reader.as_ref().is_some_and(|reader| !reader.is_finished());
        if !is_running {
            *reader = Some(tokio::spawn(run(Arc::downgrade(core))));
        }
        !is_running
    }

    /// Whether there has ever been a reader: without one there are no copies.
    pub fn has_started(&self) -> bool {
        self.reader().is_some()
    }

    fn reader(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        // Each critical section is one assignment.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a reading that began after this call is done. Returns `false` if that did not happen.
    pub async fn catch_up(&self) -> bool {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut done = self.done.subscribe();
        self.wake.notify_one();
        let done = done.wait_for(|done| *done >= mine);
        matches!(tokio::time::timeout(PATIENCE, done).await, Ok(Ok(_)))
    }

    /// Whether somebody waits for a reading.
    fn is_awaited(&self) -> bool {
        self.asked.load(Ordering::Acquire) > *self.done.borrow()
    }

    /// Returns when something may have changed.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

/// Reads the log until the cache is dropped.
async fn run(core: Weak<CacheInner>) {
    let mut reader = Reader { position: None, swept_at: Instant::now() };
    loop {
        let Some(strong) = core.upgrade() else { return };
        let (Some(sync), Some(database)) = (&strong.sync, &strong.database) else { return };
        let (wake, every) = (sync.wake.clone(), strong.options.poll_every.max(GATHER));
        let pool = database.pool().clone();
        drop(strong);
        // A connection of its own: the pool may be exhausted.
        match pool.listen(CACHE_CHANNEL, wake.clone()).await {
            Ok(connection) => reader.follow(&core, &connection, &wake, every).await,
            Err(error) => {
                tracing::debug!(target: "buffetbot_db::cache", %error, "no connection for the log");
            }
        }
        tokio::time::sleep(every.min(RECONNECT_AFTER)).await;
    }
}

struct Reader {
    /// What the last reading saw, and when it was.
    position: Option<(String, Instant)>,
    swept_at: Instant,
}

impl Reader {
    /// Reads whenever there is reason to, until the connection fails or the cache is dropped.
    async fn follow(
        &mut self,
        core: &Weak<CacheInner>,
        connection: &PgConnection,
        wake: &Notify,
        every: Duration,
    ) {
        loop {
            let Some(strong) = core.upgrade() else { return };
            if let Err(error) = self.read(&strong, connection).await {
                tracing::debug!(target: "buffetbot_db::cache", %error, "reading the log failed");
                return;
            }
            drop(strong);
            let is_woken = tokio::time::timeout(every, wake.notified()).await.is_ok();
            let is_awaited =
                || core.upgrade().and_then(|c| Some(c.sync.as_ref()?.is_awaited())) == Some(true);
            if is_woken && !is_awaited() {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// One reading: what the present snapshot sees and the last one did not.
    async fn read(&mut self, core: &CacheInner, connection: &PgConnection) -> Result<()> {
        let Some(sync) = &core.sync else { return Ok(()) };
        let asked = sync.asked.load(Ordering::Acquire);
        let began = Instant::now();
        let limit = core.options.database_timeout;
        let now = within(limit, connection.fetch_optional(diesel::sql_query(SNAPSHOT))).await?;
        let Some(Snapshot { snapshot }) = now else { return Ok(()) };
        let seen = match self.position.take() {
            Some((seen, at)) if at.elapsed() < KEPT => {
                // Put back first: after a failure the same changes are read again.
                self.position = Some((seen.clone(), at));
                Some(seen)
            }
            _ => core.resume().await,
        };
        if let Some(seen) = seen {
            let mut after = (oldest(&seen).to_owned(), -1);
            loop {
                let statement = diesel::sql_query(CHANGES)
                    .bind::<Text, _>(&seen)
                    .bind::<Text, _>(&snapshot)
                    .bind::<Text, _>(&after.0)
                    .bind::<BigInt, _>(after.1);
                let rows: Vec<Row> = within(limit, connection.fetch_all(statement)).await?;
                let Some(last) = rows.last() else { break };
                after = (last.transaction.clone(), last.version);
                let is_full = rows.len() == CHUNK;
                let changes: Vec<Change> = rows.into_iter().filter_map(Row::change).collect();
                core.apply(&changes).await;
                if !is_full {
                    break;
                }
            }
        }
        core.reached(&snapshot).await;
        self.position = Some((snapshot, began));
        let at = began.saturating_duration_since(sync.started).as_nanos();
        sync.current.store(u64::try_from(at).unwrap_or(u64::MAX).max(1), Ordering::Release);
        sync.done.send_replace(asked);
        sync.news.send_modify(|news| *news += 1);
        if self.swept_at.elapsed() >= SWEEP_EVERY {
            self.swept_at = Instant::now();
            within(limit, connection.run(diesel::sql_query(SWEEP))).await?;
        }
        Ok(())
    }
}

/// # Errors
/// `Unavailable` where the server does not answer within `limit`.
async fn within<R>(limit: Duration, work: impl Future<Output = Result<R>>) -> Result<R> {
    let late = || Error::unavailable(format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, work).await.map_err(|_| late())?
}
