//! Diesel's traits, for borrowers' statements.

use std::sync::{Arc, Mutex, PoisonError};

use diesel::connection::{CacheSize, Instrumentation};
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection,
};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

use super::{COMMITTABLE, PgConnection, commit};
use crate::postgres::driver_row::PgRow;
use crate::postgres::lending::OwnStatement;
use crate::postgres::manager::Manager;
use crate::postgres::rendered_query::RenderedQuery;
use crate::postgres::row_stream;
use crate::postgres::row_stream::Rows;
use crate::postgres::transport::Transport;

/// Runs a borrower's statements without binds; a COMMIT, by the exact text of diesel-async's transaction manager,
/// as [`commit`].
async fn batch(wire: Arc<Transport>, sql: &str) -> QueryResult<()> {
    let _own = OwnStatement::begin(&wire);
    match sql {
        "COMMIT" => commit(wire, COMMITTABLE).await,
        _ => row_stream::batch(wire, sql.into()).await,
    }
}

impl SimpleAsyncConnection for PgConnection {
    async fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        batch(self.wire.clone(), sql).await
    }
}

impl SimpleAsyncConnection for &PgConnection {
    async fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        batch(self.wire.clone(), sql).await
    }
}

impl AsyncConnectionCore for PgConnection {
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Self::Stream<'conn, 'query>>>;
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type Stream<'conn, 'query> = BoxStream<'conn, QueryResult<PgRow>>;
    type Row<'conn, 'query> = PgRow;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        let built = RenderedQuery::of_borrower(&source.as_query());
        let wire = self.wire.clone();
        async move {
            let _own = OwnStatement::begin(&wire);
            Ok(row_stream::load(&wire, &built?).await?.boxed())
        }
        .boxed()
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        execute(self.wire.clone(), RenderedQuery::of_borrower(&source)).boxed()
    }
}

impl<'a> AsyncConnectionCore for &'a PgConnection {
    type LoadFuture<'conn, 'query> = BoxFuture<'a, QueryResult<Rows<'a>>>;
    type ExecuteFuture<'conn, 'query> = BoxFuture<'a, QueryResult<usize>>;
    type Stream<'conn, 'query> = Rows<'a>;
    type Row<'conn, 'query> = PgRow;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        let built = RenderedQuery::of_borrower(&source.as_query());
        async {
            let _own = OwnStatement::begin(&self.wire);
            row_stream::load(&self.wire, &built?).await
        }
        .boxed()
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        execute(self.wire.clone(), RenderedQuery::of_borrower(&source)).boxed()
    }
}

async fn execute(wire: Arc<Transport>, built: QueryResult<RenderedQuery>) -> QueryResult<usize> {
    let _own = OwnStatement::begin(&wire);
    Ok(usize::try_from(row_stream::execute(&wire, &built?).await?).unwrap_or(usize::MAX))
}

impl AsyncConnection for PgConnection {
    type TransactionManager = AnsiTransactionManager;

    async fn establish(url: &str) -> ConnectionResult<Self> {
        let manager = crate::config::Config::new(url)
            .and_then(|config| Manager::new(&config))
            .map_err(|e| ConnectionError::InvalidConnectionUrl(e.to_string()))?;
        let connected = manager.connect_unpooled(None).await;
        connected.map_err(|e| ConnectionError::BadConnection(e.to_string()))
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.transaction_state
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut **self.instrumentation.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.instrumentation = Mutex::new(Box::new(instrumentation));
    }

    // The cache is bounded when the connection is made, by `Config::statement_cache`.
    fn set_prepared_statement_cache_size(&mut self, _: CacheSize) {}
}
