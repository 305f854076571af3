//! One transaction behind the same repositories.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{RwLock, RwLockMappedWriteGuard, RwLockReadGuard, RwLockWriteGuard};

use super::lending::Identity;
use super::outcome;
use super::pg_connection::PgConnection;
use super::pool::{Pool, Pooled};
use super::receipts::Asked;
use super::retried::TransactionFn;
use super::session::{Lease, Session, Source};
use super::statement::Built;
use super::tenant::Tenant;
use crate::error::{Error, Result};
use crate::repositories::RepositorySet;
use crate::types::Receipt;

const ENDED: &str = "it was committed, rolled back or dropped";

fn ended(reason: &'static str) -> Error {
    Error::Ended { reason }
}

/// # Errors
/// [`Error::Ended`] where a statement went unanswered: the connection was discarded, which undid everything.
fn answered(connection: &PgConnection) -> Result<()> {
    connection.wire().abandoned().map_or(Ok(()), |reason| Err(ended(reason)))
}

/// The connection of a unit of work, shared by its repositories; empty when it is over.
pub(crate) struct Transaction {
    connection: RwLock<Option<Pooled>>,
    identity: Identity,
    /// Why nothing more runs in it, where it ended while somebody else held the connection: it is rolled back
    /// as soon as that can be had.
    over: OnceLock<&'static str>,
    /// Cached rows were written: other processes are told after the commit.
    announces: AtomicBool,
    /// So are they of events.
    tells: AtomicBool,
    /// Longest wait for others to let go of the connection.
    patience: Duration,
    pool: Pool,
    /// It is to have a receipt.
    asked: OnceLock<Arc<Asked>>,
    resolve_within: Option<Duration>,
}

impl Transaction {
    fn new(connection: Pooled, options: TransactionOptions, tenant: Option<&Tenant>) -> Self {
        Transaction {
            patience: connection.pool_timeout(),
            pool: connection.pool(),
            identity: Identity::new(&connection, tenant),
            connection: RwLock::new(Some(connection)),
            over: OnceLock::new(),
            announces: AtomicBool::new(false),
            tells: AtomicBool::new(false),
            asked: OnceLock::new(),
            resolve_within: options.resolve_within,
        }
    }

