//! The pool: bb8 behind a fair queue.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::poll;
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::making::{Lender, Parked, Shared};
use super::manager::{ConnectFailure, Manager};
use super::pg_connection::PgConnection;
use crate::config::Config;
use crate::error::{Error, Resource, Result};
use crate::types::span;

/// Between attempts of one waiter to have a connection made, while connecting fails.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// How long notifications are gathered.
const NOTIFY_AFTER: Duration = Duration::from_millis(10);

/// A pool of connections; clones share it.
///
/// Callers are served in the order of their asking, which bb8 alone does not promise; connections
/// are reused last in, first out, so that the warm ones stay warm. Under load `pool_max_overflow` more
/// than `pool_size` are opened; when it is over, `pool_size` stay open.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    lender: RwLock<Lender>,
    /// The number of the lender: a caller that waits for a replaced one asks the next.
    replaced: watch::Sender<u64>,
    manager: Arc<Manager>,
    queue: Arc<Semaphore>,
    pub kept: usize,
    max: usize,
    timeout: Duration,
    transaction_pooler: bool,
    /// The channels on which a NOTIFY is on its way.
    notifying: Mutex<BTreeSet<&'static str>>,
    retried: AtomicU64,
}

/// The pool at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolState {
    /// Connections open, idle or in use.
    pub open: usize,
    /// Connections handed out, and callers being given one.
    pub in_use: usize,
    /// The most that can be open: `pool_size + pool_max_overflow`.
    pub max: usize,
    /// Transactions that [`transaction`](crate::Database::transaction) has run again since the pool was made, because
    /// they collided with others.
    pub retried: u64,
}

impl fmt::Display for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolState { open, in_use, max, retried } = self;
        write!(
            f,
            "{in_use} of {open} open connections in use, at most {max}, {retried} retried transactions"
        )
    }
}

