//! Upserting many rows: one deterministic merge, and every item accounted for.

use std::cmp::Ordering;
use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use uuid::Uuid;

use crate::connection::{PgConnection, Session};
use crate::error::{Error, Result};
use crate::models::{Rejected, UpsertReport};

/// Rows of one statement: enough that the round trip does not count, few enough that a batch of
/// millions is in memory in small parts only.
const CHUNK: usize = 5_000;

/// Statements in flight: while the server merges one chunk, the next is encoded and sent.
const IN_FLIGHT: usize = 2;

/// What one statement wrote.
#[derive(Default)]
pub(super) struct Written {
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
}

/// The items to be merged, in the order of their keys, and a report on the others.
pub(super) struct Plan<'a, N> {
    rows: Vec<&'a N>,
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
                Ok(()) => rows.push(item),
                Err(Error::Invalid { field, reason }) => {
                    report.rejected.push(Rejected { index, field, reason });
                }
                Err(other) => return Err(other.at(index)),
            }
        }
        // Stable: among equal keys the last item stays last, and is the one that is kept.
        rows.sort_by(|a, b| order(a, b));
        let checked = rows.len();
        rows.reverse();
        rows.dedup_by(|earlier, last| order(earlier, last) == Ordering::Equal);
        rows.reverse();
        report.superseded = (checked - rows.len()) as u64;
        Ok(Plan { rows, report })
    }

    /// Merges all rows or, on an error, none: in one statement where they fit, else in one
    /// transaction (in a unit of work, one savepoint).
    pub async fn run<F>(self, session: &Session, merge: F) -> Result<UpsertReport>
    where
        N: Sync,
        F: for<'c> Fn(&'c PgConnection, &'c [&'a N]) -> BoxFuture<'c, Result<Written>>,
    {
        let Plan { rows, mut report } = self;
        let written = if rows.is_empty() {
            Written { inserted: 0, updated: 0 }
        } else if rows.len() <= CHUNK && session.writes_alone() {
            let connection = session.connection().await?;
            let written = session.checked(merge(&connection, &rows).await).await?;
            session.wrote();
            written
        } else {
            let atomic = session.atomic().await?;
            let written = pipelined(rows.chunks(CHUNK).map(|chunk| merge(&atomic, chunk))).await?;
            atomic.commit().await?;
            written
        };
        report.inserted = written.inserted;
        report.updated = written.updated;
        report.unchanged = rows.len() as u64 - written.inserted - written.updated;
        Ok(report)
    }
}

/// Runs the statements in their order, a few in flight. After an error no other is started, but
/// those in flight are waited for: dropped, they would cost the connection.
async fn pipelined<'c>(
    mut statements: impl Iterator<Item = BoxFuture<'c, Result<Written>>>,
) -> Result<Written> {
    let mut in_flight: FuturesOrdered<_> = statements.by_ref().take(IN_FLIGHT).collect();
    let mut total = Ok(Written { inserted: 0, updated: 0 });
    while let Some(result) = in_flight.next().await {
        total = match (total, result) {
            (Ok(sum), Ok(written)) => {
                in_flight.extend(statements.next());
                Ok(Written {
                    inserted: sum.inserted + written.inserted,
                    updated: sum.updated + written.updated,
                })
            }
            (Err(first), _) => Err(first),
            (_, Err(error)) => Err(error),
        };
    }
    total
}
