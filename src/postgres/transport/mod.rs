//! What a connection shares with the queries in flight on it, and the guard that watches each.

mod guard;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use futures_util::FutureExt;
use tokio_postgres::{Client, RowStream, SimpleQueryStream, Statement};

use crate::config::{QueryObserver, StatementMode};
use crate::postgres::cancel::Canceller;
use crate::postgres::companions::Companions;
use crate::postgres::lending::OwnSql;
use crate::postgres::receipts::Asked;
use crate::postgres::rendered_query::RenderedQuery;
use crate::postgres::scope::{Scope, Sending};
use crate::postgres::sqlstate;
use crate::postgres::sqlstate::{closed, diesel_error};
use crate::postgres::statement_cache::Statements;
use crate::postgres::tls::Driver;

pub(super) use self::guard::{Deadline, Guard};

/// How long a cancel request may take: it opens a connection of its own.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// Binds of the largest statement that is kept prepared. Larger ones are batches, whose text differs with every number of
/// rows: kept, each would take memory of the server's for as long as the connection lives.
const MOST_KEPT_BINDS: usize = 64;

/// Why a connection is of no more use.
const UNANSWERED: &str = "the server did not answer a call on it in time";
const DROPPED: &str = "a call on it was dropped before its answer came";

/// The SQLSTATE of a write where only reading is possible.
const READ_ONLY: &str = "25006";

/// The SQLSTATE of a prepared statement that does not exist.
const FORGOTTEN: &str = "26000";

/// From which age on a connection that cannot write is replaced: where none can, it is so once in that time.
const READ_ONLY_AGE: Duration = Duration::from_secs(1);

/// The driver's client and everything that statements in flight need of it.
pub(super) struct Transport {
    pub client: Client,
    driver: Driver,
    statements: Mutex<Statements>,
    mode: StatementMode,
    observer: Option<QueryObserver>,
    slow: Option<Duration>,
    answer_timeout: Option<Duration>,
    pooled: bool,
    patient: AtomicBool,
    canceller: Canceller,
    /// Where a cancel request runs, also when the guard is dropped outside of the runtime.
    runtime: tokio::runtime::Handle,
    broken: AtomicBool,
    /// Why, where a statement on it went unanswered.
    abandoned: OnceLock<&'static str>,
    pub companions: Arc<Companions>,
    read_only: AtomicBool,
    made: Instant,
    prepared: AtomicU64,
    /// Statements of a borrower.
    pub own_sql: OwnSql,
    /// The server refused a statement: a transaction that is open may be aborted.
    failed: AtomicBool,
    /// Whether what is sent is part of a transaction.
    scope: Scope,
    /// The transaction that is open is to have a receipt.
    asked: Mutex<Option<Arc<Asked>>>,
    /// The server forgot a statement that was prepared here.
    forgotten: AtomicBool,
}

impl Transport {
    pub fn new(
        client: Client,
        driver: Driver,
        canceller: Canceller,
        options: &super::pg_connection::Options,
    ) -> Self {
        Transport {
            client,
            driver,
            statements: Mutex::new(Statements::new(
                NonZeroUsize::new(options.statement_cache).unwrap_or(NonZeroUsize::MIN),
            )),
            mode: options.mode,
            observer: options.observer.clone(),
            slow: options.slow_query,
            answer_timeout: options.answer_timeout,
            pooled: options.transaction_pooler,
            patient: AtomicBool::new(false),
            canceller,
            runtime: tokio::runtime::Handle::current(),
            broken: AtomicBool::new(false),
            abandoned: OnceLock::new(),
            companions: Arc::default(),
            read_only: AtomicBool::new(false),
            made: Instant::now(),
            prepared: AtomicU64::new(0),
            own_sql: OwnSql::default(),
            failed: AtomicBool::new(false),
            scope: Scope::default(),
            asked: Mutex::default(),
            forgotten: AtomicBool::new(false),
        }
    }

    /// Whether the transaction that is open may have written something.
    pub fn has_written(&self) -> bool {
        self.scope.has_written()
    }

    /// Whether a pooler stands in between that gives each transaction another session.
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// Whether the server refused a statement since this was last asked.
    pub fn take_failed(&self) -> bool {
        self.failed.swap(false, Ordering::AcqRel)
    }

