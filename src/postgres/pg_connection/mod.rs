//! One connection to PostgreSQL that speaks Diesel.

mod borrowed;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::connection::Instrumentation;
use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment};
use diesel::query_dsl::CompatibleType;
use diesel_async::AnsiTransactionManager;
use futures_util::TryStreamExt;
use tokio::sync::Notify;

use crate::config::{Config, QueryObserver, StatementMode};
use crate::error::{Result, Unreadable};
use crate::postgres::cancel::Canceller;
use crate::postgres::channel_stream::Sender;
use crate::postgres::decoded::{decoded, place};
use crate::postgres::lending::Standing;
use crate::postgres::rendered_query::RenderedQuery;
use crate::postgres::row_stream;
use crate::postgres::tls::Tls;
use crate::postgres::transport::Transport;
use crate::types::Page;

/// How a connection behaves; see [`Config`](crate::Config) for the meaning and the defaults.
#[derive(Clone)]
pub(crate) struct Options {
    pub mode: StatementMode,
    /// Prepared statements kept per connection.
    pub statement_cache: usize,
    pub slow_query: Option<Duration>,
    pub observer: Option<QueryObserver>,
    /// Longest wait for the server's next message.
    pub answer_timeout: Option<Duration>,
    /// A pooler gives each transaction another session.
    pub transaction_pooler: bool,
}

impl Options {
    pub fn new(config: &Config) -> Self {
        Options {
            mode: config.statement_mode,
            statement_cache: config.statement_cache,
            slow_query: config.slow_query,
            observer: config.observer.clone(),
            answer_timeout: config.answer_limit(),
            transaction_pooler: config.is_behind_transaction_pooler(),
        }
    }
}

/// A connection to PostgreSQL, for any Diesel query: `query.load(&mut &connection)` or, by
/// [`diesel_async`]'s traits, `&mut connection`.
///
/// Queries run on a shared reference, so independent ones pipeline: `try_join!` of ten takes about
/// one round trip. Statements are prepared once per connection and kept by text, UPDATEs and
/// upserts included. A query whose future (or row stream) is dropped unfinished is cancelled on the
/// server, and the connection is discarded rather than reused.
///
/// `transaction()` of [`AsyncConnection`](diesel_async::AsyncConnection) works on it, and commits nothing that an error has aborted. Its
/// future dropped between two statements leaves the transaction open until the connection goes back to its
/// pool: let go of it then, or use [`Database::transaction`](crate::Database::transaction).
///
/// A pool resets what a borrower's statements left: see [`Database::connection`](crate::Database::connection).
pub struct PgConnection {
    wire: Arc<Transport>,
    pub(super) transaction_state: AnsiTransactionManager,
    // Diesel's trait wants it; it is not `Sync`, the connection is. It gets no events: they
    // show bind values. `Config::observer` reports statements.
    instrumentation: Mutex<Box<dyn Instrumentation>>,
    pub(super) last_used: Instant,
    /// When the connection is too old to be handed out again.
    pub(super) retire_at: Option<Instant>,
    /// While it lies in the pool.
    pub(super) parked: Option<crate::postgres::making::Parked>,
    // Counts the pool's open connections; dropped with the connection.
    pub(super) open: Option<Arc<()>>,
    /// What the pool resets it to; `None` where nothing is set for a session.
    pub(super) standing: Option<Arc<Standing>>,
    /// A borrower's statements up to which it is clean.
    pub(super) cleaned: u64,
    /// While it is being reset: whether it is clean then.
    pub(super) cleaning: Option<tokio::task::JoinHandle<bool>>,
}

impl PgConnection {
    pub(crate) async fn connect(
        config: &tokio_postgres::Config,
        tls: &Tls,
        options: &Options,
        wake: Option<Arc<Notify>>,
    ) -> Result<Self, tokio_postgres::Error> {
        let (client, driver) = tls.connect(config, wake).await?;
        Ok(PgConnection {
            wire: Arc::new(Transport::new(client, driver, Canceller::new(config, tls), options)),
            transaction_state: AnsiTransactionManager::default(),
            instrumentation: Mutex::new(Box::new(None::<Box<dyn Instrumentation>>)),
            last_used: Instant::now(),
            retire_at: None,
            parked: None,
            open: None,
            standing: None,
            cleaned: 0,
            cleaning: None,
        })
    }

    /// Prepares the session for a pool, unless a pooler gives it to others as well.
    pub(super) async fn prepare_session(&mut self) -> Result<(), tokio_postgres::Error> {
        if !self.wire.is_pooled() {
            self.standing = Standing::begin(&self.wire.client).await?;
        }
        Ok(())
    }

    /// Whether the connection was discarded (a statement on it was abandoned) or closed.
    pub fn is_discarded(&self) -> bool {
        self.wire.is_broken()
    }

