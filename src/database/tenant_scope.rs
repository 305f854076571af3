//! The repositories in the name of one user.

use std::fmt;
use std::sync::Arc;

use super::repositories::RepositorySet;
use super::retry;
use super::retry::{TransactionError, TransactionFn};
use super::unit_of_work::UnitOfWork;
use crate::cache::Cache;
use crate::error::Result;
use crate::events;
use crate::events::{EventFilter, Subscription, Waker};
use crate::postgres::{Pool, Tenant, TransactionOptions};
use crate::store::{Session, Source, tables};

/// The repositories of [`Database::as_user`](crate::Database::as_user): the database itself shows and changes
/// only what this user owns, whatever the query says.
///
/// The user's own account, portfolios, positions and private analyses are there; those of others are not: they
/// are `None`, [`NotFound`](crate::Error::NotFound), not counted, not deleted. To write a row in somebody else's
/// name is [`InvalidReference`](crate::Error::InvalidReference), whether or not what it refers to exists; to make an account
/// with another id is [`Denied`](crate::Error::Denied). Rows that nobody owns (public analyses, market data) are read and
/// written as by [`Database`](crate::Database).
///
/// Every statement is a transaction of its own that takes on the application role (`SET LOCAL ROLE`), because
/// superusers and owners bypass policies, and the user's name; so it works behind a pooler. A statement that reads takes
/// one round trip, as without; one that writes takes three. Nothing is served from the cache's memory.
///
/// Of the user's own account, names, address and preferences can be changed
/// ([`update_profile`](crate::users::UserRepository::update_profile)); to verify or activate it, or to set a password, is
/// [`Denied`](crate::Error::Denied). Whether the account is active is not asked: end the sessions of a user whom you
/// deactivate. What the policies do not cover, such as injected SQL, is in `docs/guide/tenants.md`.
///
/// A role that is missing, not granted to the login, or not bound by the policies is
/// [`Error::Config`](crate::Error::Config), before the first statement; [`Database::create_roles`](crate::Database::create_roles)
/// makes it. It is bound where every policy that applies to it asks who the user is, and where it sees no row in the name
/// of an unknown user; a handle checks once.
#[derive(Clone)]
pub struct TenantScope {
    pool: Pool,
    tenant: Tenant,
    repositories: RepositorySet,
    cache: Cache,
    waker: Arc<Waker>,
}

impl TenantScope {
    /// `cache` is that of the handle, which learns of what the user writes.
    pub(crate) fn new(pool: Pool, tenant: Tenant, cache: Cache, waker: Arc<Waker>) -> Self {
        let source = Source::Tenant(pool.clone(), tenant.clone(), Arc::new(cache.clone()));
        TenantScope { pool, tenant, repositories: RepositorySet::new(&source), cache, waker }
    }

    /// As [`Database::subscribe`](crate::Database::subscribe), of what concerns this user or everybody.
    ///
    /// # Errors
    /// Those of a query, and of the role.
    pub async fn subscribe(&self, filter: EventFilter) -> Result<Subscription> {
        let source =
            Source::Tenant(self.pool.clone(), self.tenant.clone(), Arc::new(self.cache.clone()));
        events::subscribe(Session::new(source, &tables::EVENTS), filter, self.waker.subscribe())
            .await
    }

    /// As [`Database::begin`](crate::Database::begin), in the user's name.
    ///
    /// # Errors
    /// Those of taking a connection, and of the role.
    pub async fn begin(&self) -> Result<UnitOfWork> {
        self.begin_with(TransactionOptions::default()).await
    }

    /// As [`Database::begin_with`](crate::Database::begin_with), in the user's name.
    ///
    /// # Errors
    /// Those of taking a connection, and of the role.
    pub async fn begin_with(&self, options: TransactionOptions) -> Result<UnitOfWork> {
        UnitOfWork::begin(&self.pool, options, Some(&self.tenant), &self.cache).await
    }

    /// As [`Database::transaction`](crate::Database::transaction), in the user's name.
    ///
    /// # Errors
    /// That of `work`, of the transaction, or of the role.
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

    /// As [`Database::transaction_with`](crate::Database::transaction_with), in the user's name.
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
        retry::transaction(&self.pool, options, Some(&self.tenant), &self.cache, work).await
    }
}

impl std::ops::Deref for TenantScope {
    type Target = RepositorySet;
    fn deref(&self) -> &RepositorySet {
        &self.repositories
    }
}

impl AsRef<RepositorySet> for TenantScope {
    fn as_ref(&self) -> &RepositorySet {
        self
    }
}

impl fmt::Debug for TenantScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantScope").finish_non_exhaustive()
    }
}
