//! The handle that a program holds.

mod administration;
mod event_consumer;
mod event_log;
mod migrate;
mod repositories;
mod retry;
mod tenant_scope;
mod unit_of_work;

use std::fmt;
use std::sync::Arc;

use crate::cache::{Cache, CacheOptions};
use crate::config::{Config, Environment};
#[cfg(feature = "embedded")]
use crate::embedded::{EmbeddedOptions, EmbeddedServer};
#[cfg(feature = "embedded")]
use crate::error::Error;
use crate::error::{Receipt, Result};
use crate::events::{EventFilter, Subscription, Waker};
#[cfg(feature = "passwords")]
use crate::passwords::PasswordHasher;
use crate::postgres::{
    ApplicationRole, Connection, Lease, Outcome, Pool, Tenant, TransactionOptions,
};
use crate::store::tables::Table;
use crate::store::{Session, Source, tables};
use crate::tenancy::owned_tables;
use crate::types::UserId;
use crate::{events, postgres};

pub use event_consumer::{Delivery, EventConsumer};
pub use event_log::EventLog;
pub use migrate::{MIGRATIONS, MIGRATIONS_HASH};
pub use repositories::{Repositories, RepositorySet};
pub use retry::{TransactionError, TransactionFn};
pub use tenant_scope::TenantScope;
pub use unit_of_work::UnitOfWork;

/// A database: its pool and the repositories over it. Cloning is cheap; clones share the pool.
///
/// The repositories are reached through it (`db.users()`, `db.prices()`, ...); each call takes a
/// connection for its one statement. Several statements that belong together go into a
/// [unit of work](Database::begin).
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    repositories: RepositorySet,
    cache: Cache,
    config: Config,
    application_role: ApplicationRole,
    waker: Arc<Waker>,
    #[cfg(feature = "passwords")]
    hasher: PasswordHasher,
    // Held for its life: the last clone of the handle leaves the server.
    #[cfg(feature = "embedded")]
    server: Option<EmbeddedServer>,
}

impl Database {
    /// Connects: one connection is made at once, so that a wrong host, password or name is reported
    /// here. Must be called on a tokio runtime; the runtime must outlive the handle.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) with the cause,
    /// [`Error::Config`](crate::Error::Config) where certificates cannot be read.
    pub async fn connect(config: Config) -> Result<Self> {
        let database = Self::connect_lazy(config)?;
        // Made outside of the pool, so that the cause comes at once, whatever it is.
        drop(database.pool.connect_unpooled().await?);
        Ok(database)
    }

    /// A handle that connects when it is first used; for programs that start before their database.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) where certificates cannot be read, or of a name that no role
    /// can have.
    pub fn connect_lazy(config: Config) -> Result<Self> {
        config.check_application_role()?;
        let pool = Pool::new(&config)?;
        let cache = Cache::new(CacheOptions::default(), &pool)?;
        let repositories = RepositorySet::new(&on_pool(&pool, &cache));
        Ok(Database {
            repositories,
            cache,
            application_role: ApplicationRole::new(&config.application_role, owned_tables()),
            waker: Waker::new(&pool),
            #[cfg(feature = "passwords")]
            hasher: PasswordHasher::default(),
            pool,
            config,
            #[cfg(feature = "embedded")]
            server: None,
        })
    }

    /// This handle with a cache of other levels and defaults; handles cloned before keep theirs.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) of a level that cannot be used.
    pub fn with_cache(self, options: CacheOptions) -> Result<Self> {
        let cache = Cache::new(options, &self.pool)?;
        let source = on_pool(&self.pool, &cache);
        Ok(Database { repositories: RepositorySet::new(&source), cache, ..self })
    }

    /// The cache of market data: values from memory, Redis or the database, else fetched, once.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Begins a transaction, read committed and read-write.
    ///
    /// # Errors
    /// Those of taking a connection.
    pub async fn begin(&self) -> Result<UnitOfWork> {
        self.begin_with(TransactionOptions::default()).await
    }

    /// Begins a transaction of another kind.
    ///
    /// # Errors
    /// Those of taking a connection.
    pub async fn begin_with(&self, options: TransactionOptions) -> Result<UnitOfWork> {
        UnitOfWork::begin(&self.pool, options, None, &self.cache).await
    }

