//! How this crate makes its errors.

use std::borrow::Cow;

use super::{Entity, Error, Unreadable};

impl Error {
    /// An [`Error::Invalid`] of `field`.
    pub(crate) fn invalid(field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Error::Invalid { field: field.into(), reason: reason.into() }
    }

    /// An [`Error::NotFound`] of the row `key`.
    pub(crate) fn not_found(entity: Entity, key: impl ToString) -> Self {
        Error::NotFound { entity, key: key.to_string() }
    }

    /// An [`Error::Unavailable`] without the server's code.
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Error::Unavailable { reason: reason.into(), sqlstate: None }
    }

    /// An [`Error::OutcomeUnknown`] without a receipt and without the server's code.
    pub(crate) fn outcome_unknown(reason: impl Into<String>) -> Self {
        Error::OutcomeUnknown { receipt: None, reason: reason.into(), sqlstate: None }
    }

    /// An [`Error::Corrupt`] as that of a row that was written all the same.
    pub(crate) fn of_a_written_row(self) -> Self {
        match self {
            Error::Corrupt { table, key, column, reason } => {
                Error::WrittenUnreadable { table, key, column, reason }
            }
            other => other,
        }
    }

    /// This error as that of item `index` of a batch.
    pub(crate) fn at(self, index: usize) -> Self {
        Error::Item { index, source: Box::new(self) }
    }
}

/// A value and whose it is, without what is not known.
pub(crate) fn of_row(table: &str, key: &str, column: &str, reason: &str) -> Unreadable {
    let [table, key, column, reason] = [table, key, column, reason].map(str::to_owned);
    Unreadable { table, key, column, reason }
}
