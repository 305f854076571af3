//! What a connection shares with the queries in flight on it, and the guard that watches each.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::result::Error as DieselError;
use futures_util::FutureExt;
use tokio::time::Sleep;
use tokio_postgres::{Client, RowStream, SimpleQueryStream, Statement};

use super::cancel::Canceller;
use super::companions::{Companions, Waiting};
use super::lending::OwnSql;
use super::receipts::Asked;
use super::rendered_query::RenderedQuery;
use super::scope::{Scope, Sending};
use super::sqlstate;
use super::sqlstate::{closed, diesel_error, diesel_error_of};
use super::statement_cache::Statements;
use super::tls::Driver;
use crate::config::{QueryObserver, QueryReport, StatementMode};

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

    pub fn set_patient(&self, patient: bool) {
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

/// Watches one statement. Dropped before [`finish`](Guard::finish), the statement was abandoned:
/// the server is asked to cancel it and the connection is never used again, because whatever is
/// still coming would be read as the next statement's answer or stall it.
pub(super) struct Guard {
    wire: Arc<Transport>,
    sql: Arc<str>,
    started: Instant,
    armed: bool,
    sending: Sending,
    /// The server may have begun to run it.
    sent: AtomicBool,
    /// Others wait for its answer before they end what drops it.
    _waiting: Waiting,
}

impl Guard {
    /// Of one statement. Until [`is_sent`](Self::is_sent) it is known to have had no effect.
    ///
    /// # Errors
    /// The connection was discarded or is closed: nothing is sent.
    pub fn arm(wire: &Arc<Transport>, sql: &Arc<str>) -> QueryResult<Self> {
        wire.check_open()?;
        Ok(Self::armed(wire, sql, wire.sends(wire.scope.sends_one(sql)), false))
    }

    /// Of a message of statements without binds, which is sent at once.
    ///
    /// # Errors
    /// As [`arm`](Self::arm).
    pub fn arm_batch(wire: &Arc<Transport>, sql: &Arc<str>) -> QueryResult<Self> {
        wire.check_open()?;
        Ok(Self::armed(wire, sql, wire.sends(wire.scope.sends(sql)), true))
    }

    fn armed(wire: &Arc<Transport>, sql: &Arc<str>, sending: Sending, sent: bool) -> Self {
        Guard {
            sql: sql.clone(),
            started: Instant::now(),
            armed: true,
            sending,
            sent: AtomicBool::new(sent),
            _waiting: wire.companions.joined(),
            wire: wire.clone(),
        }
    }

    /// From here on the server may run the statement.
    pub fn is_sent(&self) {
        self.sent.store(true, Ordering::Release);
    }

    /// Whether the statement, which was not answered, may have made something permanent.
    fn may_have_committed(&self) -> bool {
        self.sent.load(Ordering::Acquire)
            && self.wire.scope.may_have_committed(&self.sql, &self.sending)
    }

    /// Waits for the server's answer.
    ///
    /// # Errors
    /// None came in time. The statement is to be abandoned then.
    pub async fn answered<T>(&self, answer: impl Future<Output = T>) -> QueryResult<T> {
        match self.wire.answer_timeout() {
            None => Ok(answer.await),
            Some(limit) => {
                tokio::time::timeout(limit, answer).await.map_err(|_| self.unanswered(limit))
            }
        }
    }

    /// The error of a statement that the server did not answer.
    pub(super) fn unanswered(&self, limit: Duration) -> DieselError {
        self.wire.abandoned.get_or_init(|| UNANSWERED);
        closed(format!("no answer within {limit:?}"), self.may_have_committed())
    }

    pub fn finish(mut self, rows: u64) {
        self.wire.scope.is_done(&self.sending);
        self.report(rows, None);
    }

    pub fn fail(mut self, error: tokio_postgres::Error) -> DieselError {
        let wire = self.wire.clone();
        // The server's last message on a closed connection says why.
        let error = if error.is_closed() { wire.last_word().unwrap_or(&error) } else { &error };
        if sqlstate::is_stale_plan(error) {
            self.wire.forget(&self.sql, error);
        }
        self.wire.failed.store(true, Ordering::Release);
        let code = error.code().map_or_else(|| "?".to_owned(), |c| c.code().to_owned());
        let waited = self.started.elapsed();
        let unknown = sqlstate::leaves_outcome_open(error) && self.may_have_committed();
        match sqlstate::ends_connection(error) {
            // An answer that the driver does not expect, such as that to a COPY by its text.
            true if error.as_db_error().is_none() => self.wire.close(),
            true => self.wire.mark_broken(),
            false => {}
        }
        if code == READ_ONLY {
            self.wire.read_only.store(true, Ordering::Relaxed);
        }
        self.report(0, Some(&code));
        diesel_error_of(error, waited, unknown)
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
        self.wire.abandoned.get_or_init(|| DROPPED);
        self.wire.mark_broken();
        let token = self.wire.client.cancel_token();
        let canceller = self.wire.canceller.clone();
        self.wire.runtime.spawn(async move {
            let cancel = canceller.cancel(token);
            // Best effort: without it the server notices when the statement ends.
            let reason = match tokio::time::timeout(CANCEL_TIMEOUT, cancel).await {
                Ok(Ok(())) => return,
                Ok(Err(e)) => sqlstate::without_secrets(&e),
                Err(_) => "timed out".into(),
            };
            tracing::warn!(target: "buffetbot_db::connection", reason, "cancel request failed");
        });
        let (sql, elapsed) = (&*self.sql, self.started.elapsed());
        tracing::debug!(target: "buffetbot_db::connection", sql, ?elapsed, "statement abandoned and cancelled");
    }
}

/// Runs while the server's next message is waited for.
#[derive(Default)]
pub(super) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// The message has come.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Ready, with the limit, when the message on the guarded statement is late.
    pub fn poll(&mut self, guard: Option<&Guard>, context: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = guard.and_then(|guard| guard.wire.answer_timeout()) else {
            return Poll::Pending;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(context).map(|()| limit)
    }
}
