//! What a caller asks an error for.

use std::time::Duration;

use super::{Error, ErrorKind, Unreadable};

impl Error {
    /// The error itself, of an item that of the item.
    fn reason(&self) -> &Error {
        match self {
            Error::Item { source, .. } => source.reason(),
            own => own,
        }
    }

    /// Whether the same transaction, run again from its start, may succeed: deadlock,
    /// serialization failure, or a cached plan that a migration made stale.
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Retryable
    }

    /// How long to wait before the same may succeed, where that is known: of [`BackingOff`](Error::BackingOff) what is left of the
    /// pause, of [`Retryable`](Error::Retryable) no time at all. `None` says nothing about whether to try again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.reason() {
            Error::BackingOff { retry_in } => Some(*retry_in),
            Error::Retryable { .. } => Some(Duration::ZERO),
            _ => None,
        }
    }

    /// The server's code, where the error holds one: [`Denied`](Error::Denied), [`Retryable`](Error::Retryable),
    /// [`Unavailable`](Error::Unavailable), [`OutcomeUnknown`](Error::OutcomeUnknown), [`Database`](Error::Database), also
    /// as an [`Item`](Error::Item). The other variants say more than their code does.
    pub fn sqlstate(&self) -> Option<&str> {
        match self.reason() {
            Error::Unavailable { sqlstate, .. } | Error::OutcomeUnknown { sqlstate, .. } => {
                sqlstate.as_deref()
            }
            Error::Denied { sqlstate }
            | Error::Retryable { sqlstate }
            | Error::Database { sqlstate, .. } => {
                Some(&**sqlstate).filter(|code| *code != Unreadable::UNKNOWN)
            }
            _ => None,
        }
    }

    /// The field of an [`Invalid`](Error::Invalid), also of one as an [`Item`](Error::Item).
    pub fn field(&self) -> Option<&str> {
        match self.reason() {
            Error::Invalid { field, .. } => Some(field),
            _ => None,
        }
    }

    /// The constraint of a [`Conflict`](Error::Conflict) or an [`InvalidReference`](Error::InvalidReference), also of one as
    /// an [`Item`](Error::Item). [`constraints`](crate::error::constraints) has those of this crate's tables.
    pub fn constraint(&self) -> Option<&str> {
        match self.reason() {
            Error::Conflict { constraint, .. } | Error::InvalidReference { constraint } => {
                Some(constraint)
            }
            _ => None,
        }
    }

    /// Whether it is a [`Conflict`](Error::Conflict), also as an [`Item`](Error::Item), of one of the
    /// [`constraints`](crate::error::constraints).
    ///
    /// ```
    /// use buffetbot_db::Error;
    /// use buffetbot_db::error::{Entity, constraints};
    ///
    /// let error = Error::Conflict {
    ///     entity: Entity::User,
    ///     constraint: constraints::USERS_EMAIL.into(),
    /// };
    /// assert!(error.is_conflict_of(constraints::USERS_EMAIL)); // the address is taken
    /// assert!(!error.is_conflict_of(constraints::USERS_USERNAME));
    /// ```
    pub fn is_conflict_of(&self, constraint: &str) -> bool {
        self.kind() == ErrorKind::Conflict && self.constraint() == Some(constraint)
    }

    /// The status of an HTTP response for this error; of an [`Item`](Error::Item) that of its reason.
    ///
    /// | status | errors |
    /// |---|---|
    /// | 403 Forbidden | `Denied` |
    /// | 404 Not Found | `NotFound` |
    /// | 409 Conflict | `Conflict` |
    /// | 410 Gone | `HistorySwept` |
    /// | 422 Unprocessable Content | `Invalid`, `InvalidReference` |
    /// | 500 Internal Server Error | `OutcomeUnknown`, `Ended`, `Corrupt`, `WrittenUnreadable`, `Config`, `Archive`, `Migration`, `Embedded`, `Database` |
    /// | 501 Not Implemented | `Unsupported` |
    /// | 502 Bad Gateway | `Fetch` |
    /// | 503 Service Unavailable | `Busy`, `Retryable`, `Cancelled`, `Unavailable`, `ReadOnly`, `BackingOff` |
    /// | 504 Gateway Timeout | `Timeout` |
    ///
    /// `Invalid` is 422 and not 400: the request was read and understood, and one of its values is refused. That a request
    /// cannot be read is found before this crate is called. `OutcomeUnknown` is 500, because clients and proxies send again
    /// what 503 answers. A `Retry-After` comes from [`retry_after`](Error::retry_after).
    pub fn http_status(&self) -> u16 {
        match self.kind() {
            ErrorKind::Denied => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::HistorySwept => 410,
            ErrorKind::Invalid | ErrorKind::InvalidReference => 422,
            ErrorKind::OutcomeUnknown
            | ErrorKind::Ended
            | ErrorKind::Corrupt
            | ErrorKind::WrittenUnreadable
            | ErrorKind::Config
            | ErrorKind::Archive
            | ErrorKind::Migration
            | ErrorKind::Embedded
            | ErrorKind::Database => 500,
            ErrorKind::Unsupported => 501,
            ErrorKind::Fetch => 502,
            ErrorKind::Busy
            | ErrorKind::Retryable
            | ErrorKind::Cancelled
            | ErrorKind::Unavailable
            | ErrorKind::ReadOnly
            | ErrorKind::BackingOff => 503,
            ErrorKind::Timeout => 504,
        }
    }

    /// Whether it says something of what was asked for, and nothing of the health of what was asked.
    pub(crate) fn is_of_the_request(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::InvalidReference
                | ErrorKind::Invalid
                | ErrorKind::HistorySwept
                | ErrorKind::Denied
        )
    }
}
