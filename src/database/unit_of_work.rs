//! One transaction behind the same repositories.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::repositories::RepositorySet;
use super::retry::TransactionFn;
use crate::cache::Cache;
use crate::error::{Error, Receipt, Result};
use crate::postgres::{Connection, Lease, Pool, Tenant, Transaction, TransactionOptions, undone};
use crate::store::tables::{CACHE_CHANNEL, Table};
use crate::store::{Copies, Session, Source};

/// One transaction with the repositories of [`Database`](crate::Database), all on its connection.
///
/// Independent statements pipeline: `try_join!(uow.users().find(a), uow.prices().latest(&b))`
/// takes about one round trip. An error of the server aborts the transaction, as always in
/// PostgreSQL; what may fail goes into a [`savepoint`](UnitOfWork::savepoint). An error of a call is returned when the calls beside
/// it have been answered, so that a `try_join!` drops none of them in flight: a call that is dropped so ends the unit, because
/// what it did is not known. Dropped without
/// [`commit`](UnitOfWork::commit), everything is rolled back. A repository kept after the end
/// answers [`Error::Ended`].
pub struct UnitOfWork {
    transaction: Arc<Transaction>,
    repositories: RepositorySet,
    savepoints: AtomicU32,
    cache: Cache,
}

impl UnitOfWork {
    /// `cache` is that of the handle: it catches up with what the unit commits.
    pub(crate) async fn begin(
        pool: &Pool,
        options: TransactionOptions,
        tenant: Option<&Tenant>,
        cache: &Cache,
    ) -> Result<Self> {
        let transaction = Transaction::begin(pool, options, tenant).await?;
        Ok(UnitOfWork {
            repositories: RepositorySet::new(&Source::Transaction(transaction.clone())),
            transaction,
            savepoints: AtomicU32::new(0),
            cache: cache.clone(),
        })
    }

