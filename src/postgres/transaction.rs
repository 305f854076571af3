//! One transaction on one connection, whose statements may come from several repositories.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{RwLock, RwLockMappedWriteGuard, RwLockReadGuard, RwLockWriteGuard};

use super::companions::Waiting;
use super::lending::Identity;
use super::outcome;
use super::pg_connection::PgConnection;
use super::pool::{Pool, Pooled};
use super::receipts::Asked;
use super::rendered_query::RenderedQuery;
use super::tenant::Tenant;
use super::transaction_options::TransactionOptions;
use super::transport::Transport;
use crate::error::{Error, Receipt, Resource, Result};

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
    /// What is under way on it can be seen also while somebody holds it.
    wire: Weak<Transport>,
    identity: Identity,
    /// Why nothing more runs in it, where it ended while somebody else held the connection: it is rolled back
    /// as soon as that can be had.
    over: OnceLock<&'static str>,
    /// The channels on which other processes are notified after the commit.
    channels: Mutex<BTreeSet<&'static str>>,
    /// Longest wait for others to let go of the connection.
    patience: Duration,
    pool: Pool,
    /// It is to have a receipt.
    asked: OnceLock<Arc<Asked>>,
    resolve_within: Option<Duration>,
}

impl Transaction {
    /// Begins one on a connection of the pool.
    ///
    /// # Errors
    /// Those of taking a connection and of the statements.
    pub async fn begin(
        pool: &Pool,
        options: TransactionOptions,
        tenant: Option<&Tenant>,
    ) -> Result<Arc<Self>> {
        let connection = pool.checkout().await?;
        // Made before BEGIN is sent, so that a drop in between rolls back.
        let transaction = Arc::new(Transaction::new(connection, options, tenant));
        let connection = transaction.unchecked().await?;
        let (identity, asks) = (&transaction.identity, options.asks_for_receipt());
        let history = identity.begin(&connection, &options.begin(), asks).await?;
        if let Some(asked) = history.and_then(Asked::on) {
            connection.wire().ask_for_receipt(asked.clone());
            // It begins once.
            let _ = transaction.asked.set(asked);
        }
        drop(connection);
        Ok(transaction)
    }

