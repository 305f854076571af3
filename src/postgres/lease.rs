//! Connections that are borrowed for a while.

use std::ops::Deref;

use tokio::sync::RwLockReadGuard;

use super::pg_connection::PgConnection;
use super::pool::Pooled;
use super::tenant::TenantConnection;

/// A connection borrowed for a while.
pub(crate) enum Lease<'a> {
    Pooled(Pooled),
    TenantConnection(TenantConnection),
    Shared(RwLockReadGuard<'a, PgConnection>),
}

impl Deref for Lease<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match self {
            Lease::Pooled(pooled) => pooled,
            Lease::TenantConnection(named) => named,
            Lease::Shared(guard) => guard,
        }
    }
}

/// A connection borrowed from the pool or from a unit of work, for other Diesel queries. What they may leave on
/// it is described at [`Database::connection`](crate::Database::connection) and [`UnitOfWork::connection`](crate::UnitOfWork::connection).
pub struct Connection<'a>(pub(crate) Lease<'a>);

impl Connection<'_> {
    /// What [`diesel_async::RunQueryDsl`] takes: `query.load(&mut connection.as_diesel())`.
    pub fn as_diesel(&self) -> &PgConnection {
        &self.0
    }
}

impl Deref for Connection<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.0
    }
}
