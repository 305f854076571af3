//! The variants of an error without what they hold.

use std::fmt;

use super::Error;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// Which variant an [`Error`] is: what logs and metrics count. It is the same with any features of the crate. As text it is
        /// in snake case: `"not_found"`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// Every kind.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The name in snake case, a label for metrics. It stays as it is.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(ErrorKind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// [`Error::NotFound`].
    NotFound = "not_found",
    /// [`Error::Conflict`].
    Conflict = "conflict",
    /// [`Error::InvalidReference`].
    InvalidReference = "invalid_reference",
    /// [`Error::Invalid`].
    Invalid = "invalid",
    /// [`Error::Denied`].
    Denied = "denied",
    /// [`Error::Busy`].
    Busy = "busy",
    /// [`Error::Retryable`].
    Retryable = "retryable",
    /// [`Error::Cancelled`].
    Cancelled = "cancelled",
    /// [`Error::Timeout`].
    Timeout = "timeout",
    /// [`Error::Unavailable`].
    Unavailable = "unavailable",
    /// [`Error::OutcomeUnknown`].
    OutcomeUnknown = "outcome_unknown",
    /// [`Error::ReadOnly`].
    ReadOnly = "read_only",
    /// [`Error::Ended`].
    Ended = "ended",
    /// [`Error::Corrupt`].
    Corrupt = "corrupt",
    /// [`Error::WrittenUnreadable`].
    WrittenUnreadable = "written_unreadable",
    /// [`Error::Fetch`].
    Fetch = "fetch",
    /// [`Error::BackingOff`].
    BackingOff = "backing_off",
    /// [`Error::HistorySwept`].
    HistorySwept = "history_swept",
    /// [`Error::Unsupported`].
    Unsupported = "unsupported",
    /// [`Error::Config`].
    Config = "config",
    /// `Error::Archive`, of feature `arrow`.
    Archive = "archive",
    /// [`Error::Migration`].
    Migration = "migration",
    /// `Error::Embedded`, of feature `embedded`.
    Embedded = "embedded",
    /// [`Error::Database`].
    Database = "database",
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// Which variant it is; of an [`Item`](Error::Item) that of its reason.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::Conflict { .. } => ErrorKind::Conflict,
            Error::InvalidReference { .. } => ErrorKind::InvalidReference,
            Error::Invalid { .. } => ErrorKind::Invalid,
            Error::Item { source, .. } => source.kind(),
            Error::Denied { .. } => ErrorKind::Denied,
            Error::Busy { .. } => ErrorKind::Busy,
            Error::Retryable { .. } => ErrorKind::Retryable,
            Error::Cancelled => ErrorKind::Cancelled,
            Error::Timeout { .. } => ErrorKind::Timeout,
            Error::Unavailable { .. } => ErrorKind::Unavailable,
            Error::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            Error::ReadOnly => ErrorKind::ReadOnly,
            Error::Ended { .. } => ErrorKind::Ended,
            Error::Corrupt { .. } => ErrorKind::Corrupt,
            Error::WrittenUnreadable { .. } => ErrorKind::WrittenUnreadable,
            Error::Fetch { .. } => ErrorKind::Fetch,
            Error::BackingOff { .. } => ErrorKind::BackingOff,
            Error::HistorySwept { .. } => ErrorKind::HistorySwept,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Config { .. } => ErrorKind::Config,
            #[cfg(feature = "arrow")]
            Error::Archive { .. } => ErrorKind::Archive,
            Error::Migration(_) => ErrorKind::Migration,
            #[cfg(feature = "embedded")]
            Error::Embedded(_) => ErrorKind::Embedded,
            Error::Database { .. } => ErrorKind::Database,
        }
    }
}
