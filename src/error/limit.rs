//! What is waited for, and the limits of time.

use std::fmt;

/// What an [`Error::Busy`](crate::Error::Busy) waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// A connection of the pool: more of them, or more patience ([`Config::pool_size`](crate::Config::pool_size),
    /// [`Config::pool_timeout`](crate::Config::pool_timeout)).
    PooledConnection,
    /// The one connection of a unit of work, which a statement, a stream or a loan holds.
    UnitOfWork,
    /// A lock of the database, for [`Config::lock_timeout`](crate::Config::lock_timeout) or not at all.
    Lock,
}

impl Resource {
    /// The name, as in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::PooledConnection => "pooled connection",
            Resource::UnitOfWork => "connection of the unit of work",
            Resource::Lock => "lock",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The limit of time that an [`Error::Timeout`](crate::Error::Timeout) reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Of a statement: [`Config::statement_timeout`](crate::Config::statement_timeout), or the role's.
    Statement,
    /// Of a transaction between two statements:
    /// [`Config::idle_in_transaction_timeout`](crate::Config::idle_in_transaction_timeout).
    IdleInTransaction,
    /// Of a whole transaction: `transaction_timeout`, which a server since version 17 may have set.
    Transaction,
    /// Of a call of the cache: [`Policy::hard_timeout`](crate::cache::Policy::hard_timeout). The fetch may continue.
    CacheCall,
    /// The same of the fetch: it was dropped.
    Fetch,
    /// The same of the wait for a fetch in another process.
    FetchElsewhere,
}

impl Limit {
    /// The name, as in messages: that of the setting where the limit is one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::Statement => "statement_timeout",
            Limit::IdleInTransaction => "idle_in_transaction_session_timeout",
            Limit::Transaction => "transaction_timeout",
            Limit::CacheCall => "hard_timeout",
            Limit::Fetch => "hard_timeout of a fetch",
            Limit::FetchElsewhere => "hard_timeout of a fetch in another process",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