    /// For one statement; several such pipeline. Outside of the unit's transaction it is refused.
    pub async fn shared(&self) -> Result<RwLockReadGuard<'_, PgConnection>> {
        let connection = self.unchecked().await?;
        self.check(&connection).await?;
        Ok(connection)
    }

    /// For a borrower, who in an aborted transaction may go back to a savepoint.
    async fn lent(&self) -> Result<RwLockReadGuard<'_, PgConnection>> {
        let connection = self.unchecked().await?;
        match self.identity.changed(&connection).await {
            Ok(Some(reason)) => Err(self.lose(&connection, reason)),
            Ok(None) | Err(Error::Ended { .. }) => Ok(connection),
            Err(error) => Err(error),
        }
    }

    /// Runs one statement, whose result counts only if the transaction was still the unit's behind it: a borrower's may
    /// have been sent just before.
    pub async fn statement<T>(
        &self,
        built: &Built,
        run: impl for<'a> Fn(&'a PgConnection, &'a Built) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let connection = self.shared().await?;
        let done = match run(&connection, built).await {
            Ok(done) => done,
            Err(error) => {
                // Those beside it, which have failed with it, are not dropped in flight.
                if !connection.is_discarded() {
                    connection.wire().companions.quiet().await;
                }
                if matches!(error, Error::Ended { .. }) {
                    // Of a `try_join!` the error that aborted the transaction wins: it is told in the turn between.
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
                return Err(error);
            }
        };
        match self.identity.changed(&connection).await {
            Ok(Some(reason)) => Err(self.lose(&connection, reason)),
            // What the borrower made fail afterwards, the borrower is told.
            Ok(None) | Err(Error::Ended { .. }) => Ok(done),
            Err(error) => Err(error),
        }
    }

    /// Returns when no other call is under way, or after some seconds: an error of a call that was not sent is told
    /// then, and nobody drops the others in flight because of it.
    pub async fn quiet(&self) {
        if let Ok(slot) = self.patiently(self.connection.read()).await
            && let Some(wire) = slot.as_deref().map(|connection| connection.wire().clone())
        {
            drop(slot);
            wire.companions.quiet().await;
        }
    }

    /// Refuses to go on where SQL beside the repositories ended the transaction or changed its role.
    async fn check(&self, connection: &PgConnection) -> Result<()> {
        match self.identity.changed(connection).await? {
            None => Ok(()),
            Some(reason) => Err(self.lose(connection, reason)),
        }
    }

    /// Ends the unit. What is still open on the connection is rolled back at once, also where the unit is kept;
    /// nothing is sent on it any more.
    fn lose(&self, connection: &PgConnection, reason: &'static str) -> Error {
        let reason = self.over.get_or_init(|| reason);
        connection.roll_back_now(&self.identity.rollback(connection));
        connection.discard();
        ended(reason)
    }

    /// As [`shared`](Self::shared), for what may run in any transaction.
    async fn unchecked(&self) -> Result<RwLockReadGuard<'_, PgConnection>> {
        let slot = match self.connection.try_read() {
            Ok(slot) => slot,
            Err(_) => self.patiently(self.connection.read()).await?,
        };
        self.check_open()?;
        let connection = RwLockReadGuard::try_map(slot, |c| c.as_deref());
        let connection = connection.map_err(|_| ended(ENDED))?;
        answered(&connection)?;
        Ok(connection)
    }

    /// For statements that nothing may run between.
    pub async fn exclusive(&self) -> Result<RwLockMappedWriteGuard<'_, PgConnection>> {
        let slot = self.patiently(self.connection.write()).await?;
        self.check_open()?;
        let connection = RwLockWriteGuard::try_map(slot, |c| c.as_deref_mut());
        let connection = connection.map_err(|_| ended(ENDED))?;
        answered(&connection)?;
        self.check(&connection).await?;
        Ok(connection)
    }

    /// The connection itself, to end the transaction on it, and what is different about that.
    ///
    /// # Errors
    /// [`Error::Ended`] after the end.
    async fn take(&self) -> Result<(Pooled, Result<Option<&'static str>>)> {
        let mut slot = self.patiently(self.connection.write()).await?;
        self.check_open()?;
        let connection = slot.as_deref().ok_or(ended(ENDED))?;
        answered(connection)?;
        let changed = self.identity.changed(connection).await;
        Ok((slot.take().ok_or(ended(ENDED))?, changed))
    }

    /// Makes it one that can only be rolled back, or go back to a savepoint: what a statement did cannot be told.
    pub async fn abort(&self) {
        let refused = match self.unchecked().await {
            // Refused, which aborts: there is no such savepoint.
            Ok(connection) => {
                connection.batch("ROLLBACK TO SAVEPOINT of_nothing_that_can_be_read").await
            }
            Err(_) => Ok(()),
        };
        if !matches!(refused, Err(Error::Database { .. } | Error::Ended { .. })) {
            self.over
                .get_or_init(|| "a row that was written could not be read, nor be undone alone");
        }
    }

    pub fn announce(&self) {
        self.announces.store(true, Ordering::Release);
    }

    pub fn tell(&self) {
        self.tells.store(true, Ordering::Release);
    }

    /// For what must not be part of it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    fn check_open(&self) -> Result<()> {
        self.over.get().map_or(Ok(()), |reason| Err(ended(reason)))
    }

    /// Waits for the lock, but not for ever: whoever holds the connection may be the caller itself.
    async fn patiently<T>(&self, lock: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout(self.patience, lock).await.map_err(|_| Error::Busy {
            resource: "connection of the unit of work",
            waited: self.patience,
            cause: Some("a statement, a stream or a borrowed connection still holds it".into()),
        })
    }

    /// Rolls back without waiting. A statement still in flight elsewhere (a repository kept by
    /// another task) makes it impossible to take the connection here: it is discarded, and closing
    /// it rolls back.
    fn abandon(&self) {
        self.over.get_or_init(|| ENDED);
        match self.connection.try_write() {
            Ok(mut slot) => {
                if let Some(connection) = slot.take() {
                    connection.roll_back_now(&self.identity.rollback(&connection));
                }
            }
            Err(_) => {
                if let Ok(Some(connection)) =
                    self.connection.try_read().as_deref().map(Option::as_ref)
                {
                    connection.discard();
                }
                // Held exclusively: `Drop` rolls back when the holder is done.
            }
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.get_mut() {
            connection.roll_back_now(&self.identity.rollback(connection));
        }
    }
}