impl Pool {
    /// A pool that connects when first asked; nothing is opened here.
    ///
    /// # Errors
    /// [`Error::Config`] where certificates cannot be read.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let manager = Arc::new(Manager::new(config)?);
        let (kept, max) = (config.pool_size as usize, config.pool_max() as usize);
        let queue = Arc::new(Semaphore::new(max));
        let timeout = config.pool_timeout;
        let transaction_pooler = config.is_behind_transaction_pooler();
        let inner = Arc::new_cyclic(|pool: &Weak<Inner>| Inner {
            lender: RwLock::new(Lender::new(0, &manager, pool, max, timeout)),
            replaced: watch::Sender::new(0),
            manager,
            queue,
            kept,
            max,
            timeout,
            transaction_pooler,
            notifying: Mutex::default(),
            retried: AtomicU64::new(0),
        });
        Ok(Pool { inner })
    }

    /// Waits for a connection, at most `pool_timeout`. What is left on it does not reach the next caller: see
    /// [`Database::connection`](crate::Database::connection), which lends the same ones.
    ///
    /// # Errors
    /// [`Error::Busy`] when all stayed in use; [`Error::Unavailable`] when none could be made: at
    /// once where trying again cannot help (wrong password, unknown database), else after the
    /// timeout, with the last cause; [`Error::Config`] behind a pooler in transaction mode, where a
    /// [unit of work](crate::Database::begin) lends its connection.
    pub async fn get(&self) -> Result<Pooled> {
        if self.inner.transaction_pooler {
            return Err(Error::Config {
                variable: "transaction_pooler".into(),
                reason: "a connection is lent inside of a transaction only: use Database::begin, \
                         then UnitOfWork::connection"
                    .into(),
            });
        }
        self.checkout().await
    }

    /// A connection for the crate's own statements.
    ///
    /// # Errors
    /// As [`get`](Self::get), of any server.
    pub(crate) async fn checkout(&self) -> Result<Pooled> {
        let started = Instant::now();
        let permit = match self.inner.queue.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queued(started).await?,
        };
        // From before the first attempt, so that no failure of it is missed.
        let mut failures = self.inner.manager.failures();
        let mut replaced = self.inner.replaced.subscribe();
        let mut get = pin!(lend(self.inner.clone()));
        let at_once = poll!(get.as_mut());
        if let Poll::Ready(got) = at_once {
            return self.lent(got, permit, started);
        }
        let connected = async {
            loop {
                let failure = tokio::select! {
                    biased;
                    got = get.as_mut() => return Ok(got),
                    failure = next_failure(&mut failures) => failure,
                    // The pool lives as long as this call: there will be another lender.
                    _ = replaced.changed() => None,
                };
                // While others hold connections that work, theirs may come back.
                let alone = self.inner.manager.open() == 0;
                if let Some(f) = failure.filter(|f| f.permanent && alone) {
                    return Err(Error::Unavailable { reason: f.reason, sqlstate: f.sqlstate });
                }
                if let Ok(got) = tokio::time::timeout(RETRY_PAUSE, get.as_mut()).await {
                    return Ok(got);
                }
                // bb8 connects when asked for a connection, so it is asked again.
                get.set(lend(self.inner.clone()));
            }
        };
        let deadline = tokio::time::Instant::from_std(span::after(started, self.inner.timeout));
        match tokio::time::timeout_at(deadline, connected).await {
            Ok(Ok(got)) => self.lent(got, permit, started),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(self.gave_up(started)),
        }
    }

    fn lent(
        &self,
        got: Result<Lent, bb8::RunError<Error>>,
        permit: OwnedSemaphorePermit,
        started: Instant,
    ) -> Result<Pooled> {
        match got {
            Ok((mut connection, Lender { idle, number, .. })) => {
                connection.parked = None;
                let inner = self.inner.clone();
                Ok(Pooled { connection, _permit: permit, inner, idle, lender: number })
            }
            Err(bb8::RunError::User(e)) => Err(e),
            Err(bb8::RunError::TimedOut) => Err(self.gave_up(started)),
        }
    }

    async fn queued(&self, started: Instant) -> Result<OwnedSemaphorePermit> {
        let turn = self.inner.queue.clone().acquire_owned();
        match tokio::time::timeout(self.inner.timeout, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) => Err(Error::Ended { reason: "the pool is closed" }),
            Err(_) => {
                let last = self.inner.manager.failures().borrow().clone();
                let last = last.map(|f| format!("; last connect error: {}", f.reason));
                Err(Error::Busy {
                    resource: Resource::PooledConnection,
                    waited: started.elapsed(),
                    cause: Some(format!(
                        "all {} in use{}",
                        self.inner.max,
                        last.unwrap_or_default()
                    )),
                })
            }
        }
    }

    fn gave_up(&self, started: Instant) -> Error {
        let failure = self.inner.manager.failures().borrow().clone();
        match failure {
            Some(f) => Error::Unavailable {
                reason: format!("no connection within {:?}: {}", self.inner.timeout, f.reason),
                sqlstate: f.sqlstate,
            },
            None => Error::Busy {
                resource: Resource::PooledConnection,
                waited: started.elapsed(),
                cause: Some("connecting is still under way".into()),
            },
        }
    }

    /// A connection that belongs to the caller and to no pool.
    pub(crate) async fn connect_unpooled(&self) -> Result<PgConnection> {
        self.inner.manager.connect_unpooled(None).await
    }

    /// Which database this is: its servers and name, the same in every process that is configured so.
    #[cfg(feature = "redis")]
    pub(crate) fn name(&self) -> String {
        self.inner.manager.name()
    }

    /// A connection that belongs to the caller and listens on a channel; `wake` is woken by
    /// notifications, and by the connection's end.
    pub(crate) async fn listen(&self, channel: &str, wake: Arc<Notify>) -> Result<PgConnection> {
        let connection = self.inner.manager.connect_unpooled(Some(wake)).await?;
        connection.batch(&format!("LISTEN {channel}")).await?;
        Ok(connection)
    }

    /// Notifies every process that listens on a channel, soon. Notifications within a short time become one NOTIFY, in a
    /// separate transaction: NOTIFY takes a lock at commit, and writers that notify would wait for each other. A
    /// notification that is lost only delays: readers of a log read it anyway.
    pub(crate) fn notify(&self, channel: &'static str) {
        if !self.inner.notifying().insert(channel) {
            return;
        }
        let pool = self.clone();
        // Made before the task, which may end with its runtime without ever having run.
        let notifying = Notifying(self.inner.clone(), channel);
        // Outside of a runtime nothing can be sent, and nothing is lost but time.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(NOTIFY_AFTER).await;
            // What is written from here on is part of the next.
            drop(notifying);
            let sent = match pool.checkout().await {
                Ok(connection) => connection.batch(&format!("NOTIFY {channel}")).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::debug!(target: "buffetbot_db::connection", %error, "NOTIFY failed");
            }
        });
    }

    /// Counts a transaction that is run again.
    pub(crate) fn count_retried(&self) {
        self.inner.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections are open and in use.
    pub fn state(&self) -> PoolState {
        self.inner.state()
    }
}

