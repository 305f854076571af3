//! Upserting many rows: one deterministic merge, and every item accounted for.

use std::cmp::Ordering;
use std::collections::HashSet;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use uuid::Uuid;

use super::culprit::{is_of_an_item, single_out};
use super::delivery::{Rejected, RejectedKind, UpsertReport};
use super::session::Session;
use crate::error::{Error, Result};
use crate::postgres::PgConnection;

/// Rows of one statement: enough that the round trip does not count, few enough that a batch of
/// millions is in memory in small parts only.
const CHUNK: usize = 5_000;

/// Statements in flight: while the server merges one chunk, the next is encoded and sent.
const IN_FLIGHT: usize = 2;

/// What one statement wrote.
#[derive(Default)]
pub(crate) struct Written {
    pub inserted: u64,
    pub updated: u64,
}

impl Written {
    /// Of the ids that a statement returned for the rows it wrote: those `sent` are of new rows, a
    /// row that was there before has kept its own.
    pub fn of(sent: &[impl Copy + Into<Uuid>], returned: impl Iterator<Item = Uuid>) -> Self {
        let sent: HashSet<Uuid> = sent.iter().map(|id| (*id).into()).collect();
        let mut written = Written { inserted: 0, updated: 0 };
        for id in returned {
            match sent.contains(&id) {
                true => written.inserted += 1,
                false => written.updated += 1,
            }
        }
        written
    }

    pub fn add(&mut self, more: Written) {
        self.inserted += more.inserted;
        self.updated += more.updated;
    }
}

/// The items to be merged, in the order of their keys, and a report on the others.
pub(crate) struct Plan<'a, N> {
    rows: Vec<&'a N>,
    /// Where each of them is among the items.
    indexes: Vec<usize>,
    report: UpsertReport,
}

impl<'a, N> Plan<'a, N> {
    /// Leaves out what `check` refuses and, of items with equal keys, all but the last.
    ///
    /// `order` must compare keys alike in all programs that write the table, byte by byte: two
    /// batches over the same keys then wait for each other instead of deadlocking.
    pub fn new(
        items: &'a [N],
        check: impl Fn(&N) -> Result<()>,
        order: impl Fn(&N, &N) -> Ordering,
    ) -> Result<Self> {
        let mut rows = Vec::with_capacity(items.len());
        let mut report = UpsertReport::default();
        for (index, item) in items.iter().enumerate() {
            match check(item) {
                Ok(()) => rows.push((index, item)),
                Err(Error::Invalid { field, reason }) => {
                    let kind = RejectedKind::Value;
                    report.rejected.push(Rejected { index, kind, field, reason });
                }
                Err(other) => return Err(other.at(index)),
            }
        }
        // Stable: among equal keys the last item stays last, and is the one that is kept.
        rows.sort_by(|(_, a), (_, b)| order(a, b));
        let checked = rows.len();
        rows.reverse();
        rows.dedup_by(|(_, earlier), (_, last)| order(earlier, last) == Ordering::Equal);
        rows.reverse();
        report.superseded = (checked - rows.len()) as u64;
        let (indexes, rows) = rows.into_iter().unzip();
        Ok(Plan { rows, indexes, report })
    }

    /// Merges all rows or, on an error, none: in one statement where they fit, else in one
    /// transaction (in a unit of work, one savepoint).
    ///
    /// # Errors
    /// [`Error::Item`] with the index of the first item, in the order of the keys, that the server refused; those of the
    /// database.
    pub async fn run<F>(self, session: &Session, merge: F) -> Result<UpsertReport>
    where
        N: Sync,
        F: for<'c> Fn(&'c PgConnection, &'c [&'a N]) -> BoxFuture<'c, Result<Written>>,
    {
        let Plan { rows, indexes, mut report } = self;
        if rows.is_empty() {
            return Ok(report);
        }
        let written = match at_once(session, &rows, &merge).await {
            // Nothing was written; the second time it is seen which of them was refused.
            Err(error) if is_of_an_item(&error) => {
                one_by_one(session, &rows, &indexes, &merge).await?
            }
            result => result?,
        };
        report.inserted = written.inserted;
        report.updated = written.updated;
        report.unchanged = rows.len() as u64 - written.inserted - written.updated;
        Ok(report)
    }
}

async fn at_once<N, F>(session: &Session, rows: &[N], merge: F) -> Result<Written>
where
    F: for<'c> Fn(&'c PgConnection, &'c [N]) -> BoxFuture<'c, Result<Written>>,
{
    if rows.len() <= CHUNK
        && let Some(alone) = session.alone().await?
    {
        let written = merge(&alone, rows).await?;
        alone.done().await;
        return Ok(written);
    }
    let atomic = session.atomic().await?;
    let written = pipelined(rows.chunks(CHUNK).map(|chunk| merge(&atomic, chunk))).await?;
    atomic.commit().await?;
    Ok(written)
}

/// As [`at_once`], one chunk after the other, with the index of the item that is refused.
async fn one_by_one<N, F>(
    session: &Session,
    rows: &[N],
    indexes: &[usize],
    merge: F,
) -> Result<Written>
where
    N: Sync,
    F: for<'c> Fn(&'c PgConnection, &'c [N]) -> BoxFuture<'c, Result<Written>>,
{
    let atomic = session.atomic().await?;
    let mut total = Written::default();
    for (chunk, indexes) in rows.chunks(CHUNK).zip(indexes.chunks(CHUNK)) {
        atomic.batch("SAVEPOINT chunk").await?;
        match merge(&atomic, chunk).await {
            Ok(written) => total.add(written),
            Err(error) if is_of_an_item(&error) => {
                atomic.batch("ROLLBACK TO SAVEPOINT chunk").await?;
                let found = single_out(&atomic, chunk, error, |connection, rows| {
                    merge(connection, rows).map_ok(drop).boxed()
                });
                return match found.await {
                    (Some(position), error) => Err(error.at(indexes[position])),
                    (None, error) => Err(error),
                };
            }
            Err(error) => return Err(error),
        }
        atomic.batch("RELEASE SAVEPOINT chunk").await?;
    }
    atomic.commit().await?;
    Ok(total)
}

/// Runs the statements in their order, a few in flight. After an error no other is started, but
/// those in flight are waited for: dropped, they would cost the connection.
async fn pipelined<'c>(
    mut statements: impl Iterator<Item = BoxFuture<'c, Result<Written>>>,
) -> Result<Written> {
    let mut in_flight: FuturesOrdered<_> = statements.by_ref().take(IN_FLIGHT).collect();
    let mut total = Ok(Written::default());
    while let Some(result) = in_flight.next().await {
        total = match (total, result) {
            (Ok(mut sum), Ok(written)) => {
                in_flight.extend(statements.next());
                sum.add(written);
                Ok(sum)
            }
            (Err(first), _) => Err(first),
            (_, Err(error)) => Err(error),
        };
    }
    total
}
