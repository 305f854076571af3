//! Errors, named by what the caller can do about them.
//!
//! Errors are matched on SQLSTATE and constraint names, never on message text. No `Display` or
//! `Debug` here shows row data, bind values or a password: the server's DETAIL, which quotes rows,
//! is dropped where the error is received, and so are messages of the data-exception class.

mod advice;
pub mod constraints;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
mod entity;
mod kind;
mod limit;
mod making;
mod receipt;
pub(crate) mod tables;
#[cfg(test)]
mod tests;
mod unreadable;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

#[cfg(feature = "embedded")]
pub use embedded::EmbeddedError;
pub use entity::Entity;
pub use kind::ErrorKind;
pub use limit::{Limit, Resource};
pub(crate) use making::of_row;
pub use receipt::Receipt;
pub use unreadable::Unreadable;
pub(crate) use unreadable::shown;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, named by what the caller can do about it.
///
/// A program matches on the variant, or asks for [`kind`](Error::kind), [`field`](Error::field),
/// [`constraint`](Error::constraint), [`http_status`](Error::http_status) and [`retry_after`](Error::retry_after). The text
/// is for people.
///
/// No text is there twice: [`Item`](Error::Item) includes its reason and has no
/// [`source`](std::error::Error::source); [`Fetch`](Error::Fetch), whose cause is of the caller's own type, has one and does
/// not include it. `{:#}` writes the whole chain in one line.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The row that was to be changed does not exist, or in a user's name is somebody else's; nothing was written.
    #[error("{entity} {key} not found")]
    NotFound {
        /// The kind of row.
        entity: Entity,
        /// The id or key that was looked up.
        key: String,
    },
    /// A row with this key exists already; choose another key or update that row.
    ///
    /// The key is one of these; [`is_conflict_of`](Error::is_conflict_of) asks for one.
    ///
    /// | rows | their id | another key |
    /// |---|---|---|
    /// | users | [`USERS_ID`](constraints::USERS_ID) | [`USERS_EMAIL`](constraints::USERS_EMAIL), [`USERS_USERNAME`](constraints::USERS_USERNAME) |
    /// | portfolios | [`PORTFOLIOS_ID`](constraints::PORTFOLIOS_ID) | |
    /// | positions | [`POSITIONS_ID`](constraints::POSITIONS_ID) | [`POSITIONS_TICKER`](constraints::POSITIONS_TICKER) |
    /// | results of analyses | [`ANALYSIS_RESULTS_ID`](constraints::ANALYSIS_RESULTS_ID) | |
    /// | cached documents | [`MARKET_DATA_CACHE_ID`](constraints::MARKET_DATA_CACHE_ID) | [`MARKET_DATA_CACHE_KEY`](constraints::MARKET_DATA_CACHE_KEY) |
    /// | bars | [`PRICE_HISTORY_ID`](constraints::PRICE_HISTORY_ID) | [`PRICE_HISTORY_DAY`](constraints::PRICE_HISTORY_DAY) |
    /// | option quotes | [`OPTIONS_DATA_ID`](constraints::OPTIONS_DATA_ID) | [`OPTIONS_DATA_SNAPSHOT`](constraints::OPTIONS_DATA_SNAPSHOT) |
    /// | splits and dividends | [`CORPORATE_ACTIONS_ID`](constraints::CORPORATE_ACTIONS_ID) | [`CORPORATE_ACTIONS_DAY`](constraints::CORPORATE_ACTIONS_DAY) |
    #[error("{entity} conflicts with an existing row ({constraint})")]
    Conflict {
        /// What kind of row the other one is.
        entity: Entity,
        /// The unique constraint or index that refused the row: a constant of [`constraints`], or the name of one of the
        /// caller's own.
        constraint: String,
    },
    /// The row refers to one that does not exist, or in a user's name is somebody else's (or it is referred to by one that
    /// does).
    #[error("reference to a row that does not exist ({constraint})")]
    InvalidReference {
        /// The foreign key that refused the row: a constant of [`constraints`], or the name of one of the caller's own.
        constraint: String,
    },
    /// The input breaks a rule; nothing was written.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// The field or argument, or the CHECK constraint that the database applied.
        field: Cow<'static, str>,
        /// Which rule was broken, and where it may be shown, by which value.
        reason: String,
    },
    /// One item of a batch was refused, and with it the whole batch: nothing was written.
    #[error("item {index}: {source:#}")]
    Item {
        /// Position in the caller's input, counted from 0.
        index: usize,
        /// Why it was refused. The message includes it, so there is no `source()`.
        // The raw name keeps it from becoming one.
        r#source: Box<Error>,
    },
    /// The database role may not do this. In a user's name also: to make an account with an id that is not the user's, or to
    /// change who may sign in.
    #[error("denied by the database (SQLSTATE {sqlstate})")]
    Denied {
        /// The server's code, such as `42501`.
        sqlstate: String,
    },
    /// A resource stayed taken: try later, or with more patience.
    #[error("busy: no {resource} within {waited:?}{}", .cause.as_deref().map(|c| format!(" ({c})")).unwrap_or_default())]
    Busy {
        /// What was waited for.
        resource: Resource,
        /// How long the caller waited.
        waited: Duration,
        /// The state of the resource and, for the pool, why the last connect failed.
        cause: Option<String>,
    },
    /// The transaction collided with another and was rolled back: run it again.
    #[error("transaction must be retried (SQLSTATE {sqlstate})")]
    Retryable {
        /// The server's code: `40001`, `40P01`.
        sqlstate: String,
    },
    /// The server cancelled the statement on request.
    #[error("statement cancelled")]
    Cancelled,
    /// A time limit was reached: the server stopped the statement, or a call of the cache waits no longer.
    #[error("{limit} exceeded")]
    Timeout {
        /// The limit.
        limit: Limit,
    },
    /// The server cannot be reached or is going away; this call wrote nothing.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// What was seen, without secrets.
        reason: String,
        /// The server's code, where it said one: `28P01` is a wrong password, `3D000` an unknown database, `57P01` a
        /// server that shuts down, `53300` one without a connection to spare.
        sqlstate: Option<String>,
    },
    /// A write, or a COMMIT, was sent and no answer came: it was done or it was not. Do not repeat it before checking.
    /// [`Database::outcome`](crate::Database::outcome) finds out by the receipt.
    #[error("outcome unknown: {reason}")]
    OutcomeUnknown {
        /// Of a transaction that was to have one ([`TransactionOptions::receipt`](crate::TransactionOptions::receipt)).
        receipt: Option<Receipt>,
        /// What was seen, without secrets.
        reason: String,
        /// The server's code, where it said one before the connection ended.
        sqlstate: Option<String>,
    },
    /// The server (a standby, or one set so) accepts no writes.
    #[error("database is read-only")]
    ReadOnly,
    /// The transaction was aborted by an earlier error, or is over: begin a new one.
    #[error("unit of work has ended: {reason}")]
    Ended {
        /// Why nothing more can run in it.
        reason: &'static str,
    },
    /// A stored value cannot be read as what its column promises. Of a call that writes: nothing was written. In a unit of
    /// work such a call has aborted the transaction.
    #[error("corrupt value in {}", of_row(table, key, column, reason))]
    Corrupt {
        /// The table, or `"?"` where the query joins several.
        table: String,
        /// The row's id, or what names it; `"?"` where nothing does.
        key: String,
        /// The column.
        column: String,
        /// What is wrong, without the value.
        reason: String,
    },
    /// The row *was written*, and one of its values, which another program or a trigger stored, cannot be read: do not write
    /// it again. Only of calls that write one row on the pool; all others answer [`Corrupt`](Error::Corrupt), and write
    /// nothing.
    #[error("written, but unreadable: corrupt value in {}", of_row(table, key, column, reason))]
    WrittenUnreadable {
        /// The table.
        table: String,
        /// The row's id.
        key: String,
        /// The column.
        column: String,
        /// What is wrong, without the value.
        reason: String,
    },
    /// The fetch of a value that is not cached failed, and there is no stale value to stand in. An error of this type that
    /// says something of the request ([`NotFound`](Error::NotFound), [`Invalid`](Error::Invalid) and similar) is not
    /// wrapped in this one.
    #[error(fmt = fetch_failed)]
    Fetch {
        /// The error that the fetch returned, shared by all who waited for it. `downcast_ref` gives it its type, here and
        /// where a chain of sources is walked.
        // In a box, because an `Arc` of an error would be an error itself, and the source instead of what it holds.
        source: Arc<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A fetch failed a moment ago and is not tried again yet: the provider is spared. A fetch that returns this itself
    /// says for how long.
    #[error("the last fetch failed; the next is tried in {retry_in:?}")]
    BackingOff {
        /// When a call fetches again.
        retry_in: Duration,
    },
    /// A part of what was known at this time was swept. Reads as of `known_from` or later are complete.
    #[error("history before {known_from} was swept")]
    HistorySwept {
        /// From when on the history is complete.
        known_from: DateTime<Utc>,
    },
    /// This implementation of the repository does not offer the call, such as a fake of one or two methods.
    #[error("{call} is not offered by this repository")]
    Unsupported {
        /// Repository and method: `"prices.delete"`.
        call: &'static str,
    },
    /// The configuration cannot be used.
    #[error("configuration: {variable}: {reason}")]
    Config {
        /// The environment variable or setting.
        variable: Cow<'static, str>,
        /// What is wrong with it, without its value where that may be a secret.
        reason: String,
    },
    /// A file of archived bars cannot be written or read, or does not hold what it should.
    #[cfg(feature = "arrow")]
    #[error("archive {}: {reason}", path.display())]
    Archive {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A migration failed; the database is as it was before.
    #[error("migration: {0}")]
    Migration(String),
    /// The embedded server could not be found, started or shared.
    #[cfg(feature = "embedded")]
    #[error(transparent)]
    Embedded(#[from] crate::error::embedded::EmbeddedError),
    /// Anything else that the server reported.
    #[error("database error {sqlstate}: {message}")]
    Database {
        /// The server's code.
        sqlstate: String,
        /// The server's message; withheld for classes that quote data.
        message: String,
    },
}

/// The message of [`Error::Fetch`]: with its causes where the alternate form is asked for.
fn fetch_failed(
    source: &Arc<Box<dyn std::error::Error + Send + Sync>>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("the fetch failed")?;
    let mut cause: Option<&dyn std::error::Error> = f.alternate().then_some(&***source);
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

/// What a method of a repository does unless it is implemented.
pub(crate) fn unsupported<T>(call: &'static str) -> Result<T> {
    Err(Error::Unsupported { call })
}
