//! Where a repository's statements run: on a connection of the pool, in a user's name, or in a unit of work.

use std::ops::Deref;
use std::sync::Arc;

use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment};
use diesel::query_dsl::CompatibleType;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::RwLockMappedWriteGuard;

use super::copies::Copies;
use super::entry_key::EntryKeyRef;
use crate::error::{Entity, Error, Result, Unreadable};
use crate::postgres::{
    Lease, PgConnection, Pool, Pooled, RenderedQuery, Tenant, Transaction, Waiting, channel_stream,
};
use crate::types::{Listed, Page, PageRequest};

/// The source of a repository's connections, and the table it speaks of in errors.
#[derive(Clone)]
pub(crate) struct Session {
    source: Source,
    table: &'static str,
}

/// Tables whose triggers write events. Of the cache only what ends is one: see [`Session::invalidated`].
const EVENT_TABLES: [&str; 3] = ["analysis_results", "positions", "price_history"];

#[derive(Clone)]
pub(crate) enum Source {
    /// And the cache of the handle that it belongs to.
    Pool(Pool, Option<Arc<dyn Copies>>),
    /// Each statement is a transaction in the name of a user. The cache is that of the handle: it learns of what the
    /// user writes, and serves the user nothing.
    Tenant(Pool, Tenant, Arc<dyn Copies>),
    Transaction(Arc<Transaction>),
}

impl Session {
    pub fn new(source: Source, table: &'static str) -> Self {
        Session { source, table }
    }

    /// Whether each statement is implicitly a separate transaction.
    pub fn is_pooled(&self) -> bool {
        matches!(self.source, Source::Pool(..))
    }

    /// For statements that all are to see at once, also where this session is part of a unit of work.
    pub fn aside(&self) -> Session {
        let source = match &self.source {
            Source::Transaction(transaction) => Source::Pool(transaction.pool().clone(), None),
            source => source.clone(),
        };
        Session { source, table: self.table }
    }

    /// Lets the other calls of a unit of work wait for this one as for the answer of a statement, until it is dropped.
    pub fn joined(&self) -> Option<Waiting> {
        match &self.source {
            Source::Transaction(transaction) => transaction.joined(),
            Source::Pool(..) | Source::Tenant(..) => None,
        }
    }

    /// Whether a statement that writes may be the only one on its [`connection`](Self::connection): it is a
    /// transaction by itself, or part of the unit of work.
    pub fn writes_alone(&self) -> bool {
        !matches!(self.source, Source::Tenant(..))
    }

    /// The cache; none inside a unit of work, nor for a user: it holds what others may not see.
    pub fn cache(&self) -> Option<&dyn Copies> {
        match &self.source {
            Source::Pool(_, cache) => cache.as_deref(),
            Source::Tenant(..) | Source::Transaction(_) => None,
        }
    }

    /// The cache whose copies this process serves; none inside a unit of work, with which it catches up after the commit.
    fn copies(&self) -> Option<&dyn Copies> {
        match &self.source {
            Source::Tenant(_, _, cache) => Some(&**cache),
            Source::Pool(..) | Source::Transaction(_) => self.cache(),
        }
    }

    /// Notifies every process that cached rows may have changed, soon after they are committed.
    pub fn notify_cache(&self) {
        match &self.source {
            Source::Pool(pool, _) | Source::Tenant(pool, ..) => pool.notify_cache(),
            Source::Transaction(transaction) => transaction.notify_cache(),
        }
    }

    /// As [`notify_cache`](Self::notify_cache), and lets this process's own copies of the row know.
    pub async fn replaced(&self, key: EntryKeyRef<'_>, version: i64) {
        self.notify_cache();
        if let Some(cache) = self.copies() {
            cache.replaced(key, version).await;
        }
    }

    /// As [`replaced`](Self::replaced), of whichever rows: returns when the log has been read, but for a unit of work,
    /// whose commit waits for that.
    pub async fn invalidated(&self) {
        self.notify_cache();
        self.notify_events();
        if let Some(cache) = self.copies() {
            cache.catch_up().await;
        }
    }

    /// To be called when rows were written on a [`connection`](Self::connection); of all else it is known here.
    pub fn wrote(&self) {
        if EVENT_TABLES.contains(&self.table) {
            self.notify_events();
        }
    }

    /// Notifies every process that there may be new events, soon after they are committed.
    fn notify_events(&self) {
        match &self.source {
            Source::Pool(pool, _) | Source::Tenant(pool, ..) => pool.notify_events(),
            Source::Transaction(transaction) => transaction.notify_events(),
        }
    }