    /// The transaction's connection, for other queries: `query.load(&mut uow.connection().await?.as_diesel())`.
    ///
    /// They must leave the transaction, its role, its user and its `search_path` as they are; a savepoint that they undo
    /// counts as nothing. Otherwise the unit has ended: its next call answers [`Error::Ended`], runs nothing, and the
    /// connection is closed, which rolls back what is still open. To know that, the first call after such queries takes
    /// one round trip more. Tables are found in the configured `search_path`, temporary ones after all
    /// others, and what the queries leave in the session is reset when the connection goes back.
    ///
    /// Let go of it before calling what runs several statements as one (`create_many`, `commit`): that
    /// waits for everybody else, at most `pool_timeout`. A row stream must be read to its end, or
    /// dropped, before the answer to another statement can come.
    ///
    /// # Errors
    /// [`Error::Ended`] after the end, and where an earlier borrower ended the transaction or changed its role.
    pub async fn connection(&self) -> Result<Connection<'_>> {
        Ok(Connection(Lease::Shared(self.transaction.lent().await?)))
    }

    /// Names this transaction, from its first write on and where it [asked for it](TransactionOptions::receipt): kept
    /// elsewhere, a later run of the program can find the outcome of a transaction in which the program ended. Takes a
    /// round trip: it asks again whether a crash can take the id away.
    pub async fn receipt(&self) -> Option<Receipt> {
        self.transaction.receipt().await
    }

    /// Makes everything permanent. Once this returns, no clone of the handle that began the unit serves from memory what
    /// the unit's repositories have replaced, deleted or invalidated.
    ///
    /// # Errors
    /// [`Error::Ended`] when an earlier error had aborted the transaction, or SQL on its
    /// [`connection`](Self::connection) ended it or changed its role (nothing is committed by this call);
    /// [`Error::Retryable`] on a serialization failure; [`Error::Unavailable`] when the connection
    /// failed and nothing was committed; [`Error::OutcomeUnknown`] when it failed while the COMMIT was under way.
    pub async fn commit(self) -> Result<()> {
        match self.commits().await? {
            true => Ok(()),
            false => Err(undone()),
        }
    }

    /// As [`commit`](Self::commit); `false` where the COMMIT was not answered and all was found to be rolled back.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub(super) async fn commits(self) -> Result<bool> {
        let is_cached = self.transaction.notifies(CACHE_CHANNEL);
        let done = self.transaction.commit().await;
        let may_be_committed = matches!(done, Ok(true) | Err(Error::OutcomeUnknown { .. }));
        if may_be_committed && is_cached {
            self.cache.catch_up().await;
        }
        done
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// [`Error::Ended`] where SQL on its [`connection`](Self::connection) had ended the transaction: what that
    /// committed stays. The connection failed; everything is undone then, too.
    pub async fn rollback(self) -> Result<()> {
        self.transaction.rollback().await
    }

    /// Runs `work` in a savepoint: if it fails (or its future is dropped), what it wrote is undone
    /// and the unit of work continues. Statements that run beside it on the same unit of work are
    /// part of the savepoint too; savepoints may be nested, but not run beside each other.
    ///
    /// # Errors
    /// That of `work`, or of the savepoint's own statements.
    pub async fn savepoint<R, E, F>(&self, work: F) -> Result<R, E>
    where
        for<'u> F: AsyncFn(&'u UnitOfWork) -> Result<R, E>
            + TransactionFn<&'u UnitOfWork, Result<R, E>, Fut: Send>
            + Send
            + Sync,
        E: From<Error> + Send,
        R: Send,
    {
        // By depth: monitoring keeps the text of each name.
        let name = format!("savepoint_{}", self.savepoints.fetch_add(1, Ordering::Relaxed));
        let mut guard = SavepointGuard {
            transaction: &self.transaction,
            depth: &self.savepoints,
            undo: format!("ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}"),
            open: true,
        };
        self.batch(&format!("SAVEPOINT {name}")).await?;
        let result = work(self).await;
        let end = match &result {
            Ok(_) => match self.batch(&format!("RELEASE SAVEPOINT {name}")).await {
                // An error that `work` swallowed had aborted the savepoint, not what was before it.
                Err(e) => self.undo(&guard.undo).await.and(Err(e)),
                released => released,
            },
            Err(_) => self.undo(&guard.undo).await,
        };
        guard.open = false;
        drop(guard);
        if result.is_err() || end.is_err() {
            self.transaction.quiet().await;
        }
        match (result, end) {
            (Ok(_), Err(e)) => Err(e.into()),
            (result, _) => result,
        }
    }

    /// For statements on `table` beside the repositories.
    pub(crate) fn session(&self, table: &'static Table) -> Session {
        Session::new(Source::Transaction(self.transaction.clone()), table)
    }

    async fn batch(&self, sql: &str) -> Result<()> {
        self.transaction.shared().await?.batch(sql).await
    }

    /// Back to a savepoint, from an aborted transaction too, which cannot be looked at; another has no such
    /// savepoint.
    async fn undo(&self, sql: &str) -> Result<()> {
        self.transaction.unchecked().await?.batch(sql).await
    }
}

impl AsRef<RepositorySet> for UnitOfWork {
    fn as_ref(&self) -> &RepositorySet {
        self
    }
}

impl std::ops::Deref for UnitOfWork {
    type Target = RepositorySet;
    fn deref(&self) -> &RepositorySet {
        &self.repositories
    }
}

impl Drop for UnitOfWork {
    fn drop(&mut self) {
        self.transaction.abandon();
    }
}

impl fmt::Debug for UnitOfWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitOfWork").finish_non_exhaustive()
    }
}

/// Undoes a savepoint whose future was dropped.
struct SavepointGuard<'a> {
    transaction: &'a Transaction,
    /// How many savepoints are open.
    depth: &'a AtomicU32,
    undo: String,
    open: bool,
}

impl Drop for SavepointGuard<'_> {
    fn drop(&mut self) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
        if self.open {
            self.transaction.undo_now(&self.undo);
        }
    }
}
