//! What can go wrong, told to the caller as what to do about it.
//!
//! Errors are matched on SQLSTATE and constraint names, never on message text. No `Display` or
//! `Debug` here shows row data, bind values or a password: the server's DETAIL, which quotes rows,
//! is dropped where the error is received, and so are messages of the data-exception class.

#[cfg(feature = "embedded")]
pub(crate) mod embedded;
mod receipt;

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::result::DeserializeFieldError;

use crate::postgres::sqlstate;

use crate::types::Unreadable;
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedError;
pub use receipt::Receipt;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, named by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The row that was to be changed does not exist, or in a user's name is somebody else's; nothing was written. Also
    /// of an account that is made with another id in a user's name.
    #[error("{entity} {key} not found")]
    NotFound {
        /// The kind of row, in the singular: `"user"`, `"portfolio"`.
        entity: &'static str,
        /// The id or key that was looked up.
        key: String,
    },
    /// A row with this key exists already; choose another key or update that row.
    #[error("{entity} conflicts with an existing row ({constraint})")]
    Conflict {
        /// The table that holds the other row.
        entity: String,
        /// The unique constraint or index that refused the row.
        constraint: String,
    },
    /// The row refers to one that does not exist, or in a user's name is somebody else's (or it is referred to by one that
    /// does).
    #[error("reference to a row that does not exist ({constraint})")]
    InvalidReference {
        /// The foreign key that refused the row.
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
    #[error("item {index}: {source}")]
    Item {
        /// Position in the caller's input, counted from 0.
        index: usize,
        /// Why it was refused.
        source: Box<Error>,
    },
    /// The database role may not do this.
    #[error("denied by the database (SQLSTATE {sqlstate})")]
    Denied {
        /// The server's code, such as `42501`.
        sqlstate: String,
    },
    /// A resource stayed taken: try later, or with more patience.
    #[error("busy: no {resource} within {waited:?}{}", .cause.as_deref().map(|c| format!(" ({c})")).unwrap_or_default())]
    Busy {
        /// What was waited for: `"pooled connection"`, `"lock"`.
        resource: &'static str,
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
    /// The server stopped the statement at a time limit.
    #[error("{limit} exceeded")]
    Timeout {
        /// The limit: `"statement_timeout"`, `"idle_in_transaction_session_timeout"`.
        limit: &'static str,
    },
    /// The server cannot be reached or is going away; this call wrote nothing.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// What was seen, without secrets.
        reason: String,
    },
    /// A write, or a COMMIT, was sent and no answer came: it was done or it was not. Do not run it again without a look.
    /// [`Database::outcome`](crate::Database::outcome) finds out by the receipt.
    #[error("outcome unknown: {reason}")]
    OutcomeUnknown {
        /// Of a transaction that was to have one ([`TransactionOptions::receipt`](crate::TransactionOptions::receipt)).
        receipt: Option<Receipt>,
        /// What was seen, without secrets.
        reason: String,
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
    /// says something of the request ([`NotFound`](Error::NotFound), [`Invalid`](Error::Invalid) and their like) is not
    /// wrapped in this one.
    #[error("fetch failed: {source}")]
    Fetch {
        /// The error that the fetch returned, shared by all who waited for it.
        source: std::sync::Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A fetch failed a moment ago and is not tried again yet: the provider is spared. A fetch that returns this itself
    /// says for how long.
    #[error("the last fetch failed; the next is tried in {retry_in:?}")]
    PutOff {
        /// When a call fetches again.
        retry_in: Duration,
    },
    /// A part of what was known at this time was swept. Reads as of `known_from` or later are complete.
    #[error("history before {known_from} was swept")]
    HistorySwept {
        /// From when on the history is complete.
        known_from: DateTime<Utc>,
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

impl Error {
    /// An [`Error::Invalid`] of `field`.
    pub(crate) fn invalid(field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Error::Invalid { field: field.into(), reason: reason.into() }
    }

    /// An [`Error::NotFound`] of the row `key`.
    pub(crate) fn not_found(entity: &'static str, key: impl ToString) -> Self {
        Error::NotFound { entity, key: key.to_string() }
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

    /// Whether the same transaction, run again from its start, may succeed: deadlock,
    /// serialization failure, or a cached plan that a migration made stale.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Retryable { .. } => true,
            Error::Item { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}

impl Error {
    /// Whether it says something of what was asked for, and nothing of the health of what was asked.
    pub(crate) fn is_of_the_request(&self) -> bool {
        match self {
            Error::NotFound { .. }
            | Error::Conflict { .. }
            | Error::InvalidReference { .. }
            | Error::Invalid { .. }
            | Error::HistorySwept { .. }
            | Error::Denied { .. } => true,
            Error::Item { source, .. } => source.is_of_the_request(),
            _ => false,
        }
    }
}

/// What the server said of an error, with everything left out that could quote data.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub sqlstate: String,
    pub message: String,
    /// How long the statement ran.
    pub elapsed: Duration,
    pub table: Option<String>,
    pub column: Option<String>,
    pub constraint: Option<String>,
    pub stale_plan: bool,
    /// The statement may have taken effect.
    pub outcome_unknown: bool,
    /// A policy of the table refused the new row.
    pub row_policy: bool,
}

impl From<Reported> for Error {
    fn from(r: Reported) -> Self {
        if r.outcome_unknown {
            let reason = format!("{} (SQLSTATE {})", r.message, r.sqlstate);
            return Error::OutcomeUnknown { receipt: None, reason };
        }
        let constraint = r.constraint.as_deref().map(of_the_whole).unwrap_or_default();
        match r.sqlstate.as_str() {
            "23505" | "23P01" => {
                let entity = r.table.as_deref().map_or("row", table_of_the_whole).to_owned();
                Error::Conflict { entity, constraint }
            }
            "23503" => Error::InvalidReference { constraint },
            // A check has a name; what no partition takes in is told by the same code.
            "23514" if constraint.is_empty() => Error::invalid(
                "date",
                "no partition holds this day: Database::price_partitions() makes one, or restores an archived year",
            ),
            // A trigger's check names the column.
            "23514" => Error::invalid(
                r.column.unwrap_or(constraint),
                "refused by the check constraint",
            ),
            "23502" => Error::invalid(r.column.unwrap_or_default(), "must not be null"),
            "22001" | "22003" | "22007" | "22008" | "22021" | "22P02" | "22P03" | "22P05"
            // Limits of the server: of its stack, and of a document's size.
            | "54000" | "54001" => {
                let field = r.column.unwrap_or_else(|| "value".into());
                Error::invalid(field, format!("refused by the database (SQLSTATE {})", r.sqlstate))
            }
            // The policy looks before the foreign key does: it does not tell whether the owner exists.
            "42501" if r.row_policy => match owner_key(&r.message) {
                Some(constraint) => Error::InvalidReference { constraint: constraint.into() },
                None => Error::not_found("owner", "of the new row"),
            },
            "42501" => Error::Denied { sqlstate: r.sqlstate },
            "40001" | "40P01" => Error::Retryable { sqlstate: r.sqlstate },
            "0A000" | "26000" if r.stale_plan => Error::Retryable { sqlstate: r.sqlstate },
            "55P03" => Error::Busy { resource: "lock", waited: r.elapsed, cause: None },
            // One code for both; the text is the only thing that tells them apart, and where it is
            // translated the weaker word is used.
            "57014" if r.message.contains("statement timeout") => {
                Error::Timeout { limit: "statement_timeout" }
            }
            "57014" => Error::Cancelled,
            "25P03" => Error::Timeout { limit: "idle_in_transaction_session_timeout" },
            "25P04" => Error::Timeout { limit: "transaction_timeout" },
            "25P02" => Error::Ended { reason: "an earlier error aborted the transaction" },
            "25006" => Error::ReadOnly,
            s if s.starts_with("08") || s.starts_with("57P") || s == "53300" => {
                Error::Unavailable { reason: format!("{} (SQLSTATE {s})", r.message) }
            }
            // 28: authentication; the message names the role only.
            s if s.starts_with("28") || s == "3D000" => {
                Error::Unavailable { reason: format!("{} (SQLSTATE {s})", r.message) }
            }
            _ => Error::Database { sqlstate: r.sqlstate, message: r.message },
        }
    }
}

/// The table that is split by year, and what a partition's name begins with.
const BY_YEAR: (&str, &str) = ("price_history", "price_history_");

/// What follows the year in a name of a partition, or of what belongs to it.
fn behind_the_year(name: &str) -> Option<&str> {
    let own = name.strip_prefix(BY_YEAR.1)?;
    let own = own.strip_prefix("before_").unwrap_or(own);
    let (year, rest) = own.split_at_checked(4)?;
    year.bytes().all(|b| b.is_ascii_digit()).then_some(rest)
}

/// The table to which a partition belongs: the same code then handles an error on either layout.
fn table_of_the_whole(table: &str) -> &str {
    match behind_the_year(table) {
        Some("") => BY_YEAR.0,
        _ => table,
    }
}

/// The name of a constraint as the whole table has it, of one that a partition by year reports by a name
/// of its own. That an address is taken has one name, whichever of its two indexes saw it.
fn of_the_whole(constraint: &str) -> String {
    match behind_the_year(constraint).and_then(|rest| rest.strip_prefix('_')) {
        Some(rest) => format!("{}{rest}", BY_YEAR.1),
        None if constraint == "users_email_lower_key" => "users_email_key".into(),
        None => constraint.to_owned(),
    }
}

/// The foreign key that refuses a row of the table whose owner does not exist. The message of a policy names the table last,
/// in the quotation marks of the server's language.
fn owner_key(message: &str) -> Option<&'static str> {
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').rev();
    words.find_map(|word| match word {
        "portfolios" => Some("portfolios_user_id_fkey"),
        "positions" => Some("positions_portfolio_id_fkey"),
        "analysis_results" => Some("analysis_results_portfolio_id_fkey"),
        _ => None,
    })
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::Error as D;
        match error {
            D::DatabaseError(_, info) => match sqlstate::reported(&*info) {
                Some(reported) => reported.into(),
                None if sqlstate::is_outcome_unknown(&*info) => {
                    Error::OutcomeUnknown { receipt: None, reason: info.message().into() }
                }
                None => Error::Unavailable { reason: info.message().into() },
            },
            // What failed first tells the caller more.
            D::RollbackErrorOnCommit { commit_error, .. } => (*commit_error).into(),
            D::DeserializationError(e) => unreadable(e).into(),
            D::NotFound => Error::not_found("row", "(by query)"),
            D::SerializationError(e) => match e.downcast::<Error>() {
                Ok(e) => *e,
                Err(e) => Error::invalid("value", e.to_string()),
            },
            D::NotInTransaction | D::BrokenTransactionManager | D::AlreadyInTransaction => {
                Error::Ended { reason: "the connection's transaction is over" }
            }
            e => Error::Database { sqlstate: "?".into(), message: e.to_string() },
        }
    }
}

/// A value and whose it is, without what is not known.
fn of_row(table: &str, key: &str, column: &str, reason: &str) -> Unreadable {
    let [table, key, column, reason] = [table, key, column, reason].map(str::to_owned);
    Unreadable { table, key, column, reason }
}

/// A value that did not decode: its column, from Diesel's field error, and why, without the value. Table and key are
/// left to those who know them.
pub(crate) fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> Unreadable {
    let (column, cause) = match error.downcast::<DeserializeFieldError>() {
        Ok(field) => (field.field_name.unwrap_or_else(|| Unreadable::UNKNOWN.into()), field.error),
        Err(other) => (Unreadable::UNKNOWN.into(), other),
    };
    let reason = match cause.downcast::<Error>() {
        Ok(inner) => match *inner {
            // A type's own parser speaks of the value; the rule alone is told here.
            Error::Invalid { field, .. } => format!("does not hold a valid {field}"),
            // Of several columns together.
            Error::Corrupt { table, key, column, reason } => {
                return Unreadable { table, key, column, reason };
            }
            other => other.to_string(),
        },
        Err(_) => "cannot be decoded".into(),
    };
    of_row(Unreadable::UNKNOWN, Unreadable::UNKNOWN, &column, &reason)
}
