//! How the server's error report travels through Diesel's error type.
//!
//! `diesel::result::Error` has no place for a SQLSTATE and cannot be downcast. Of the texts that
//! its information trait offers, `details` is free: the server's DETAIL quotes row data ("Key
//! (email)=(...) already exists"), which no error of this crate may show, and Diesel itself never
//! prints it. So it carries the SQLSTATE instead, behind a tag, and how long the statement ran, for
//! errors that end a wait.

use std::time::Duration;

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind as Kind, Error as DieselError};
use tokio_postgres::error::{DbError, Severity};

use super::reported::Reported;

const TAG: &str = "SQLSTATE ";
/// Behind the SQLSTATE: the cached plan no longer fits the tables.
const STALE_PLAN: &str = "stale plan";
/// Behind the SQLSTATE: a policy of the table refused the new row.
const ROW_POLICY: &str = "row policy";
/// Behind the SQLSTATE, or alone where the server said nothing: the statement may have taken effect.
const OUTCOME_UNKNOWN: &str = "outcome unknown";

/// The SQLSTATE of a Diesel error that came through a [`PgConnection`](super::PgConnection).
pub fn sqlstate(error: &DieselError) -> Option<&str> {
    let DieselError::DatabaseError(_, info) = error else {
        return None;
    };
    info.details()?.strip_prefix(TAG)?.get(..5)
}

/// The server's report in a Diesel error, where a [`PgConnection`](super::PgConnection) put it.
pub(crate) fn reported(info: &(dyn DatabaseErrorInformation + Send + Sync)) -> Option<Reported> {
    // SQLSTATE, microseconds, and a mark where the SQLSTATE alone is ambiguous.
    let mut tagged = info.details()?.strip_prefix(TAG)?.splitn(3, ' ');
    let sqlstate = tagged.next()?.to_owned();
    let elapsed = Duration::from_micros(tagged.next()?.parse().ok()?);
    let mark = tagged.next();
    Some(Reported {
        sqlstate,
        elapsed,
        message: info.message().to_owned(),
        table: info.table_name().map(str::to_owned),
        column: info.column_name().map(str::to_owned),
        constraint: info.constraint_name().map(str::to_owned),
        stale_plan: mark == Some(STALE_PLAN),
        row_policy: mark == Some(ROW_POLICY),
        outcome_unknown: mark == Some(OUTCOME_UNKNOWN),
    })
}

/// Whether a Diesel error says that the connection failed while a statement was under way that may have taken effect.
pub(crate) fn is_outcome_unknown(info: &(dyn DatabaseErrorInformation + Send + Sync)) -> bool {
    info.details() == Some(OUTCOME_UNKNOWN)
}

/// Whether the error leaves open what became of a statement that was sent: the connection failed, or the server ended
/// it for a reason that can come at any time. An error of the statement itself undoes it; the limits of idle sessions and
/// of transactions end what has not been committed.
pub(super) fn leaves_outcome_open(error: &tokio_postgres::Error) -> bool {
    let Some(db) = error.as_db_error() else { return true };
    let code = db.code().code();
    let ends = matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    (ends || code.starts_with("08") || code.starts_with("57P"))
        && !["25P03", "25P04", "57P05"].contains(&code)
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

/// Whether a policy refused the new row. The function that raises it: 42501 is every lack of a right, and the text
/// can be translated.
fn is_row_policy(db: &DbError) -> bool {
    db.code().code() == "42501" && db.routine() == Some("ExecWithCheckOptions")
}

/// Whether the connection is of no more use: the error is not the server's answer to the statement
/// but a failure of the connection, or the server's last message before it closes.
pub(super) fn ends_connection(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_none_or(|e| matches!(e.parsed_severity(), Some(Severity::Fatal | Severity::Panic)))
}

/// The driver's error, of a statement that ran for `elapsed`, as Diesel's.
pub(crate) fn diesel_error(error: &tokio_postgres::Error, elapsed: Duration) -> DieselError {
    diesel_error_of(error, elapsed, false)
}

/// As [`diesel_error`], of a statement that may have taken effect or not.
pub(super) fn diesel_error_of(
    error: &tokio_postgres::Error,
    elapsed: Duration,
    outcome_unknown: bool,
) -> DieselError {
    let is_stale = is_stale_plan(error);
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
            let mark = match is_stale {
                true => Some(STALE_PLAN),
                false if outcome_unknown => Some(OUTCOME_UNKNOWN),
                false => is_row_policy(db).then_some(ROW_POLICY),
            };
            DieselError::DatabaseError(kind, Box::new(Info::new(db, mark, elapsed)))
        }
        None => {
            let kind =
                if error.is_closed() { Kind::ClosedConnection } else { Kind::UnableToSendCommand };
            closed_as(kind, without_secrets(error), outcome_unknown)
        }
    }
}

/// The error of a connection that is of no more use, without the server's message.
pub(super) fn closed(reason: String, outcome_unknown: bool) -> DieselError {
    closed_as(Kind::ClosedConnection, reason, outcome_unknown)
}

fn closed_as(kind: Kind, reason: String, outcome_unknown: bool) -> DieselError {
    if outcome_unknown {
        DieselError::DatabaseError(kind, Box::new(Info::unknown(reason)))
    } else {
        // Diesel's own impl for `String` is a report with this message and nothing else.
        DieselError::DatabaseError(kind, Box::new(reason))
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

/// The server's message, unless it may quote data: data exceptions (22), errors that functions
/// raised (P0, 38, 39), and syntax errors that are not in the statement's text (they have no position there)
/// but in a value, such as a text search query.
fn message(db: &DbError) -> &str {
    let code = db.code().code();
    let quotes = ["22", "P0", "38", "39"].iter().any(|class| code.starts_with(class))
        || (code == "42601" && db.position().is_none());
    if quotes { "message withheld: it may quote data" } else { db.message() }
}

struct Info {
    message: String,
    tagged: String,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

impl Info {
    fn unknown(message: String) -> Self {
        let tagged = OUTCOME_UNKNOWN.into();
        Info { message, tagged, table: None, column: None, constraint: None }
    }

    fn new(db: &DbError, mark: Option<&str>, elapsed: Duration) -> Self {
        let mut tagged = format!("{TAG}{} {}", db.code().code(), elapsed.as_micros());
        if let Some(mark) = mark {
            tagged.push(' ');
            tagged.push_str(mark);
        }
        Info {
            message: message(db).to_owned(),
            tagged,
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
        Some(&self.tagged)
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
