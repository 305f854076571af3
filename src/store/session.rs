//! Where a repository's statements run: on a connection of the pool, in a user's name, or in a unit of work.

use std::sync::Arc;

use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment};
use diesel::query_dsl::CompatibleType;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

use super::copies::Copies;
use super::tables::Table;
use crate::error::{Entity, Error, Result, Unreadable};
use crate::postgres::{
    Lease, PgConnection, Pool, RenderedQuery, Tenant, Transaction, Waiting, channel_stream,
};
use crate::types::{Listed, Page, PageRequest};

/// The source of a repository's connections, and the table that its statements are of.
#[derive(Clone)]
pub(crate) struct Session {
    pub(super) source: Source,
    pub(super) table: &'static Table,
}

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
    pub fn new(source: Source, table: &'static Table) -> Self {
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

    /// Whether a statement that writes needs no transaction of its own around it: it is one by itself, or part of the unit
    /// of work.
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
    pub(super) fn copies(&self) -> Option<&dyn Copies> {
        match &self.source {
            Source::Tenant(_, _, cache) => Some(&**cache),
            Source::Pool(..) | Source::Transaction(_) => self.cache(),
        }
    }

    /// A connection to read on; inside a unit of work it is the shared one. What writes asks for [`alone`](Self::alone)
    /// or [`atomic`](Self::atomic), which hand over what has changed.
    pub async fn connection(&self) -> Result<Lease<'_>> {
        match &self.source {
            Source::Pool(pool, _) => Ok(Lease::Pooled(pool.checkout().await?)),
            Source::Tenant(pool, tenant, _) => {
                Ok(Lease::TenantConnection(tenant.reading(pool).await?))
            }
            Source::Transaction(transaction) => Ok(Lease::Shared(transaction.shared().await?)),
        }
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
    pub(super) async fn statement<T>(
        &self,
        built: &RenderedQuery,
        run: impl for<'a> Fn(&'a PgConnection, &'a RenderedQuery) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let done = match &self.source {
            Source::Tenant(pool, tenant, _) => tenant.statement(pool, built, run).await,
            Source::Pool(pool, _) => run(&*pool.checkout().await?, built).await,
            Source::Transaction(transaction) => transaction.statement(built, run).await,
        };
        done.map_err(|e| self.named(e))
    }

    /// Every row of one statement that only reads, as all that begin with `fetch`. See [`PgConnection::fetch_all`].
    pub async fn fetch_all<Q, U, ST>(&self, query: Q) -> Result<Vec<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        // Rendered before the first await, so that the future holds no part of the query.
        let built = RenderedQuery::reading(&query.as_query());
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
        let built = RenderedQuery::reading(&query.as_query());
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
        let (built, limit) = (RenderedQuery::reading(&query.as_query()), request.limit as usize);
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
                row.table = self.table.name.into();
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
        let built = RenderedQuery::reading(&query.as_query());
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
        let built = RenderedQuery::reading(&query.as_query());
        self.statement(&built?, |connection, built| connection.optional(built).boxed()).await
    }

    /// The row of a query that always has one, such as an aggregate.
    pub async fn fetch_one<Q, U, ST>(&self, query: Q) -> Result<U>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        ST: 'static,
    {
        let row = self.fetch_optional(query).await?;
        row.ok_or_else(|| Error::not_found(Entity::Row, self.table.name))
    }

    /// With the table's name, in an error that lacks it.
    pub fn named(&self, error: Error) -> Error {
        match error {
            Error::Corrupt { table, key, column, reason } if table == Unreadable::UNKNOWN => {
                Error::Corrupt { table: self.table.name.into(), key, column, reason }
            }
            Error::Item { index, source } => self.named(*source).at(index),
            other => other,
        }
    }

    /// The same source of connections, for statements that return rows of another table.
    pub fn about(&self, table: &'static Table) -> Session {
        Session::new(self.source.clone(), table)
    }
}