    /// Runs what nobody waits for, also where the caller is outside of the runtime.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Whether a statement was abandoned on this connection, or the connection is gone.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire) || self.client.is_closed()
    }

    /// Why the connection was discarded, where a statement on it went unanswered.
    pub fn abandoned(&self) -> Option<&'static str> {
        self.abandoned.get().copied()
    }

    /// What the server said last, where that ended the connection.
    fn last_word(&self) -> Option<&tokio_postgres::Error> {
        self.driver.end.get().filter(|end| end.as_db_error().is_some())
    }

    /// The transaction that has begun is to have a receipt.
    pub fn ask_for_receipt(&self, asked: Arc<Asked>) {
        *self.asked() = Some(asked);
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Option<Arc<Asked>>> {
        // Nothing panics while it is held.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transaction is over, or will be when what is sent now was run.
    pub fn transaction_ends(&self) {
        self.scope.ends();
        *self.asked() = None;
    }

    /// Puts a message of statements into the driver's queue, without waiting; returns the stream of its answers, which may be
    /// dropped. `None` if the connection is closed.
    ///
    /// The driver's `batch_execute` does not serve for that: polled once it has sent the message too, but is also ready
    /// where the answer came during that poll.
    pub fn queue(&self, sql: &str) -> Option<SimpleQueryStream> {
        self.client.simple_query_raw(sql).now_or_never()?.ok()
    }

    /// To be called before statements are sent whose answer nobody waits for.
    pub fn sends_unheard(&self, sql: &str) {
        self.sends(self.scope.sends(sql));
    }

    /// To be called before a statement is sent.
    fn sends(&self, sending: Sending) -> Sending {
        if sending.boundaries.ends {
            *self.asked() = None;
        } else if self.scope.has_written()
            && let Some(asked) = &*self.asked()
        {
            asked.before_write(self);
        }
        sending
    }

    /// # Errors
    /// The connection was discarded or is closed.
    fn check_open(&self) -> QueryResult<()> {
        if !self.is_broken() {
            return Ok(());
        }
        if let Some(end) = self.last_word() {
            return Err(diesel_error(end, Duration::ZERO));
        }
        let reason = match self.broken.load(Ordering::Acquire) {
            true => "the connection was discarded after an abandoned statement",
            false => "the connection was closed",
        };
        Err(closed(reason.into(), false))
    }

    pub fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Cuts the connection off. The driver ends it only when all answers have come, and the server may itself wait,
    /// for the data of a COPY: it would keep the transaction and its locks.
    pub fn close(&self) {
        self.mark_broken();
        self.driver.task.abort();
    }

    /// Whether another connection may be of more use: this one lost its prepared statements, or was refused a write
    /// and is not new. After a failover the old host often lives on as a standby, and its connections with it.
    pub fn is_outlived(&self) -> bool {
        // The driver's own statements, which are not known here, are gone with it.
        if self.forgotten.load(Ordering::Relaxed) {
            return true;
        }
        self.read_only.load(Ordering::Relaxed) && self.made.elapsed() > READ_ONLY_AGE
    }

    pub fn disable_timeouts(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }

    /// How long to wait for the server's next message.
    fn answer_timeout(&self) -> Option<Duration> {
        self.answer_timeout.filter(|_| !self.patient.load(Ordering::Relaxed))
    }

    /// Waits for the server's answer to what writes nothing.
    ///
    /// # Errors
    /// None came in time. The statement is to be abandoned then.
    pub async fn answered<T>(&self, answer: impl Future<Output = T>) -> QueryResult<T> {
        match self.answer_timeout() {
            None => Ok(answer.await),
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(|_| closed(format!("no answer within {limit:?}"), false)),
        }
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

    async fn prepared_for(
        &self,
        built: &RenderedQuery,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements().get(&built.sql, &built.types) {
            return Ok(statement);
        }
        let statement = self.client.prepare_typed(&built.sql, &built.types).await?;
        self.prepared.fetch_add(1, Ordering::Relaxed);
        // One that is not kept is closed on the server when its last clone is dropped.
        if built.binds.len() <= MOST_KEPT_BINDS {
            self.statements().put(&built.sql, statement.clone());
        }
        Ok(statement)
    }

    /// Sends a statement and returns the stream of its rows.
    pub async fn query(
        &self,
        built: &RenderedQuery,
        guard: &Guard,
    ) -> Result<RowStream, tokio_postgres::Error> {
        match self.mode {
            StatementMode::Prepared => {
                let statement = self.prepared_for(built).await?;
                guard.is_sent();
                self.client.query_raw(&statement, built.binds.iter()).await
            }
            StatementMode::OneTrip => {
                let typed = built.binds.iter().zip(built.types.iter().cloned());
                guard.is_sent();
                self.client.query_typed_raw(&built.sql, typed).await
            }
        }
    }

    /// Runs a statement, giving up on its rows; returns how many it changed. A plan that a
    /// migration made stale is prepared again, once: the server refused it before it had any effect.
    pub async fn execute(
        &self,
        built: &RenderedQuery,
        guard: &Guard,
    ) -> Result<u64, tokio_postgres::Error> {
        match self.execute_once(built, guard).await {
            Err(e) if sqlstate::is_stale_plan(&e) => {
                self.forget(&built.sql, &e);
                // Inside a transaction the second error only says that the first aborted it.
                self.execute_once(built, guard).await.map_err(|again| first_cause(e, again))
            }
            other => other,
        }
    }

    async fn execute_once(
        &self,
        built: &RenderedQuery,
        guard: &Guard,
    ) -> Result<u64, tokio_postgres::Error> {
        match self.mode {
            StatementMode::Prepared => {
                let statement = self.prepared_for(built).await?;
                guard.is_sent();
                self.client.execute_raw(&statement, built.binds.iter()).await
            }
            StatementMode::OneTrip => {
                let typed: Vec<_> = built
                    .binds
                    .iter()
                    .map(|b| b as &(dyn tokio_postgres::types::ToSql + Sync))
                    .zip(built.types.iter().cloned())
                    .collect();
                guard.is_sent();
                self.client.execute_typed(&built.sql, &typed).await
            }
        }
    }

    /// The statement's text is no longer to be trusted on this connection.
    pub fn forget(&self, sql: &str, stale: &tokio_postgres::Error) {
        self.statements().forget(sql);
        if stale.code().is_some_and(|c| c.code() == FORGOTTEN) {
            self.forgotten.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Transport {
    /// What was abandoned ends on the server too, also where that hears no cancel request because it waits for
    /// the data of a COPY.
    fn drop(&mut self) {
        if self.broken.load(Ordering::Acquire) && !self.driver.task.is_finished() {
            let driver = self.driver.task.clone();
            self.runtime.spawn(async move {
                tokio::time::sleep(CANCEL_TIMEOUT).await;
                driver.abort();
            });
        }
    }
}

/// Of a stale plan's error and that of its repetition: the one that says more.
pub(super) fn first_cause(
    first: tokio_postgres::Error,
    again: tokio_postgres::Error,
) -> tokio_postgres::Error {
    match again.code().map(|c| c.code()) {
        Some("25P02") => first,
        _ => again,
    }
}
