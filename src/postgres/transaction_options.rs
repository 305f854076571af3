//! How a transaction begins.

use std::time::Duration;

#[cfg(doc)]
use crate::error::Error;

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
#[non_exhaustive]
pub struct TransactionOptions {
    /// What the transaction sees of others.
    pub isolation: Isolation,
    /// Refuse writes with [`Error::ReadOnly`].
    pub read_only: bool,
    /// Have a [receipt](crate::UnitOfWork::receipt): by it [`Database::outcome`](crate::Database::outcome) finds out what became
    /// of a COMMIT that was not answered. The server is asked for it with the transaction's begin and its first write, which
    /// takes no round trip more, and writes a record of a few bytes into its log.
    pub receipt: bool,
    /// Find that out at once, within this time, where a COMMIT is not answered (and so have a receipt): what was committed is
    /// `Ok`, what was rolled back is [`Error::Unavailable`], or run again by
    /// [`transaction`](crate::Database::transaction), and only what stays unknown is [`Error::OutcomeUnknown`].
    pub resolve_within: Option<Duration>,
}

impl TransactionOptions {
    /// What the transaction sees of others.
    pub fn isolation(self, isolation: Isolation) -> Self {
        TransactionOptions { isolation, ..self }
    }

    /// Refuse writes with [`Error::ReadOnly`].
    pub fn read_only(self, read_only: bool) -> Self {
        TransactionOptions { read_only, ..self }
    }

    /// Have a [receipt](crate::UnitOfWork::receipt): by it [`Database::outcome`](crate::Database::outcome) finds out
    /// what became of a COMMIT that was not answered. The server is asked for it with the transaction's begin and its
    /// first write, which takes no round trip more, and writes a record of a few bytes into its log.
    pub fn receipt(self, receipt: bool) -> Self {
        TransactionOptions { receipt, ..self }
    }

    /// Find that out at once, within this time, where a COMMIT is not answered (and so have a receipt): what was
    /// committed is `Ok`, what was rolled back is [`Error::Unavailable`], or run again by
    /// [`transaction`](crate::Database::transaction), and only what stays unknown is [`Error::OutcomeUnknown`].
    pub fn resolve_within(self, resolve_within: Duration) -> Self {
        TransactionOptions { resolve_within: Some(resolve_within), ..self }
    }

    pub(super) fn begin(self) -> String {
        let isolation = match self.isolation {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
            Isolation::Serializable => "SERIALIZABLE",
        };
        let access = if self.read_only { "READ ONLY" } else { "READ WRITE" };
        format!("BEGIN ISOLATION LEVEL {isolation}, {access}")
    }

    pub(super) fn asks_for_receipt(self) -> bool {
        (self.receipt || self.resolve_within.is_some()) && !self.read_only
    }
}
