//! Where a repository's statements run: on a connection of the pool, or in a unit of work.

use std::ops::Deref;
use std::sync::Arc;

use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment};
use diesel::query_dsl::CompatibleType;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::{RwLockMappedWriteGuard, RwLockReadGuard};

use super::pg_connection::PgConnection;
use super::pool::{Pool, Pooled};
use super::produced::produced;
use super::statement::Built;
use super::unit_of_work::Transaction;
use crate::cache::{AddressRef, Cache};
use crate::error::{Error, Result};

/// The source of a repository's connections, and the table it speaks of in errors.
#[derive(Clone)]
pub(crate) struct Session {
    source: Source,
    table: &'static str,
}

#[derive(Clone)]
pub(crate) enum Source {
    /// And the cache of the handle that it belongs to.
    Pool(Pool, Option<Cache>),
    Transaction(Arc<Transaction>),
}

impl Session {
    pub fn new(source: Source, table: &'static str) -> Self {
        Session { source, table }
    }

    /// Whether each statement is a transaction of its own, outside of any unit of work.
    pub fn is_pooled(&self) -> bool {
        matches!(self.source, Source::Pool(..))
    }

    /// The cache; none inside a unit of work.
    pub fn cache(&self) -> Option<&Cache> {
        match &self.source {
            Source::Pool(_, cache) => cache.as_ref(),
            Source::Transaction(_) => None,
        }
    }

    /// Tells every process, soon, that cached rows may have changed: once they are committed.
    pub fn announce(&self) {
        match &self.source {
            Source::Pool(pool, _) => pool.announce(),
            Source::Transaction(transaction) => transaction.announce(),
        }
    }

    /// As [`announce`](Self::announce), and lets this process's own copies of the row know.
    pub async fn replaced(&self, key: AddressRef<'_>, version: i64) {
        self.announce();
        if let Some(cache) = self.cache() {
            cache.replaced(key, version).await;
        }
    }

    /// As [`replaced`](Self::replaced), of whichever rows: returns when the log has been read.
    pub async fn invalidated(&self) {
        self.announce();
        if let Some(cache) = self.cache() {
            cache.catch_up().await;
        }
    }

    /// A connection to run statements on; inside a unit of work it is the shared one.
    pub async fn connection(&self) -> Result<Lease<'_>> {
        match &self.source {
            Source::Pool(pool, _) => Ok(Lease::Pooled(pool.get().await?)),
            Source::Transaction(transaction) => Ok(Lease::Shared(transaction.shared().await?)),
        }
    }

    /// A scope of several statements that take effect together or not at all: a transaction, or in
    /// a unit of work a savepoint, during which nothing else runs on its connection.
    pub async fn atomic(&self) -> Result<Atomic<'_>> {
        let scope = match &self.source {
            Source::Pool(pool, _) => Scope::Transaction(pool.get().await?),
            Source::Transaction(transaction) => Scope::Savepoint(transaction.exclusive().await?),
        };
        // From here on a drop rolls back, also while this statement is in flight.
        let atomic = Atomic { scope, open: true };
        atomic.batch(atomic.scope.begin()).await?;
        Ok(atomic)
    }

    /// Every row of one statement. See [`PgConnection::fetch_all`].
    pub async fn fetch_all<Q, U, ST>(&self, query: Q) -> Result<Vec<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let connection = self.connection().await?;
        connection.fetch_all(query).await.map_err(|e| self.named(e))
    }

    /// The rows of one statement as they arrive: a few are in memory. The stream has a connection as
    /// long as it lives; dropped early, it cancels the statement.
    pub fn stream<Q, U, ST>(&self, query: Q) -> BoxStream<'_, Result<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        // Rendered before the first await, so that the future holds no part of the query.
        let built = Built::new(&query.as_query());
        let sent = produced(move |sender| {
            async move {
                let connection = self.connection().await?;
                connection.send_all(built, &sender).await
            }
            .boxed()
        });
        sent.map_err(|e| self.named(e)).boxed()
    }

    /// The first row of one statement, or `None`.
    pub async fn fetch_optional<Q, U, ST>(&self, query: Q) -> Result<Option<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let connection = self.connection().await?;
        connection.fetch_optional(query).await.map_err(|e| self.named(e))
    }

    /// The row of a statement that always has one: an INSERT ... RETURNING, an aggregate.
    pub async fn fetch_one<Q, U, ST>(&self, query: Q) -> Result<U>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        let row = self.fetch_optional(query).await?;
        row.ok_or_else(|| Error::not_found("row", self.table))
    }

    /// Runs one statement; returns how many rows it changed.
    pub async fn execute<Q: QueryFragment<Pg>>(&self, query: Q) -> Result<u64> {
        let connection = self.connection().await?;
        connection.run(query).await.map_err(|e| self.named(e))
    }

    fn named(&self, error: Error) -> Error {
        match error {
            Error::Corrupt { column, reason, .. } => {
                Error::Corrupt { table: self.table.into(), column, reason }
            }
            other => other,
        }
    }
}

/// A connection borrowed for a while.
pub(crate) enum Lease<'a> {
    Pooled(Pooled),
    Shared(RwLockReadGuard<'a, PgConnection>),
}

impl Deref for Lease<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match self {
            Lease::Pooled(pooled) => pooled,
            Lease::Shared(guard) => guard,
        }
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
    scope: Scope<'a>,
    open: bool,
}

impl Atomic<'_> {
    /// # Errors
    /// Whatever the server reports; nothing has taken effect then.
    pub async fn commit(mut self) -> Result<()> {
        let result = match &self.scope {
            Scope::Transaction(connection) => connection.commit().await,
            Scope::Savepoint(connection) => connection.batch("RELEASE SAVEPOINT atomic").await,
        };
        // A refused RELEASE leaves a savepoint to go back to; a statement in flight, dropped here,
        // discards the connection.
        self.open = result.is_err() && matches!(self.scope, Scope::Savepoint(_));
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
