//! How the server's error report travels through Diesel's error type.
//!
//! `diesel::result::Error` has no place for a SQLSTATE and cannot be downcast. Of the texts that
//! its information trait offers, `details` is free: the server's DETAIL quotes row data ("Key
//! (email)=(...) already exists"), which no error of this crate may show, and Diesel itself never
//! prints it. So it carries the SQLSTATE instead, behind a tag.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind as Kind, Error as DieselError};
use tokio_postgres::error::DbError;

use crate::error::Reported;

const TAG: &str = "SQLSTATE ";
/// Behind the SQLSTATE: the cached plan no longer fits the tables.
const STALE_PLAN: &str = " stale plan";

/// The SQLSTATE of a Diesel error that came through a [`PgConnection`](super::PgConnection).
pub fn sqlstate(error: &DieselError) -> Option<&str> {
    let DieselError::DatabaseError(_, info) = error else {
        return None;
    };
    info.details()?.strip_prefix(TAG)?.get(..5)
}

/// The server's report in a Diesel error, where a [`PgConnection`](super::PgConnection) put it.
pub(crate) fn reported(info: &(dyn DatabaseErrorInformation + Send + Sync)) -> Option<Reported> {
    let tagged = info.details()?.strip_prefix(TAG)?;
    Some(Reported {
        sqlstate: tagged.get(..5)?.to_owned(),
        message: info.message().to_owned(),
        table: info.table_name().map(str::to_owned),
        column: info.column_name().map(str::to_owned),
        constraint: info.constraint_name().map(str::to_owned),
        stale_plan: tagged.ends_with(STALE_PLAN),
    })
}

/// Whether the statement's cached plan was refused because a migration changed its result.
pub(super) fn is_stale_plan(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|e| {
        // The function that raises it: 0A000 alone means any unsupported feature.
        (e.code().code() == "0A000" && e.routine() == Some("RevalidateCachedQuery"))
            // The server forgot the statement (DEALLOCATE ALL, a pooler's other backend).
            || e.code().code() == "26000"
    })
}

/// The driver's error as Diesel's.
pub(crate) fn diesel_error(error: tokio_postgres::Error) -> DieselError {
    let stale = is_stale_plan(&error);
    match error.as_db_error() {
        Some(db) => {
            let kind = match db.code().code() {
                "23505" => Kind::UniqueViolation,
                "23503" => Kind::ForeignKeyViolation,
                "23502" => Kind::NotNullViolation,
                "23514" => Kind::CheckViolation,
                "23001" => Kind::RestrictViolation,
                "23P01" => Kind::ExclusionViolation,
                "40001" => Kind::SerializationFailure,
                "25006" => Kind::ReadOnlyTransaction,
                code if code.starts_with("08") || code.starts_with("57P") => Kind::ClosedConnection,
                _ => Kind::Unknown,
            };
            DieselError::DatabaseError(kind, Box::new(Info::new(db, stale)))
        }
        None => {
            let kind =
                if error.is_closed() { Kind::ClosedConnection } else { Kind::UnableToSendCommand };
            DieselError::DatabaseError(kind, Box::new(without_secrets(&error)))
        }
    }
}

/// The driver's error with its cause: the driver's own text says only which step failed.
pub(crate) fn without_secrets(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} (SQLSTATE {})", message(db), db.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

/// The server's message, unless its class is one that quotes data: 22 (data exceptions) and
/// errors that user code raised.
fn message(db: &DbError) -> &str {
    match db.code().code() {
        code if code.starts_with("22") || code.starts_with("P0") => {
            "message withheld: it may quote data"
        }
        _ => db.message(),
    }
}

struct Info {
    message: String,
    sqlstate: String,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

impl Info {
    fn new(db: &DbError, stale: bool) -> Self {
        Info {
            message: message(db).to_owned(),
            sqlstate: format!("{TAG}{}{}", db.code().code(), if stale { STALE_PLAN } else { "" }),
            table: db.table().map(str::to_owned),
            column: db.column().map(str::to_owned),
            constraint: db.constraint().map(str::to_owned),
        }
    }
}

impl DatabaseErrorInformation for Info {
    fn message(&self) -> &str {
        &self.message
    }
    fn details(&self) -> Option<&str> {
        Some(&self.sqlstate)
    }
    fn hint(&self) -> Option<&str> {
        None
    }
    fn table_name(&self) -> Option<&str> {
        self.table.as_deref()
    }
    fn column_name(&self) -> Option<&str> {
        self.column.as_deref()
    }
    fn constraint_name(&self) -> Option<&str> {
        self.constraint.as_deref()
    }
    fn statement_position(&self) -> Option<i32> {
        None
    }
}