    /// A connection to run statements on; inside a unit of work it is the shared one. In a user's name it is for
    /// reading: unless [`writes_alone`](Self::writes_alone), what writes asks for [`atomic`](Self::atomic).
    pub async fn connection(&self) -> Result<Lease<'_>> {
        match &self.source {
            Source::Pool(pool, _) => Ok(Lease::Pooled(pool.checkout().await?)),
            Source::Tenant(pool, tenant, _) => {
                Ok(Lease::TenantConnection(tenant.reading(pool).await?))
            }
            Source::Transaction(transaction) => Ok(Lease::Shared(transaction.shared().await?)),
        }
    }

    /// A scope of several statements that take effect together or not at all: a transaction, or in
    /// a unit of work a savepoint, during which nothing else runs on its connection.
    pub async fn atomic(&self) -> Result<Atomic<'_>> {
        let scope = match &self.source {
            Source::Pool(pool, _) | Source::Tenant(pool, ..) => {
                Scope::Transaction(pool.checkout().await?)
            }
            Source::Transaction(transaction) => Scope::Savepoint(transaction.exclusive().await?),
        };
        // From here on a drop rolls back, also while this statement is in flight.
        let atomic = Atomic { session: self, scope, open: true };
        match &self.source {
            Source::Tenant(_, tenant, _) => tenant.begin(&atomic, atomic.scope.begin()).await?,
            _ => atomic.batch(atomic.scope.begin()).await?,
        }
        Ok(atomic)
    }

    /// What a method of a repository returns, see [`settled!`](super::settled). In a unit of work an error waits for the
    /// calls beside it: an error that ends a `try_join!` would drop them in flight, and the unit with them.
    ///
    /// # Errors
    /// That of `done`.
    pub async fn settled<T>(&self, done: Result<T>) -> Result<T> {
        if let (Err(error), Source::Transaction(transaction)) = (&done, &self.source) {
            transaction.settle(error).await;
        }
        done
    }

    /// Runs one statement wherever this session's run.
    async fn statement<T>(
        &self,
        built: &RenderedQuery,
        run: impl for<'a> Fn(&'a PgConnection, &'a RenderedQuery) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let done = match &self.source {
            Source::Tenant(pool, tenant, _) => tenant.statement(pool, built, run).await,
            Source::Pool(pool, _) => run(&*pool.checkout().await?, built).await,
            Source::Transaction(transaction) => transaction.statement(built, run).await,
        };
        // One notification too many is better than none.
        if matches!(done, Ok(_) | Err(Error::OutcomeUnknown { .. })) && !built.only_reads() {
            self.wrote();
        }
        done.map_err(|e| self.named(e))
    }

    /// As [`statement`](Self::statement), of one that writes and returns what it wrote. Where that cannot be read,
    /// nothing is written, unless the statement was a transaction by itself and the error says so.
    async fn written<T>(
        &self,
        built: &RenderedQuery,
        run: impl for<'a> Fn(&'a PgConnection, &'a RenderedQuery) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let error = match self.statement(built, run).await {
            Err(error @ Error::Corrupt { .. }) => error,
            done => return done,
        };
        match &self.source {
            Source::Pool(..) => {
                // Whose copies are outdated the row does not say any more.
                self.invalidated().await;
                Err(error.of_a_written_row())
            }
            // It was rolled back.
            Source::Tenant(..) => Err(error),
            Source::Transaction(transaction) => {
                transaction.abort().await;
                Err(error)
            }
        }
    }

    /// Every row of one statement. See [`PgConnection::fetch_all`].
    pub async fn fetch_all<Q, U, ST>(&self, query: Q) -> Result<Vec<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        // Rendered before the first await, so that the future holds no part of the query.
        let built = RenderedQuery::new(&query.as_query());
        self.statement(&built?, |connection, built| connection.all(built).boxed()).await
    }

    /// As [`fetch_all`](Self::fetch_all), in the order of the rows; one that does not decode hides no other.
    pub async fn fetch_each<Q, U, ST>(&self, query: Q) -> Result<Vec<Result<U, Unreadable>>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let built = RenderedQuery::new(&query.as_query());
        let mut rows =
            self.statement(&built?, |connection, built| connection.each(built).boxed()).await?;
        self.report(rows.iter_mut().filter_map(|row| row.as_mut().err()));
        Ok(rows)
    }

    /// As [`fetch_each`](Self::fetch_each), the rows that do not decode beside the others.
    pub async fn fetch_list<Q, U, ST>(&self, query: Q) -> Result<Listed<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let mut listed = Listed::default();
        self.fetch_each(query).await?.into_iter().for_each(|row| listed.take(row));
        Ok(listed)
    }

    /// One page of a list that is sorted by the column `at`, then by id, of a query that asks for one row more than
    /// the page has.
    pub async fn fetch_page<Q, U, ST>(
        &self,
        query: Q,
        request: &PageRequest,
        at: &'static str,
    ) -> Result<Page<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let (built, limit) = (RenderedQuery::new(&query.as_query()), request.limit as usize);
        let mut page = self
            .statement(&built?, |connection, built| connection.page(built, at, limit).boxed())
            .await?;
        self.report(page.unreadable.iter_mut());
        Ok(page)
    }

    /// Rows of this session's table that cannot be read: says so in the log.
    pub fn report<'a>(&self, rows: impl Iterator<Item = &'a mut Unreadable>) {
        for row in rows {
            if row.table == Unreadable::UNKNOWN {
                row.table = self.table.into();
            }
            row.warn();
        }
    }

    /// The rows of one statement as they arrive: a few are in memory. A row that does not decode is an error, and the
    /// stream continues. It has a connection as long as it lives; dropped early, it cancels the statement.
    pub fn stream<Q, U, ST>(&self, query: Q) -> BoxStream<'_, Result<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        // Rendered before the first await, so that the future holds no part of the query.
        let built = RenderedQuery::new(&query.as_query());
        let sent = channel_stream(move |sender| {
            async move {
                let sent = async {
                    let connection = self.connection().await?;
                    connection.send_all(&built?, &sender).await
                };
                self.settled(sent.await).await
            }
            .boxed()
        });
        let named = |row: Result<U, Unreadable>| {
            row.map_err(|mut unreadable| {
                self.report(std::iter::once(&mut unreadable));
                unreadable.into()
            })
        };
        sent.map(move |row| row.and_then(named).map_err(|e| self.named(e))).boxed()
    }

    /// The first row of one statement, or `None`.
    pub async fn fetch_optional<Q, U, ST>(&self, query: Q) -> Result<Option<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let built = RenderedQuery::new(&query.as_query());
        self.statement(&built?, |connection, built| connection.optional(built).boxed()).await
    }

    /// The row of a statement that always has one: an INSERT ... RETURNING, an aggregate.
    pub async fn fetch_one<Q, U, ST>(&self, query: Q) -> Result<U>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let row = self.fetch_optional(query).await?;
        row.ok_or_else(|| Error::not_found(Entity::Row, self.table))
    }

    /// The first row that a statement which writes returns, or `None` where it wrote nothing.
    ///
    /// # Errors
    /// [`Error::WrittenUnreadable`] where the row is written and cannot be read; [`Error::Corrupt`] where it cannot be
    /// read and was not written: in a user's name, and in a unit of work, whose transaction is aborted then.
    pub async fn write_optional<Q, U, ST>(&self, query: Q) -> Result<Option<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let built = RenderedQuery::new(&query.as_query());
        self.written(&built?, |connection, built| connection.optional(built).boxed()).await
    }

    /// As [`write_optional`](Self::write_optional), of a statement that always writes a row.
    pub async fn write_one<Q, U, ST>(&self, query: Q) -> Result<U>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let row = self.write_optional(query).await?;
        row.ok_or_else(|| Error::not_found(Entity::Row, self.table))
    }

    /// Runs one statement; returns how many rows it changed.
    pub async fn execute<Q: QueryFragment<Pg>>(&self, query: Q) -> Result<u64> {
        let built = RenderedQuery::new(&query);
        drop(query);
        self.statement(&built?, |connection, built| connection.count(built).boxed()).await
    }

    /// With the table's name, in an error that lacks it.
    pub fn named(&self, error: Error) -> Error {
        match error {
            Error::Corrupt { table, key, column, reason } if table == Unreadable::UNKNOWN => {
                Error::Corrupt { table: self.table.into(), key, column, reason }
            }
            Error::Item { index, source } => self.named(*source).at(index),
            other => other,
        }
    }

    /// The same source of connections, for statements that return rows of another table.
    pub fn about(&self, table: &'static str) -> Session {
        Session::new(self.source.clone(), table)
    }
}