    /// Statements that this connection holds prepared now.
    pub fn cached_statements(&self) -> usize {
        self.wire.cached_statements()
    }

    /// Statements prepared over the connection's life: it stays still while texts repeat.
    pub fn prepared_statements(&self) -> u64 {
        self.wire.prepared()
    }

    /// Every row of `query`, which only reads, in the query's order.
    ///
    /// # Errors
    /// Whatever the server reports, by [`Error`]; [`Error::Corrupt`] for a row that does not decode.
    pub(crate) async fn fetch_all<Q, U, ST>(&self, query: Q) -> Result<Vec<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        // Rendered before the first await, so that the future holds no part of the query.
        let built = RenderedQuery::reading(&query.as_query());
        self.all(&built?).await
    }

    /// As [`fetch_all`](Self::fetch_all), of a rendered query.
    pub(crate) async fn all<U, ST>(&self, built: &RenderedQuery) -> Result<Vec<U>>
    where
        U: FromSqlRow<ST, Pg>,
    {
        let mut rows = row_stream::load(&self.wire, built).await?;
        // Read to the end, also where a row does not decode: what is left unread may cost the connection.
        let mut all = Ok(Vec::new());
        while let Some(row) = rows.try_next().await? {
            if let Ok(rows) = &mut all {
                match decoded(&row) {
                    Ok(row) => rows.push(row),
                    Err(unreadable) => all = Err(unreadable.into()),
                }
            }
        }
        all
    }

    /// As [`fetch_all`](Self::fetch_all); a row that does not decode stands in its place, as what is wrong with it.
    ///
    /// # Errors
    /// Whatever the server reports, by [`Error`].
    pub(crate) async fn fetch_each<Q, U, ST>(&self, query: Q) -> Result<Vec<Result<U, Unreadable>>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let built = RenderedQuery::reading(&query.as_query());
        self.each(&built?).await
    }

    /// As [`fetch_each`](Self::fetch_each), of a rendered query.
    ///
    /// # Errors
    /// Whatever the server reports, by [`Error`].
    pub(crate) async fn each<U, ST>(
        &self,
        built: &RenderedQuery,
    ) -> Result<Vec<Result<U, Unreadable>>>
    where
        U: FromSqlRow<ST, Pg>,
    {
        let mut rows = row_stream::load(&self.wire, built).await?;
        let mut each = Vec::new();
        while let Some(row) = rows.try_next().await? {
            each.push(decoded(&row));
        }
        Ok(each)
    }

    /// Up to `limit` rows as a page of a list that is sorted by the column `at` and by id; a row beyond them says that
    /// there is a next page.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    pub(crate) async fn page<U, ST>(
        &self,
        built: &RenderedQuery,
        at: &str,
        limit: usize,
    ) -> Result<Page<U>>
    where
        U: FromSqlRow<ST, Pg>,
    {
        let mut rows = row_stream::load(&self.wire, built).await?;
        let mut page = Page { items: Vec::new(), next: None, unreadable: Vec::new() };
        let mut last = None;
        let mut taken = 0;
        while let Some(row) = rows.try_next().await? {
            if taken == limit {
                let unplaced =
                    || Unreadable { column: at.into(), ..Unreadable::unknown("has no place") };
                page.next = Some(last.ok_or_else(unplaced)?);
                continue;
            }
            taken += 1;
            if taken == limit {
                // Of the row as it came: it may be one that does not decode.
                last = place(&row, at);
            }
            match decoded(&row) {
                Ok(row) => page.items.push(row),
                Err(unreadable) => page.unreadable.push(unreadable),
            }
        }
        Ok(page)
    }

    /// Sends every row of a statement as it arrives; one that does not decode as what is wrong with it.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    pub(crate) async fn send_all<U, ST>(
        &self,
        built: &RenderedQuery,
        sender: &Sender<Result<U, Unreadable>>,
    ) -> Result<()>
    where
        U: FromSqlRow<ST, Pg>,
    {
        let mut rows = row_stream::load(&self.wire, built).await?;
        while let Some(row) = rows.try_next().await? {
            sender.send(decoded(&row)).await;
        }
        Ok(())
    }

    /// The first row of `query`, which only reads, or `None`.
    ///
    /// # Errors
    /// As [`fetch_all`](Self::fetch_all).
    pub(crate) async fn fetch_optional<Q, U, ST>(&self, query: Q) -> Result<Option<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let built = RenderedQuery::reading(&query.as_query());
        self.optional(&built?).await
    }

    /// As [`fetch_optional`](Self::fetch_optional), of a rendered query.
    pub(crate) async fn optional<U, ST>(&self, built: &RenderedQuery) -> Result<Option<U>>
    where
        U: FromSqlRow<ST, Pg>,
    {
        let mut rows = row_stream::load(&self.wire, built).await?;
        match rows.try_next().await? {
            Some(row) => Ok(Some(decoded(&row)?)),
            None => Ok(None),
        }
    }

    /// Every row that `statement`, which writes, returns.
    ///
    /// # Errors
    /// As [`fetch_all`](Self::fetch_all).
    pub(crate) async fn write_all<Q, U, ST>(&self, statement: Q) -> Result<Vec<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let built = RenderedQuery::writing(&statement.as_query());
        self.all(&built?).await
    }

    /// The first row that `statement`, which writes, returns, or `None`.
    ///
    /// # Errors
    /// As [`fetch_all`](Self::fetch_all).
    pub(crate) async fn write_optional<Q, U, ST>(&self, statement: Q) -> Result<Option<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let built = RenderedQuery::writing(&statement.as_query());
        self.optional(&built?).await
    }

    /// Runs `query`, which writes, and returns how many rows it changed.
    ///
    /// # Errors
    /// Whatever the server reports, by [`Error`].
    pub(crate) async fn run<Q: QueryFragment<Pg>>(&self, query: Q) -> Result<u64> {
        let built = RenderedQuery::writing(&query);
        drop(query);
        self.count(&built?).await
    }

    /// As [`run`](Self::run), of a rendered statement.
    pub(crate) async fn count(&self, built: &RenderedQuery) -> Result<u64> {
        Ok(row_stream::execute(&self.wire, built).await?)
    }

    /// Runs statements without binds.
    ///
    /// # Errors
    /// Whatever the server reports, by [`Error`]; the statements before the failing one took effect
    /// unless a transaction held them.
    pub(crate) async fn batch(&self, sql: &str) -> Result<()> {
        Ok(row_stream::batch(self.wire.clone(), sql.into()).await?)
    }

    /// As [`batch`](Self::batch); returns the first column of every row, as text.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    pub(super) async fn ask(&self, sql: &str) -> Result<Vec<String>> {
        Ok(row_stream::ask(self.wire.clone(), sql.into()).await?)
    }

    /// Commits the transaction that is open.
    ///
    /// # Errors
    /// [`Error::Ended`](crate::Error::Ended) when an error had aborted it; whatever the server
    /// reports. Nothing is left open then.
    pub(crate) async fn commit(&self) -> Result<()> {
        self.commit_after(COMMITTABLE).await
    }

    /// As [`commit`](Self::commit), with other statements ahead in the same message.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub(super) async fn commit_after(&self, first: &str) -> Result<()> {
        Ok(commit(self.wire.clone(), first).await?)
    }

    /// Sends `sql` without waiting for its answer; what is sent later runs after it. For ROLLBACK
    /// in a destructor, where nobody can wait.
    pub(crate) fn send_now(&self, sql: &str) {
        if self.wire.is_broken() {
            return;
        }
        self.wire.sends_unheard(sql);
        if self.wire.queue(sql).is_none() {
            self.wire.mark_broken();
        }
    }

    /// Rolls back without waiting, as [`send_now`](Self::send_now): nothing is aborted by that.
    pub(super) fn roll_back_now(&self, sql: &str) {
        self.send_now(sql);
        self.wire.take_failed();
    }

    /// Whether the server may take as long as it likes, until the connection goes back to its pool: for what
    /// lifts `statement_timeout`.
    pub(crate) fn disable_timeouts(&self, patient: bool) {
        self.wire.disable_timeouts(patient);
    }

    /// Whether the transaction that is open may have written something.
    pub(crate) fn has_written(&self) -> bool {
        self.wire.has_written()
    }

    pub(super) fn discard(&self) {
        self.wire.mark_broken();
    }

    pub(crate) fn statement_mode(&self) -> StatementMode {
        self.wire.mode()
    }

    pub(super) fn wire(&self) -> &Arc<Transport> {
        &self.wire
    }

    /// Whether a pool may hand the connection out again.
    pub(super) fn is_reusable(&mut self) -> bool {
        use diesel_async::TransactionManager;
        !self.wire.is_broken()
            && !self.wire.is_outlived()
            && !AnsiTransactionManager::is_broken_transaction_manager(self)
    }
}

impl std::fmt::Debug for PgConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgConnection")
            .field("discarded", &self.is_discarded())
            .finish_non_exhaustive()
    }
}

/// COMMIT of a transaction that an error has aborted rolls back and reports success. A statement
/// ahead of it, in the same message, makes the server say so (25P02) and skip the COMMIT.
const COMMITTABLE: &str = "SELECT 1";

/// Commits behind other statements, or fails and leaves no transaction open: a skipped COMMIT would.
async fn commit(wire: Arc<Transport>, first: &str) -> QueryResult<()> {
    let result = row_stream::batch(wire.clone(), format!("{first}; COMMIT").into()).await;
    if result.is_err() && !wire.is_broken() {
        // Its own error says no more than the first.
        let _ = row_stream::batch(wire.clone(), "ROLLBACK".into()).await;
    }
    wire.take_failed();
    result
}