    /// Runs `work` in a transaction and commits what it did; an error rolls back. On deadlock and
    /// serialization failure it runs again from the start, up to six times in all, with growing,
    /// jittered pauses, so that it may have no effects besides the transaction's. So it does where
    /// [`resolve_within`](TransactionOptions::resolve_within) is set and a COMMIT that was not answered turns out to have been
    /// rolled back.
    ///
    /// ```no_run
    /// # use buffetbot_db::{Database, Result};
    /// # use buffetbot_db::types::UserId;
    /// # use buffetbot_db::users::UserRepository;
    /// # async fn example(db: &Database, id: UserId) -> Result<()> {
    /// let name = db.transaction(async |uow| {
    ///     let user = uow.users().record_login(id).await?;
    ///     Ok::<_, buffetbot_db::Error>(user.display_name())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// That of `work`, or of the transaction; the last one where all attempts collided.
    pub async fn transaction<R, E, F>(&self, work: F) -> Result<R, E>
    where
        for<'u> F: AsyncFn(&'u UnitOfWork) -> Result<R, E>
            + TransactionFn<&'u UnitOfWork, Result<R, E>, Fut: Send>
            + Send
            + Sync,
        R: Send,
        E: TransactionError + Send,
    {
        self.transaction_with(TransactionOptions::default(), work).await
    }

    /// As [`transaction`](Self::transaction), with a transaction of another kind.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction).
    pub async fn transaction_with<R, E, F>(
        &self,
        options: TransactionOptions,
        work: F,
    ) -> Result<R, E>
    where
        for<'u> F: AsyncFn(&'u UnitOfWork) -> Result<R, E>
            + TransactionFn<&'u UnitOfWork, Result<R, E>, Fut: Send>
            + Send
            + Sync,
        R: Send,
        E: TransactionError + Send,
    {
        retry::transaction(&self.pool, options, None, &self.cache, work).await
    }

    /// What became of a transaction, by its receipt: of one whose COMMIT was not answered, or in which a program ended. One
    /// that is still in progress, because its old connection is, is ended where this login may, and asked for again, for
    /// some seconds.
    ///
    /// It is known while a server of the same timeline answers, for some hundred million transactions. If that has recovered
    /// from a crash since, a transaction that looks committed is [`Unknowable`](Outcome::Unknowable) unless its id is known
    /// to have survived: PostgreSQL may have given it to another one. No answer is right of a server that was set
    /// back to an older copy of its disk, which cannot be detected.
    ///
    /// ```no_run
    /// # use buffetbot_db::{Database, Error, Result, TransactionOptions};
    /// # use buffetbot_db::postgres::Outcome;
    /// # use buffetbot_db::users::{NewUser, UserRepository};
    /// # async fn example(db: &Database, user: &NewUser) -> Result<()> {
    /// let options = TransactionOptions::default().receipt(true);
    /// let uow = db.begin_with(options).await?;
    /// uow.users().create(user).await?;
    /// match uow.commit().await {
    ///     Err(unknown @ Error::OutcomeUnknown { .. }) => {
    ///         let Error::OutcomeUnknown { receipt: Some(receipt), .. } = &unknown else { return Err(unknown) };
    ///         match db.outcome(receipt).await? {
    ///             Outcome::Committed => Ok(()),
    ///             Outcome::Aborted => db.users().create(user).await.map(drop),
    ///             // The receipt is in the error, to be asked for later.
    ///             _ => Err(unknown),
    ///         }
    ///     }
    ///     other => other,
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of taking a connection and of a query: ask again.
    pub async fn outcome(&self, receipt: &Receipt) -> Result<Outcome> {
        postgres::outcome(&self.pool, receipt, postgres::PATIENCE).await
    }

    /// The same repositories in the name of a user: of what somebody owns, they see and change what this user
    /// does. See [`TenantScope`].
    pub fn as_user(&self, user: UserId) -> TenantScope {
        let tenant = Tenant::new(&self.application_role, user);
        TenantScope::new(self.pool.clone(), tenant, self.cache.clone(), self.waker.clone())
    }

    /// What is committed from now on and passes the filter, as it happens: in milliseconds where it is written through
    /// this crate and notifications arrive, else within a second. Each event comes once, and those of one row in
    /// their order.
    ///
    /// The stream has no connection and holds a few hundred events; a slow reader finds the others in the
    /// database, until they are [swept](crate::EventLog::sweep). Nobody who writes waits for it. It ends with the program: for
    /// one that resumes where it was, see [`EventLog::consumer`](crate::EventLog::consumer).
    ///
    /// ```no_run
    /// # use buffetbot_db::{Database, Result};
    /// # use buffetbot_db::events::EventFilter;
    /// # use buffetbot_db::types::EventKind;
    /// use futures_util::TryStreamExt;
    /// # async fn example(db: &Database) -> Result<()> {
    /// let wanted = EventFilter::new().kinds([EventKind::PricesUpdated]);
    /// let mut events = db.subscribe(wanted).await?;
    /// while let Some(event) = events.try_next().await? {
    ///     println!("{} {:?}", event.ticker, event.data);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of a query.
    pub async fn subscribe(&self, filter: EventFilter) -> Result<Subscription> {
        events::subscribe(self.session(&tables::EVENTS), filter, self.waker.subscribe()).await
    }

    /// For statements on `table` beside the repositories.
    pub(crate) fn session(&self, table: &'static Table) -> Session {
        Session::new(Source::Pool(self.pool.clone(), None), table)
    }

    /// Shared by all clones, so that its limit of hashes at a time holds for all of them.
    #[cfg(feature = "passwords")]
    pub(crate) fn hasher(&self) -> &PasswordHasher {
        &self.hasher
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// A pooled connection, for other Diesel queries: `query.load(&mut connection.as_diesel())`.
    ///
    /// Nothing of what they leave reaches the next caller. Dropped, the connection is reset before it is lent again, if
    /// anything ran on it: an open or aborted transaction is rolled back, the role and all settings are those of
    /// a new connection, cursors, temporary objects, advisory locks, LISTEN and sequence values are gone, plans are made again.
    /// That takes one round trip, which only the next to take this connection waits for. The connection is
    /// closed instead where that fails, a statement is still running, or statements were prepared
    /// (`PREPARE`) or deallocated by SQL. What a library loaded by `LOAD` does cannot be undone.
    ///
    /// Temporary tables come last in the `search_path`, unless no schema in it exists.
    ///
    /// # Errors
    /// Those of taking a connection; [`Error::Config`](crate::Error::Config) behind a pooler in transaction mode, where
    /// only [`UnitOfWork::connection`] lends one.
    pub async fn connection(&self) -> Result<Connection<'static>> {
        Ok(Connection(Lease::Pooled(self.pool.get().await?)))
    }

    /// Whether the database answers: one statement on a pooled connection, for a service's health check.
    ///
    /// # Errors
    /// Those of taking a connection and of a query.
    pub async fn ping(&self) -> Result<()> {
        self.pool.checkout().await?.batch("SELECT 1").await
    }

    /// The pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The kind of place that the configuration says the program runs in.
    pub fn environment(&self) -> Environment {
        self.config.environment
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}