enum Scope<'a> {
    Transaction(Pooled),
    Savepoint(RwLockMappedWriteGuard<'a, PgConnection>),
}

impl Scope<'_> {
    fn begin(&self) -> &'static str {
        match self {
            Scope::Transaction(_) => "BEGIN",
            Scope::Savepoint(_) => "SAVEPOINT atomic",
        }
    }
    fn rollback(&self) -> &'static str {
        match self {
            Scope::Transaction(_) => "ROLLBACK",
            Scope::Savepoint(_) => "ROLLBACK TO SAVEPOINT atomic; RELEASE SAVEPOINT atomic",
        }
    }
}

/// Several statements that count as one. Dropped without [`commit`](Atomic::commit), nothing of
/// them stays.
pub(crate) struct Atomic<'a> {
    session: &'a Session,
    scope: Scope<'a>,
    open: bool,
}

impl Atomic<'_> {
    /// # Errors
    /// Whatever the server reports; nothing has taken effect then, but for `OutcomeUnknown`.
    pub async fn commit(mut self) -> Result<()> {
        let result = match &self.scope {
            Scope::Transaction(connection) => connection.commit().await,
            Scope::Savepoint(connection) => connection.batch("RELEASE SAVEPOINT atomic").await,
        };
        // A refused RELEASE leaves a savepoint to go back to; a statement in flight, dropped here,
        // discards the connection.
        self.open = result.is_err() && matches!(self.scope, Scope::Savepoint(_));
        if matches!(result, Ok(_) | Err(Error::OutcomeUnknown { .. })) {
            self.session.wrote();
        }
        result
    }
}

impl Deref for Atomic<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match &self.scope {
            Scope::Transaction(pooled) => pooled,
            Scope::Savepoint(guard) => guard,
        }
    }
}

impl Drop for Atomic<'_> {
    fn drop(&mut self) {
        if self.open {
            self.send_now(self.scope.rollback());
        }
    }
}
