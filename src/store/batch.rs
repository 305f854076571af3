//! Writing many rows: all or nothing, and the culprit named.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};

use super::culprit::{is_of_an_item, single_out};
use super::session::Session;
use crate::error::{Error, Result};
use crate::postgres::PgConnection;

/// Rows of one statement: its binds stay far below PostgreSQL's limit of 65,535, its text repeats
/// (and is prepared once) for all full chunks.
const CHUNK: usize = 500;
/// Bytes of documents from which on a chunk is full, far below the limit of one message (1 GB).
const CHUNK_BYTES: usize = 8 << 20;

/// Inserts `items` in chunks, in one transaction (or a savepoint of the unit of work), and returns
/// the rows in the order of the items. The rows are sent in the order of `key`, so that two batches
/// over the same keys wait for each other instead of deadlocking.
///
/// `insert` must return one row per item, in its order. What it refuses of a statement that the server took is undone:
/// every row is decoded before the commit.
///
/// # Errors
/// [`Error::Item`] with the index of the item that was refused, or cannot be read back; nothing was written.
pub(crate) async fn insert_many<N, R, K, F>(
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
    insert_many_weighed(session, items, key, |_| 0, insert).await
}

/// As [`insert_many`], of items that carry documents: `weight` gives their bytes.
///
/// # Errors
/// As [`insert_many`].
pub(crate) async fn insert_many_weighed<N, R, K, F>(
    session: &Session,
    items: &[N],
    key: impl Fn(&N) -> K,
    weight: impl Fn(&N) -> usize,
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
    let order = sorted(items, key);
    let chunks = chunks_by_weight(&order, |i| weight(&items[i]));
    let rows = write_rows(session, items, &chunks, insert).await.map_err(|e| session.named(e))?;
    Ok(in_order_of_items(order, rows))
}

/// The indexes of the items, in the order of their keys.
fn sorted<N, K: Ord>(items: &[N], key: impl Fn(&N) -> K) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_cached_key(|&i| key(&items[i]));
    order
}

/// The rows of the items at these indexes, in the order of the items.
fn in_order_of_items<R>(order: Vec<usize>, rows: Vec<R>) -> Vec<R> {
    let mut stored: Vec<(usize, R)> = order.into_iter().zip(rows).collect();
    stored.sort_unstable_by_key(|(i, _)| *i);
    stored.into_iter().map(|(_, row)| row).collect()
}

/// Cuts `order`, indexes of items, into chunks that one statement can carry. `weight` gives the
/// bytes of an item's documents.
pub(crate) fn chunks_by_weight(order: &[usize], weight: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (end, &item) in order.iter().enumerate() {
        let more = weight(item);
        if end > start && (end - start == CHUNK || bytes + more > CHUNK_BYTES) {
            chunks.push(&order[start..end]);
            (start, bytes) = (end, 0);
        }
        bytes += more;
    }
    if start < order.len() {
        chunks.push(&order[start..]);
    }
    chunks
}

/// As [`write_chunks`], where `write` may refuse what the server took.
async fn write_rows<N, R, F>(
    session: &Session,
    items: &[N],
    chunks: &[&[usize]],
    write: F,
) -> Result<Vec<R>>
where
    N: Sync,
    R: Send,
    F: for<'a> Fn(&'a PgConnection, Vec<&'a N>) -> BoxFuture<'a, Result<Vec<R>>>,
{
    if let [only] = chunks
        && session.is_pooled()
    {
        // Without a savepoint: only to find a culprit it is run again below.
        let atomic = session.atomic().await?;
        match write(&atomic, only.iter().map(|&i| &items[i]).collect()).await {
            Err(e) if is_of_an_item(&e) => {}
            Err(e) => return Err(e),
            Ok(written) => {
                atomic.commit().await?;
                return Ok(written);
            }
        }
    }
    write_in_transaction(session, items, chunks, write).await
}

/// Writes chunks of items (given by their indexes) one after another, in one transaction or a
/// savepoint of the unit of work, and returns the results of all chunks. The chunks should be in the
/// order of the rows' key. A statement that the server took is final: `write` must not refuse it.
///
/// # Errors
/// [`Error::Item`] with the index of the item that was refused; nothing was written.
pub(crate) async fn write_chunks<N, R, F>(
    session: &Session,
    items: &[N],
    chunks: &[&[usize]],
    write: F,
) -> Result<Vec<R>>
where
    N: Sync,
    R: Send,
    F: for<'a> Fn(&'a PgConnection, Vec<&'a N>) -> BoxFuture<'a, Result<Vec<R>>>,
{
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    if let [only] = chunks
        && let Some(alone) = session.alone().await?
    {
        // One statement is a transaction by itself; only to find a culprit it is run again below.
        let rows = only.iter().map(|&i| &items[i]).collect();
        match write(&alone, rows).await {
            Err(e) if is_of_an_item(&e) => {}
            Err(e) => return Err(e),
            Ok(written) => {
                alone.done().await;
                return Ok(written);
            }
        }
    }
    write_in_transaction(session, items, chunks, write).await
}

/// As [`write_chunks`], in a transaction also where there is one chunk only.
///
/// # Errors
/// As [`write_chunks`].
async fn write_in_transaction<N, R, F>(
    session: &Session,
    items: &[N],
    chunks: &[&[usize]],
    write: F,
) -> Result<Vec<R>>
where
    N: Sync,
    R: Send,
    F: for<'a> Fn(&'a PgConnection, Vec<&'a N>) -> BoxFuture<'a, Result<Vec<R>>>,
{
    let atomic = session.atomic().await?;
    let mut written = Vec::new();
    for chunk in chunks {
        atomic.batch("SAVEPOINT chunk").await?;
        let rows: Vec<&N> = chunk.iter().map(|&i| &items[i]).collect();
        match write(&atomic, rows).await {
            Ok(rows) => written.extend(rows),
            Err(error) => {
                atomic.batch("ROLLBACK TO SAVEPOINT chunk").await?;
                return Err(culprit(&atomic, items, chunk, error, write).await);
            }
        }
        atomic.batch("RELEASE SAVEPOINT chunk").await?;
    }
    atomic.commit().await?;
    Ok(written)
}

/// The error of a refused chunk with the index of its first item that is refused. What this writes is rolled back with
/// the rest.
async fn culprit<N, R, F>(
    connection: &PgConnection,
    items: &[N],
    chunk: &[usize],
    error: Error,
    insert: F,
) -> Error
where
    N: Sync,
    R: Send,
    F: for<'a> Fn(&'a PgConnection, Vec<&'a N>) -> BoxFuture<'a, Result<Vec<R>>>,
{
    if !is_of_an_item(&error) {
        return error;
    }
    let rows: Vec<&N> = chunk.iter().map(|&i| &items[i]).collect();
    let found = single_out(connection, &rows, error, |connection, rows| {
        insert(connection, rows.to_vec()).map_ok(drop).boxed()
    });
    match found.await {
        (Some(position), error) => error.at(chunk[position]),
        (None, error) => error,
    }
}
