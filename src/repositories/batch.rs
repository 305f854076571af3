//! Inserting many rows: all or nothing, and the culprit named.

use futures_util::future::BoxFuture;

use crate::connection::{PgConnection, Session};
use crate::error::{Error, Result};

/// Rows of one INSERT: its binds stay far below PostgreSQL's limit of 65,535, its text repeats
/// (and is prepared once) for all full chunks.
const CHUNK: usize = 500;

/// Inserts `items` in chunks, in one transaction (or a savepoint of the unit of work), and returns
/// the rows in the order of the items. The rows are sent in the order of `key`, so that two batches
/// over the same keys wait for each other instead of deadlocking.
///
/// `insert` must return one row per item, in its order.
///
/// # Errors
/// [`Error::Item`] with the index of the item that was refused; nothing was written.
pub(super) async fn insert_many<N, R, K, F>(
    session: &Session,
    items: &[N],
    key: impl Fn(&N) -> K,
    insert: F,
) -> Result<Vec<R>>
where
    N: Sync,
    R: Send,
    K: Ord,
    F: for<'a> Fn(&'a PgConnection, Vec<&'a N>) -> BoxFuture<'a, Result<Vec<R>>>,
{
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_cached_key(|&i| key(&items[i]));
    let atomic = session.atomic().await?;
    let mut stored = Vec::with_capacity(items.len());
    for chunk in order.chunks(CHUNK) {
        atomic.batch("SAVEPOINT chunk").await?;
        let rows: Vec<&N> = chunk.iter().map(|&i| &items[i]).collect();
        match insert(&atomic, rows).await {
            Ok(rows) => stored.extend(chunk.iter().copied().zip(rows)),
            Err(error) => {
                atomic.batch("ROLLBACK TO SAVEPOINT chunk").await?;
                return Err(culprit(&atomic, items, chunk, error, insert).await);
            }
        }
        atomic.batch("RELEASE SAVEPOINT chunk").await?;
    }
    atomic.commit().await?;
    stored.sort_unstable_by_key(|(i, _)| *i);
    Ok(stored.into_iter().map(|(_, row)| row).collect())
}

/// The error of a refused chunk with the index of its first item that is refused alone: the server
/// names the constraint, never the row. What this writes is rolled back with the rest.
async fn culprit<N, R, F>(
    connection: &PgConnection,
    items: &[N],
    chunk: &[usize],
    error: Error,
    insert: F,
) -> Error
where
    F: for<'a> Fn(&'a PgConnection, Vec<&'a N>) -> BoxFuture<'a, Result<Vec<R>>>,
{
    let by_an_item = matches!(
        error,
        Error::Conflict { .. } | Error::InvalidReference { .. } | Error::Invalid { .. }
    );
    if by_an_item {
        for &index in chunk {
            if let Err(alone) = insert(connection, vec![&items[index]]).await {
                return alone.at(index);
            }
        }
    }
    error
}
