//! What a connection shares with the queries in flight on it, and the guard that watches each.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{QueryResult, result::DatabaseErrorInformation};
use tokio_postgres::{Client, RowStream, Statement};

use super::sqlstate::{self, diesel_error};
use super::statement::Built;
use super::statements::Statements;
use super::tls::Tls;

/// How long a cancel request may take: it opens a connection of its own.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatementMode {
    /// Prepared once per connection and kept by text: the fastest, for a server of one's own or
    /// PgBouncer 1.21 and later with `max_prepared_statements`.
    #[default]
    Prepared,
    /// Unnamed and in one round trip, nothing kept on the server: for older PgBouncers in
    /// transaction mode. About 1.6 times the time of a prepared read.
    OneTrip,
}

/// A finished statement, as told to a [`QueryObserver`]. Never the values bound to it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct QueryReport<'a> {
    /// The statement's text, with placeholders.
    pub sql: &'a str,
    /// Rows returned or changed.
    pub rows: u64,
    /// From sending the statement until its last row was here.
    pub elapsed: Duration,
    /// The server's code where it failed, `"?"` where the connection did.
    pub sqlstate: Option<&'a str>,
}

/// Called after every statement, on the task that ran it: be brief.
pub type QueryObserver = Arc<dyn Fn(&QueryReport<'_>) + Send + Sync>;

/// The driver's client and everything that statements in flight need of it.
pub(super) struct Wire {
    pub client: Client,
    statements: Mutex<Statements>,
    mode: StatementMode,
    observer: Option<QueryObserver>,
    slow: Option<Duration>,
    tls: Tls,
    /// Where a cancel request runs, also when the guard is dropped outside of the runtime.
    runtime: tokio::runtime::Handle,
    broken: AtomicBool,
    prepared: AtomicU64,
}

impl Wire {
    pub fn new(client: Client, tls: Tls, options: &super::Options) -> Self {
        Wire {
            client,
            statements: Mutex::new(Statements::new(
                NonZeroUsize::new(options.statement_cache).unwrap_or(NonZeroUsize::MIN),
            )),
            mode: options.mode,
            observer: options.observer.clone(),
            slow: options.slow_query,
            tls,
            runtime: tokio::runtime::Handle::current(),
            broken: AtomicBool::new(false),
            prepared: AtomicU64::new(0),
        }
    }

    /// Whether a statement was abandoned on this connection, or the connection is gone.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire) || self.client.is_closed()
    }

    pub fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub fn mode(&self) -> StatementMode {
        self.mode
    }

    pub fn cached_statements(&self) -> usize {
        self.statements().len()
    }

    /// How many statements were prepared over the connection's life.
    pub fn prepared(&self) -> u64 {
        self.prepared.load(Ordering::Relaxed)
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, Statements> {
        // A panic while it was held leaves at worst a missing entry.
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn prepared_for(&self, built: &Built) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements().get(&built.sql, &built.types) {
            return Ok(statement);
        }
        let statement = self.client.prepare_typed(&built.sql, &built.types).await?;
        self.prepared.fetch_add(1, Ordering::Relaxed);
        self.statements().put(&built.sql, statement.clone());
        Ok(statement)
    }

    /// Sends a statement and returns its rows to come.
    pub async fn query(&self, built: &Built) -> Result<RowStream, tokio_postgres::Error> {
        match self.mode {
            StatementMode::Prepared => {
                let statement = self.prepared_for(built).await?;
                self.client.query_raw(&statement, built.binds.iter()).await
            }
            StatementMode::OneTrip => {
                let typed = built.binds.iter().zip(built.types.iter().cloned());
                self.client.query_typed_raw(&built.sql, typed).await
            }
        }
    }

    /// Runs a statement, giving up on its rows; returns how many it changed. A plan that a
    /// migration made stale is prepared anew, once: the server refused it before it had any effect.
    pub async fn execute(&self, built: &Built) -> Result<u64, tokio_postgres::Error> {
        match self.execute_once(built).await {
            Err(e) if sqlstate::is_stale_plan(&e) => {
                self.statements().forget(&built.sql);
                // Inside a transaction the second error only says that the first aborted it.
                self.execute_once(built).await.map_err(|again| first_cause(e, again))
            }
            other => other,
        }
    }

    async fn execute_once(&self, built: &Built) -> Result<u64, tokio_postgres::Error> {
        match self.mode {
            StatementMode::Prepared => {
                let statement = self.prepared_for(built).await?;
                self.client.execute_raw(&statement, built.binds.iter()).await
            }
            StatementMode::OneTrip => {
                let typed: Vec<_> = built
                    .binds
                    .iter()
                    .map(|b| b as &(dyn tokio_postgres::types::ToSql + Sync))
                    .zip(built.types.iter().cloned())
                    .collect();
                self.client.execute_typed(&built.sql, &typed).await
            }
        }
    }

    /// The statement's text is no longer to be trusted on this connection.
    pub fn forget(&self, sql: &str) {
        self.statements().forget(sql);
    }
}

/// Of a stale plan's error and that of its repetition: the one that tells the caller more.
pub(super) fn first_cause(
    first: tokio_postgres::Error,
    again: tokio_postgres::Error,
) -> tokio_postgres::Error {
    match again.code().map(|c| c.code()) {
        Some("25P02") => first,
        _ => again,
    }
}

/// Watches one statement. Dropped before [`finish`](Guard::finish), the statement was abandoned:
/// the server is asked to cancel it and the connection is never used again, because whatever is
/// still coming would be read as the next statement's answer or stall it.
pub(super) struct Guard {
    wire: Arc<Wire>,
    sql: Arc<str>,
    started: Instant,
    armed: bool,
}

impl Guard {
    /// # Errors
    /// The connection was discarded.
    pub fn arm(wire: &Arc<Wire>, sql: &Arc<str>) -> QueryResult<Self> {
        if wire.broken.load(Ordering::Acquire) {
            return Err(DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection,
                Box::new(Discarded),
            ));
        }
        Ok(Guard { wire: wire.clone(), sql: sql.clone(), started: Instant::now(), armed: true })
    }

    pub fn finish(mut self, rows: u64) {
        self.report(rows, None);
    }

    pub fn fail(mut self, error: tokio_postgres::Error) -> DieselError {
        if sqlstate::is_stale_plan(&error) {
            self.wire.forget(&self.sql);
        }
        let code = error.code().map_or_else(|| "?".to_owned(), |c| c.code().to_owned());
        let waited = self.started.elapsed();
        if sqlstate::ends_connection(&error) {
            self.wire.mark_broken();
        }
        self.report(0, Some(&code));
        diesel_error(error, waited)
    }

    fn report(&mut self, rows: u64, sqlstate: Option<&str>) {
        self.armed = false;
        let elapsed = self.started.elapsed();
        let sql = &*self.sql;
        if self.wire.slow.is_some_and(|limit| elapsed >= limit) {
            tracing::warn!(target: "buffetbot_db::slow", sql, rows, ?elapsed, sqlstate, "slow statement");
        } else {
            tracing::trace!(target: "buffetbot_db::query", sql, rows, ?elapsed, sqlstate);
        }
        if let Some(observer) = &self.wire.observer {
            observer(&QueryReport { sql, rows, elapsed, sqlstate });
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.wire.mark_broken();
        let token = self.wire.client.cancel_token();
        let tls = self.wire.tls.clone();
        self.wire.runtime.spawn(async move {
            let cancel = tls.cancel(token);
            // Best effort: without it the server notices when the statement ends.
            if tokio::time::timeout(CANCEL_TIMEOUT, cancel).await.is_err() {
                tracing::warn!(target: "buffetbot_db::connection", "cancel request timed out");
            }
        });
        let (sql, elapsed) = (&*self.sql, self.started.elapsed());
        tracing::debug!(target: "buffetbot_db::connection", sql, ?elapsed, "statement abandoned and cancelled");
    }
}

/// The error of a statement on a connection that was discarded.
struct Discarded;

impl DatabaseErrorInformation for Discarded {
    fn message(&self) -> &str {
        "the connection was discarded after an abandoned statement"
    }
    fn details(&self) -> Option<&str> {
        None
    }
    fn hint(&self) -> Option<&str> {
        None
    }
    fn table_name(&self) -> Option<&str> {
        None
    }
    fn column_name(&self) -> Option<&str> {
        None
    }
    fn constraint_name(&self) -> Option<&str> {
        None
    }
    fn statement_position(&self) -> Option<i32> {
        None
    }
}