/// The kinds of transaction that PostgreSQL offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    #[default]
    ReadCommitted,
    /// All statements see one snapshot; writing what another changed since is
    /// [`Error::Retryable`].
    RepeatableRead,
    /// As if transactions ran one after another; otherwise [`Error::Retryable`].
    Serializable,
}

/// How a transaction begins. The default is read committed and read-write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionOptions {
    /// What the transaction sees of others.
    pub isolation: Isolation,
    /// Refuse writes with [`Error::ReadOnly`].
    pub read_only: bool,
    /// Have a [receipt](UnitOfWork::receipt): by it [`Database::outcome`](crate::Database::outcome) finds out what became
    /// of a COMMIT that was not answered. The server is asked for it with the transaction's begin and its first write, which
    /// takes no round trip more, and writes a record of a few bytes into its log.
    pub receipt: bool,
    /// Find that out at once, within this time, where a COMMIT is not answered (and so have a receipt): what was committed is
    /// `Ok`, what was rolled back is [`Error::Unavailable`], or run again by
    /// [`transaction`](crate::Database::transaction), and only what stays unknown is [`Error::OutcomeUnknown`].
    pub resolve_within: Option<Duration>,
}

impl TransactionOptions {
    fn begin(self) -> String {
        let isolation = match self.isolation {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
            Isolation::Serializable => "SERIALIZABLE",
        };
        let access = if self.read_only { "READ ONLY" } else { "READ WRITE" };
        format!("BEGIN ISOLATION LEVEL {isolation}, {access}")
    }

    fn asks_for_receipt(self) -> bool {
        (self.receipt || self.resolve_within.is_some()) && !self.read_only
    }
}

/// The error of a transaction that was not committed, although its COMMIT was sent.
pub(super) fn undone() -> Error {
    Error::Unavailable { reason: "the connection failed; the transaction was rolled back".into() }
}

/// One transaction with the repositories of [`Database`](crate::Database), all on its connection.
///
/// Independent statements pipeline: `try_join!(uow.users().find(a), uow.prices().latest(&b))`
/// takes about one round trip. An error of the server aborts the transaction, as always in
/// PostgreSQL; what may fail goes into a [`savepoint`](UnitOfWork::savepoint). An error of a call is told when the calls beside
/// it have been answered, so that a `try_join!` drops none of them in flight: a call that is dropped so ends the unit, because
/// what it did is not known. Dropped without
/// [`commit`](UnitOfWork::commit), everything is rolled back. A repository kept after the end
/// answers [`Error::Ended`].
pub struct UnitOfWork {
    transaction: Arc<Transaction>,
    repositories: RepositorySet,
    savepoints: AtomicU32,
}

