//! What the server and Diesel report, as this crate's errors.

use std::time::Duration;

use diesel::result::DeserializeFieldError;

use super::sqlstate;
use crate::error::{Entity, Error, Limit, Resource, Unreadable, of_row, tables};

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
            return Error::OutcomeUnknown { receipt: None, reason, sqlstate: Some(r.sqlstate) };
        }
        let constraint = r.constraint.as_deref().map(tables::constraint).unwrap_or_default();
        match r.sqlstate.as_str() {
            "23505" | "23P01" => {
                let entity = r.table.as_deref().map_or(Entity::Row, tables::entity);
                Error::Conflict { entity, constraint }
            }
            "23503" => Error::InvalidReference { constraint },
            // A check has a name; a row without a partition has the same code.
            "23514" if constraint.is_empty() => tables::without_partition(),
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
            // The policy looks before the foreign key does: it does not show whether the owner exists.
            "42501" => match owner_key(&r.message).filter(|_| r.row_policy) {
                Some(constraint) => Error::InvalidReference { constraint: constraint.into() },
                None => Error::Denied { sqlstate: r.sqlstate },
            },
            "40001" | "40P01" => Error::Retryable { sqlstate: r.sqlstate },
            "0A000" | "26000" if r.stale_plan => Error::Retryable { sqlstate: r.sqlstate },
            "55P03" => Error::Busy { resource: Resource::Lock, waited: r.elapsed, cause: None },
            // One code for both; only the text distinguishes them, and where it is
            // translated the weaker word is used.
            "57014" if r.message.contains("statement timeout") => {
                Error::Timeout { limit: Limit::Statement }
            }
            "57014" => Error::Cancelled,
            "25P03" => Error::Timeout { limit: Limit::IdleInTransaction },
            "25P04" => Error::Timeout { limit: Limit::Transaction },
            "25P02" => Error::Ended { reason: "an earlier error aborted the transaction" },
            "25006" => Error::ReadOnly,
            // 28: authentication; the message names the role only.
            s if ["08", "57P", "28"].iter().any(|class| s.starts_with(class))
                || ["53300", "3D000"].contains(&s) =>
            {
                let reason = format!("{} (SQLSTATE {s})", r.message);
                Error::Unavailable { reason, sqlstate: Some(r.sqlstate) }
            }
            _ => Error::Database { sqlstate: r.sqlstate, message: r.message },
        }
    }
}

/// The foreign key that refuses a row of the table that a policy's message speaks of. The message names the table last, in the
/// quotation marks of the server's language.
fn owner_key(message: &str) -> Option<&'static str> {
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').rev();
    words.find_map(tables::owner_key)
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::Error as D;
        match error {
            D::DatabaseError(_, info) => match sqlstate::reported(&*info) {
                Some(reported) => reported.into(),
                None if sqlstate::is_outcome_unknown(&*info) => {
                    Error::outcome_unknown(info.message())
                }
                None => Error::unavailable(info.message()),
            },
            // The first failure says more.
            D::RollbackErrorOnCommit { commit_error, .. } => (*commit_error).into(),
            D::DeserializationError(e) => unreadable(e).into(),
            D::NotFound => Error::not_found(Entity::Row, "(by query)"),
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

/// A value that did not decode: its column, from Diesel's field error, and why, without the value. Table and key are
/// left to those who know them.
pub(crate) fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> Unreadable {
    let (column, cause) = match error.downcast::<DeserializeFieldError>() {
        Ok(field) => (field.field_name.unwrap_or_else(|| Unreadable::UNKNOWN.into()), field.error),
        Err(other) => (Unreadable::UNKNOWN.into(), other),
    };
    let reason = match cause.downcast::<Error>() {
        Ok(inner) => match *inner {
            // A type's own parser speaks of the value; only the rule is reported here.
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
