//! Reading the log by snapshots.

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};

use super::event::{Event, EventData, EventFilter};
use crate::error::{Result, Unreadable};
use crate::store::{SNAPSHOT, SNAPSHOT_OF_OTHERS, Session, Snapshot, tables};
use crate::types::{Document, Listed, Ticker, UserId};

/// Sees nothing.
pub(crate) const BEGINNING: &str = "1:1:";

/// The present snapshot, and the id of the first event that is visible to it and was not to `$1`. Without OFFSET the
/// planner may walk the index of ids from the oldest event that is kept.
const START: &str = "
    SELECT now.snapshot, (
        SELECT min(unread.id) FROM (
            SELECT id FROM events
            WHERE transaction >= pg_snapshot_xmin($1::TEXT::PG_SNAPSHOT)
                AND NOT pg_visible_in_snapshot(transaction, $1::TEXT::PG_SNAPSHOT)
                AND pg_visible_in_snapshot(transaction, now.snapshot::PG_SNAPSHOT) OFFSET 0
        ) unread
    ) AS first FROM (";
const START_END: &str = ") now";

/// The events that are visible to `$2` and were not to `$1`, after the id `$3`. That is all that bounds them, so that
/// the index of ids serves it.
const EVENTS: &str = "
    SELECT id, recorded_at, user_id, ticker, jsonb_build_object(kind, payload) AS data
    FROM events
    WHERE id > $3
        AND NOT pg_visible_in_snapshot(transaction, $1::TEXT::PG_SNAPSHOT)
        AND pg_visible_in_snapshot(transaction, $2::TEXT::PG_SNAPSHOT)
        AND ($4 IS NULL OR kind = ANY ($4))
        AND ($5 IS NULL OR ticker = ANY ($5))
        AND ($6 IS NULL OR user_id IS NULL OR user_id = $6)
    ORDER BY id LIMIT $7";

#[derive(QueryableByName)]
struct Start {
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    first: Option<i64>,
}

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Timestamptz)]
    recorded_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    user_id: Option<UserId>,
    #[diesel(sql_type = Text)]
    ticker: Ticker,
    #[diesel(sql_type = Jsonb)]
    data: Document,
}

impl TryFrom<EventRow> for Event {
    type Error = Unreadable;

    fn try_from(row: EventRow) -> Result<Self, Unreadable> {
        let data = row.data.decode::<EventData>().map_err(|_| Unreadable {
            table: "events".into(),
            key: row.id.to_string(),
            column: "payload".into(),
            reason: "is not of its kind".into(),
        })?;
        let EventRow { id, recorded_at, user_id, ticker, .. } = row;
        Ok(Event { id, recorded_at, user_id, ticker, data })
    }
}

/// An event, or what is wrong with one that cannot be read.
pub(crate) type EventOrNot = Result<Event, Unreadable>;

/// How far a reader is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Position {
    /// Everything that this snapshot sees is taken.
    pub seen: String,
    /// What this one sees beyond that is being taken,
    pub reading: Option<String>,
    /// up to this id.
    pub after: i64,
}

impl Position {
    pub fn seen(snapshot: String) -> Self {
        Position { seen: snapshot, reading: None, after: 0 }
    }

    /// Only what is committed from now on is read.
    pub async fn now(session: &Session) -> Result<Self> {
        let now: Snapshot = session.fetch_one(diesel::sql_query(SNAPSHOT)).await?;
        Ok(Position::seen(now.snapshot))
    }
}

/// The next events, at most `limit`, and the position after them; empty where there is nothing new. They come in the
/// order of their ids, also from one call to the next of what one snapshot sees. A transaction that changes a row again
/// is committed after the one before it, so that changes of one row come in theirs. One that cannot be read comes as
/// what is wrong with it; the next position is past it.
///
/// # Errors
/// Those of the database.
pub(crate) async fn read(
    session: &Session,
    mut position: Position,
    filter: &EventFilter,
    limit: usize,
) -> Result<(Vec<EventOrNot>, Position)> {
    loop {
        let reading = match position.reading.take() {
            Some(reading) => reading,
            None => {
                let start = diesel::sql_query(format!("{START}{SNAPSHOT_OF_OTHERS}{START_END}"));
                let start = start.bind::<Text, _>(&position.seen);
                let Start { snapshot, first } = session.fetch_one(start).await?;
                let Some(first) = first else {
                    return Ok((Vec::new(), Position::seen(snapshot)));
                };
                position.after = first.saturating_sub(1);
                snapshot
            }
        };
        let rows = page(session, &position, &reading, filter, limit).await?;
        let behind = match rows.last() {
            Some(last) if rows.len() == limit => {
                let after = id(last).unwrap_or(position.after);
                Position { seen: position.seen, reading: Some(reading), after }
            }
            _ => Position::seen(reading),
        };
        if !rows.is_empty() {
            let events = rows
                .into_iter()
                .map(|row| row.and_then(|row| Event::try_from(row).inspect_err(Unreadable::warn)));
            return Ok((events.collect(), behind));
        }
        // The end of what that snapshot saw is not the end of the log.
        position = behind;
    }
}

/// The events that are committed and have a greater id, by id, at most `limit`.
///
/// # Errors
/// Those of the database.
pub(crate) async fn since(
    session: &Session,
    id: i64,
    filter: &EventFilter,
    limit: usize,
) -> Result<Listed<Event>> {
    let now = Position::now(session).await?.seen;
    let unread = Position { after: id, ..Position::seen(BEGINNING.to_owned()) };
    let mut listed = Listed::default();
    for row in page(session, &unread, &now, filter, limit).await? {
        listed.take(row.and_then(|row| Event::try_from(row).inspect_err(Unreadable::warn)));
    }
    Ok(listed)
}

/// The id of an event that was received, whether it could be read or not: it is its key.
fn id(row: &Result<EventRow, Unreadable>) -> Option<i64> {
    match row {
        Ok(row) => Some(row.id),
        Err(unreadable) => unreadable.key.parse().ok(),
    }
}

async fn page(
    session: &Session,
    position: &Position,
    reading: &str,
    filter: &EventFilter,
    limit: usize,
) -> Result<Vec<Result<EventRow, Unreadable>>> {
    let kinds = filter.kinds.as_ref();
    let kinds = kinds.map(|kinds| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    let statement = diesel::sql_query(EVENTS)
        .bind::<Text, _>(&position.seen)
        .bind::<Text, _>(reading)
        .bind::<BigInt, _>(position.after)
        .bind::<Nullable<Array<Text>>, _>(kinds)
        .bind::<Nullable<Array<Text>>, _>(filter.tickers.as_ref())
        .bind::<Nullable<SqlUuid>, _>(filter.user_id)
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX));
    session.about(&tables::EVENTS).fetch_each(statement).await
}