impl From<Arc<Inner>> for Pool {
    fn from(inner: Arc<Inner>) -> Self {
        Pool { inner }
    }
}

impl Inner {
    fn notifying(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        // Nothing panics while it is held.
        self.notifying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lends connections now.
    pub(super) fn lender(&self) -> Lender {
        self.lender.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another lender in the place of this one, if it is the one that lends.
    pub(super) fn replace(self: &Arc<Self>, number: u64) {
        let mut lender = self.lender.write().unwrap_or_else(PoisonError::into_inner);
        if lender.number == number {
            let pool = Arc::downgrade(self);
            *lender = Lender::new(number + 1, &self.manager, &pool, self.max, self.timeout);
            self.replaced.send_replace(number + 1);
        }
    }

    fn state(&self) -> PoolState {
        PoolState {
            open: self.manager.open(),
            in_use: self.max - self.queue.available_permits(),
            max: self.max,
            retried: self.retried.load(Ordering::Relaxed),
        }
    }
}

/// A NOTIFY on its way: the channel is noted until this is dropped.
struct Notifying(Arc<Inner>, &'static str);

impl Drop for Notifying {
    fn drop(&mut self) {
        self.0.notifying().remove(self.1);
    }
}

/// A connection, and who has lent it.
type Lent = (bb8::PooledConnection<'static, Shared>, Lender);

async fn lend(inner: Arc<Inner>) -> Result<Lent, bb8::RunError<Error>> {
    let lender = inner.lender();
    Ok((lender.bb8.get_owned().await?, lender))
}

/// The next failure to connect after the ones already seen.
async fn next_failure(
    failures: &mut watch::Receiver<Option<ConnectFailure>>,
) -> Option<ConnectFailure> {
    loop {
        if failures.changed().await.is_err() {
            // The manager is gone with its pool: nobody waits here then.
            return None;
        }
        let seen = failures.borrow_and_update().clone();
        if seen.is_some() {
            return seen;
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.state()).finish()
    }
}

/// A connection on loan; it goes back when dropped, and its place in the queue with it. The session is reset
/// behind a borrower who ran statements on it.
pub struct Pooled {
    // Before the permit: the next in the queue finds the connection returned.
    connection: bb8::PooledConnection<'static, Shared>,
    _permit: OwnedSemaphorePermit,
    inner: Arc<Inner>,
    /// How many idle where it came from, and which lender that is.
    idle: Arc<AtomicUsize>,
    lender: u64,
}

impl Pooled {
    /// The pool that it goes back to.
    pub(crate) fn pool(&self) -> Pool {
        Pool { inner: self.inner.clone() }
    }

    /// How long this connection's pool lets a caller wait.
    pub(super) fn pool_timeout(&self) -> Duration {
        self.inner.timeout
    }
}

impl Deref for Pooled {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Pooled {
    /// Under load overflow connections are reused like all others; as many as are to be kept may idle, of those whose lender
    /// still lends.
    fn drop(&mut self) {
        self.connection.disable_timeouts(false);
        let (parked, idle) = Parked::new(&self.idle);
        if idle <= self.inner.kept && *self.inner.replaced.borrow() == self.lender {
            self.connection.parked = Some(parked);
            self.connection.clean();
        } else {
            self.connection.discard();
        }
    }
}