/// Repositories on the pool, whose writes this cache hears of.
fn on_pool(pool: &Pool, cache: &Cache) -> Source {
    Source::Pool(pool.clone(), Some(Arc::new(cache.clone())))
}

/// The database's name on an embedded server.
#[cfg(feature = "embedded")]
const EMBEDDED_NAME: &str = "buffetbot";

#[cfg(feature = "embedded")]
impl Database {
    /// A database on a private PostgreSQL server that this program starts; its data is there next
    /// time, and programs that run at once share it. See [`embedded`](crate::embedded) for which
    /// PostgreSQL and where.
    ///
    /// # Errors
    /// [`Error::Embedded`](crate::Error::Embedded), which names the way out.
    pub async fn embedded() -> Result<Self> {
        Self::on_embedded(EmbeddedOptions::kept(None)).await
    }

    /// As [`embedded`](Self::embedded), on a server that vanishes with the program, however it ends.
    ///
    /// # Errors
    /// [`Error::Embedded`](crate::Error::Embedded).
    pub async fn ephemeral() -> Result<Self> {
        Self::on_embedded(EmbeddedOptions::ephemeral()).await
    }

    /// A database on an embedded server with these options.
    ///
    /// # Errors
    /// [`Error::Embedded`](crate::Error::Embedded).
    pub async fn on_embedded(options: EmbeddedOptions) -> Result<Self> {
        let server = EmbeddedServer::start(options).await?;
        let config = |name| Config::new(&server.url(name));
        let postgres = Self::connect_lazy(config("postgres")?)?.pool.connect_unpooled().await?;
        match postgres.batch(&format!("CREATE DATABASE {EMBEDDED_NAME}")).await {
            // It is there, or another program is making it now: either way it exists then.
            Ok(()) | Err(Error::Database { .. } | Error::Conflict { .. }) => {}
            Err(e) => return Err(e),
        }
        let mut database = Self::connect(config(EMBEDDED_NAME)?).await?;
        database.server = Some(server);
        Ok(database)
    }

    /// The embedded server that this handle runs on; `None` for one that was connected to.
    pub fn server(&self) -> Option<&EmbeddedServer> {
        self.server.as_ref()
    }
}

impl AsRef<RepositorySet> for Database {
    fn as_ref(&self) -> &RepositorySet {
        self
    }
}

impl std::ops::Deref for Database {
    type Target = RepositorySet;
    fn deref(&self) -> &RepositorySet {
        &self.repositories
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("config", &self.config).field("pool", &self.pool).finish()
    }
}
