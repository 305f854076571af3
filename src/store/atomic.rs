//! Several statements of a session that take effect together or not at all.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment};
use diesel::query_dsl::CompatibleType;
use tokio::sync::RwLockMappedWriteGuard;

use super::session::{Session, Source};
use super::writes::may_be_written;
use crate::error::Result;
use crate::postgres::{PgConnection, Pooled};

impl Session {
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
        let atomic = Atomic { session: self, scope, deletes: AtomicBool::new(false), open: true };
        match &self.source {
            Source::Tenant(_, tenant, _) => tenant.begin(&atomic, atomic.scope.begin()).await?,
            _ => atomic.batch(atomic.scope.begin()).await?,
        }
        Ok(atomic)
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
    /// Rows were deleted.
    deletes: AtomicBool,
    open: bool,
}

impl Atomic<'_> {
    /// Runs a statement that deletes rows; returns how many.
    ///
    /// # Errors
    /// Whatever the server reports.
    pub async fn delete<Q: QueryFragment<Pg>>(&self, statement: Q) -> Result<u64> {
        self.deletes.store(true, Ordering::Release);
        self.run(statement).await
    }

    /// The first row that a statement which deletes rows returns, or `None`.
    ///
    /// # Errors
    /// Whatever the server reports.
    pub async fn delete_optional<Q, U, ST>(&self, statement: Q) -> Result<Option<U>>
    where
        Q: AsQuery,
        Q::Query: QueryFragment<Pg>,
        Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg>,
    {
        self.deletes.store(true, Ordering::Release);
        self.write_optional(statement).await
    }

    /// Commits, and hands over what has changed.
    ///
    /// # Errors
    /// Whatever the server reports; nothing has taken effect then, but for `OutcomeUnknown`.
    pub async fn commit(mut self) -> Result<()> {
        let (session, deletes) = (self.session, self.deletes.load(Ordering::Acquire));
        let has_written = self.has_written();
        let result = match &self.scope {
            Scope::Transaction(connection) => connection.commit().await,
            Scope::Savepoint(connection) => connection.batch("RELEASE SAVEPOINT atomic").await,
        };
        // A refused RELEASE leaves a savepoint to go back to; a statement in flight, dropped here,
        // discards the connection.
        self.open = result.is_err() && matches!(self.scope, Scope::Savepoint(_));
        // The connection is not held while other work is waited for.
        drop(self);
        if has_written && may_be_written(&result) {
            session.has_changed(deletes).await;
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