impl UnitOfWork {
    pub(crate) async fn begin(
        pool: &Pool,
        options: TransactionOptions,
        tenant: Option<&Tenant>,
    ) -> Result<Self> {
        let connection = pool.checkout().await?;
        let transaction = Arc::new(Transaction::new(connection, options, tenant));
        // Made before BEGIN is sent, so that a drop in between rolls back.
        let unit = UnitOfWork {
            repositories: RepositorySet::new(&Source::Transaction(transaction.clone())),
            transaction,
            savepoints: AtomicU32::new(0),
        };
        let connection = unit.transaction.unchecked().await?;
        let (identity, asks) = (&unit.transaction.identity, options.asks_for_receipt());
        let history = identity.begin(&connection, &options.begin(), asks).await?;
        if let Some(asked) = history.and_then(Asked::on) {
            connection.wire().ask_for_receipt(asked.clone());
            // It begins once.
            let _ = unit.transaction.asked.set(asked);
        }
        drop(connection);
        Ok(unit)
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
    /// elsewhere, it tells a later run of the program what became of a transaction in which the program ended. Takes a
    /// round trip: whether a crash can take the id away is asked anew.
    pub async fn receipt(&self) -> Option<Receipt> {
        let asked = self.transaction.asked.get()?;
        let connection = self.transaction.connection.try_read();
        let wire = connection.ok().and_then(|slot| slot.as_deref().map(|c| c.wire().clone()));
        if let Some(wire) = wire {
            asked.ask_whether_kept(&wire).await;
        }
        asked.receipt().await
    }

    /// Makes everything permanent.
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
        let (connection, changed) = self.transaction.take().await?;
        let identity = &self.transaction.identity;
        match changed {
            Ok(Some(reason)) => return Err(self.transaction.lose(&connection, reason)),
            Ok(None) => {}
            Err(error) => {
                connection.roll_back_now(&identity.rollback(&connection));
                return Err(error);
            }
        }
        if let Some(asked) = self.transaction.asked.get() {
            asked.ask_whether_kept(connection.wire()).await;
        }
        let done = match identity.commit(&connection) {
            Some(reset) => connection.commit_after(&reset).await,
            None => connection.commit().await,
        };
        let pool = connection.pool();
        // To ask what became of it may need the connection's place in the pool.
        drop(connection);
        let done = match done {
            Ok(()) => Ok(true),
            Err(Error::OutcomeUnknown { reason, .. }) => self.resolve(&pool, reason).await,
            Err(error) => return Err(error),
        };
        if self.transaction.announces.load(Ordering::Acquire) {
            pool.announce();
        }
        if self.transaction.tells.load(Ordering::Acquire) {
            pool.tell();
        }
        done
    }

    /// Whether it was committed, where that was to be found out and can be.
    async fn resolve(&self, pool: &Pool, reason: String) -> Result<bool> {
        let receipt = self.receipt().await;
        if let (Some(receipt), Some(within)) = (&receipt, self.transaction.resolve_within)
            && let Some(committed) = outcome::resolve(pool, receipt, within).await
        {
            return Ok(committed);
        }
        Err(Error::OutcomeUnknown { receipt, reason })
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// [`Error::Ended`] where SQL on its [`connection`](Self::connection) had ended the transaction: what that
    /// committed stays. The connection failed; everything is undone then, too.
    pub async fn rollback(self) -> Result<()> {
        let (connection, changed) = self.transaction.take().await?;
        if let Ok(Some(reason)) = changed {
            return Err(self.transaction.lose(&connection, reason));
        }
        // Of an aborted transaction, which cannot be asked, too.
        connection.batch(&self.transaction.identity.rollback(&connection)).await
    }

    /// Runs `work` in a savepoint: if it fails (or its future is dropped), what it wrote is undone
    /// and the unit of work goes on. Statements that run beside it on the same unit of work are
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
        match (result, end) {
            (Ok(_), Err(e)) => Err(e.into()),
            (result, _) => result,
        }
    }

    /// For statements on `table` beside the repositories.
    pub(crate) fn session(&self, table: &'static str) -> Session {
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
        if !self.open {
            return;
        }
        match self.transaction.connection.try_read().as_deref() {
            Ok(Some(connection)) => connection.send_now(&self.undo),
            Ok(None) => {}
            // Somebody holds the connection for several statements: what cannot be undone alone is
            // undone with all the rest.
            Err(_) => drop(self.transaction.over.get_or_init(|| ENDED)),
        }
    }
}

/// A connection borrowed from the pool or from a unit of work, for other Diesel queries. What they may leave on
/// it is told at [`Database::connection`](crate::Database::connection) and [`UnitOfWork::connection`].
pub struct Connection<'a>(pub(crate) Lease<'a>);

impl Connection<'_> {
    /// What [`diesel_async::RunQueryDsl`] takes: `query.load(&mut connection.as_diesel())`.
    pub fn as_diesel(&self) -> &PgConnection {
        &self.0
    }
}

impl std::ops::Deref for Connection<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.0
    }
}
