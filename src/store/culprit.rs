//! The row of a statement that the server refused: it names the constraint, never the row.

use futures_util::future::BoxFuture;

use crate::error::{Error, Result};
use crate::postgres::PgConnection;

/// Classes of SQLSTATEs that a single row can be blamed for, beside those that have an error of their own: data
/// exceptions, integrity constraints, check options of views, errors that triggers raise.
const OF_A_ROW: [&str; 4] = ["22", "23", "44", "P0"];

/// Whether an error is one that a single item of a statement can be blamed for.
pub(crate) fn is_of_an_item(error: &Error) -> bool {
    match error {
        Error::Conflict { .. }
        | Error::InvalidReference { .. }
        | Error::Invalid { .. }
        | Error::NotFound { .. }
        | Error::Corrupt { .. } => true,
        Error::Database { sqlstate, .. } => {
            OF_A_ROW.iter().any(|class| sqlstate.starts_with(class))
        }
        _ => false,
    }
}

/// Finds the first of `rows` that the server refuses, by halving: about log2(n) statements. Returns its position and
/// its own error; without a position where no row is refused by itself, the `error` of all of them, or the one that
/// ended the search.
///
/// It runs in a transaction, behind the savepoint to which the statement was rolled back. What it writes is to be rolled
/// back, too.
pub(crate) async fn single_out<R, F>(
    connection: &PgConnection,
    rows: &[R],
    error: Error,
    write: F,
) -> (Option<usize>, Error)
where
    R: Sync,
    F: for<'c> Fn(&'c PgConnection, &'c [R]) -> BoxFuture<'c, Result<()>>,
{
    let (mut first, mut last) = (0, rows.len());
    // All rows before `first` are written by now, so that one which is refused for another before it is found.
    while last - first > 1 {
        let middle = first + (last - first) / 2;
        match attempt(connection, write(connection, &rows[first..middle])).await {
            Ok(()) => first = middle,
            Err(refused) if is_of_an_item(&refused) => last = middle,
            Err(other) => return (None, other),
        }
    }
    match attempt(connection, write(connection, &rows[first..last])).await {
        Err(refused) if is_of_an_item(&refused) => (Some(first), refused),
        Err(other) => (None, other),
        Ok(()) => (None, error),
    }
}

/// Undoes what failed, and nothing else.
async fn attempt(connection: &PgConnection, write: BoxFuture<'_, Result<()>>) -> Result<()> {
    connection.batch("SAVEPOINT attempt").await?;
    let written = write.await;
    let end = match written {
        Ok(()) => "RELEASE SAVEPOINT attempt",
        Err(_) => "ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt",
    };
    connection.batch(end).await?;
    written
}