    fn new(connection: Pooled, options: TransactionOptions, tenant: Option<&Tenant>) -> Self {
        Transaction {
            patience: connection.pool_timeout(),
            pool: connection.pool(),
            identity: Identity::new(&connection, tenant),
            wire: Arc::downgrade(connection.wire()),
            connection: RwLock::new(Some(connection)),
            over: OnceLock::new(),
            channels: Mutex::default(),
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
    pub async fn lent(&self) -> Result<RwLockReadGuard<'_, PgConnection>> {
        let connection = self.unchecked().await?;
        match self.identity.changed(&connection).await {
            Ok(Some(reason)) => Err(self.lose(&connection, reason)),
            Ok(None) | Err(Error::Ended { .. }) => Ok(connection),
            Err(error) => Err(error),
        }
    }

    /// Runs one statement, whose result counts only if the transaction was still the unit's afterwards: a borrower's may
    /// have been sent just before.
    pub async fn statement<T>(
        &self,
        built: &RenderedQuery,
        run: impl for<'a> Fn(&'a PgConnection, &'a RenderedQuery) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let connection = self.shared().await?;
        let done = run(&connection, built).await?;
        match self.identity.changed(&connection).await {
            Ok(Some(reason)) => Err(self.lose(&connection, reason)),
            // A later failure of the borrower's SQL is reported to the borrower.
            Ok(None) | Err(Error::Ended { .. }) => Ok(done),
            Err(error) => Err(error),
        }
    }

    /// To be awaited before a call returns this error: what runs beside it has been answered then, and is not dropped in
    /// flight by a `try_join!` that the error ends.
    pub async fn settle(&self, error: &Error) {
        self.quiet().await;
        if matches!(error, Error::Ended { .. }) {
            // Of a `try_join!` the error that aborted the transaction wins: it is returned in the turn between.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
    }

    /// Returns when no call waits for an answer, or after some seconds. Takes no lock: a call that holds the connection and
    /// waits for something else, for the next item of a stream, may be waiting for the one that asks. Dropped there, it
    /// undoes what is its own.
    pub async fn quiet(&self) {
        let slot = self.connection.try_read();
        let is_over = self.over.get().is_some() || matches!(slot.as_deref(), Ok(None));
        drop(slot);
        match self.wire.upgrade() {
            Some(wire) if !is_over && !wire.is_broken() => wire.companions.quiet().await,
            _ => {}
        }
    }

    /// See [`Companions::joined`](super::companions::Companions::joined).
    pub fn joined(&self) -> Option<Waiting> {
        Some(self.wire.upgrade()?.companions.joined())
    }

    /// Refuses to continue where SQL beside the repositories ended the transaction or changed its role.
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
    pub async fn unchecked(&self) -> Result<RwLockReadGuard<'_, PgConnection>> {
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

    /// Makes it one that can only be rolled back, or go back to a savepoint: the effect of a statement is unknown.
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

    /// Its receipt, where it asked for one and has written; asks again whether a crash can take the id away.
    pub async fn receipt(&self) -> Option<Receipt> {
        let asked = self.asked.get()?;
        let connection = self.connection.try_read();
        let wire = connection.ok().and_then(|slot| slot.as_deref().map(|c| c.wire().clone()));
        if let Some(wire) = wire {
            asked.ask_whether_kept(&wire).await;
        }
        asked.receipt().await
    }

    /// Commits; `false` where the COMMIT was not answered and all was found to be rolled back.
    ///
    /// # Errors
    /// `Ended` where an earlier error or a borrower's SQL has ended it; those of a COMMIT.
    pub async fn commit(&self) -> Result<bool> {
        let (connection, changed) = self.take().await?;
        let identity = &self.identity;
        match changed {
            Ok(Some(reason)) => return Err(self.lose(&connection, reason)),
            Ok(None) => {}
            Err(error) => {
                connection.roll_back_now(&identity.rollback(&connection));
                return Err(error);
            }
        }
        if let Some(asked) = self.asked.get() {
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
            Err(Error::OutcomeUnknown { reason, sqlstate, .. }) => {
                self.resolve(&pool, reason, sqlstate).await
            }
            Err(error) => return Err(error),
        };
        for channel in std::mem::take(&mut *self.channels()) {
            pool.notify(channel);
        }
        done
    }

    /// Whether it was committed, where that was to be found out and can be.
    async fn resolve(&self, pool: &Pool, reason: String, sqlstate: Option<String>) -> Result<bool> {
        let receipt = self.receipt().await;
        if let (Some(receipt), Some(within)) = (&receipt, self.resolve_within)
            && let Some(committed) = outcome::resolve(pool, receipt, within).await
        {
            return Ok(committed);
        }
        Err(Error::OutcomeUnknown { receipt, reason, sqlstate })
    }

    /// Rolls back.
    ///
    /// # Errors
    /// `Ended` where a borrower's SQL had ended it; those of the statement.
    pub async fn rollback(&self) -> Result<()> {
        let (connection, changed) = self.take().await?;
        if let Ok(Some(reason)) = changed {
            return Err(self.lose(&connection, reason));
        }
        // Of an aborted transaction, which cannot be asked, too.
        connection.batch(&self.identity.rollback(&connection)).await
    }

    /// Undoes a savepoint whose future was dropped, without waiting. Where somebody holds the connection for several
    /// statements, what cannot be undone alone is undone with all the rest.
    pub fn undo_now(&self, sql: &str) {
        match self.connection.try_read().as_deref() {
            Ok(Some(connection)) => connection.send_now(sql),
            Ok(None) => {}
            Err(_) => drop(self.over.get_or_init(|| ENDED)),
        }
    }

    /// Notifies every process on this channel, soon after the commit.
    pub fn notify_at_commit(&self, channel: &'static str) {
        self.channels().insert(channel);
    }

    /// Whether the commit will notify on this channel.
    pub fn notifies(&self, channel: &str) -> bool {
        self.channels().contains(channel)
    }

    fn channels(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        // Nothing panics while it is held.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For what must not be part of it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    fn check_open(&self) -> Result<()> {
        self.over.get().map_or(Ok(()), |reason| Err(ended(reason)))
    }

    /// Waits for the lock for a limited time: the caller itself may hold the connection.
    async fn patiently<T>(&self, lock: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout(self.patience, lock).await.map_err(|_| Error::Busy {
            resource: Resource::UnitOfWork,
            waited: self.patience,
            cause: Some("a statement, a stream or a borrowed connection still holds it".into()),
        })
    }

    /// Rolls back without waiting. A statement still in flight elsewhere (a repository kept by
    /// another task) makes it impossible to take the connection here: it is discarded, and closing
    /// it rolls back.
    pub fn abandon(&self) {
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

/// The error of a transaction that was not committed, although its COMMIT was sent.
pub(crate) fn undone() -> Error {
    Error::unavailable("the connection failed; the transaction was rolled back")
}
