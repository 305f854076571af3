//! Reading the log by snapshots.

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};

use crate::connection::Session;
use crate::connection::snapshot::{SNAPSHOT, Snapshot, oldest};
use crate::error::{Error, Result};
use crate::models::{Event, EventData, EventFilter};
use crate::types::{Document, Ticker, UserId};

/// Sees nothing.
pub(super) const BEGINNING: &str = "1:1:";

/// The events that are visible to `$2` and were not to `$1`, after those of `($3, $4)`. The row comparison is what
/// the index serves. Qualified, the order is that of the column, not of the text.
const EVENTS: &str = "
    SELECT transaction::TEXT AS transaction, id, recorded_at, user_id, ticker,
        jsonb_build_object(kind, payload) AS data
    FROM events
    WHERE (transaction, id) > ($3::TEXT::XID8, $4)
        AND NOT pg_visible_in_snapshot(transaction, $1::TEXT::PG_SNAPSHOT)
        AND pg_visible_in_snapshot(transaction, $2::TEXT::PG_SNAPSHOT)
        AND ($5 IS NULL OR kind = ANY ($5))
        AND ($6 IS NULL OR ticker = ANY ($6))
        AND ($7 IS NULL OR user_id IS NULL OR user_id = $7)
    ORDER BY events.transaction, id LIMIT $8";

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = Text)]
    transaction: String,
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
    type Error = Error;

    fn try_from(row: EventRow) -> Result<Self> {
        let data = row.data.decode::<EventData>().map_err(|_| Error::Corrupt {
            table: "events".into(),
            column: "payload".into(),
            reason: "is not of its kind".into(),
        })?;
        let EventRow { id, recorded_at, user_id, ticker, .. } = row;
        Ok(Event { id, recorded_at, user_id, ticker, data })
    }
}

/// How far a reader is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Position {
    /// Everything that this snapshot sees is taken.
    pub seen: String,
    /// Of what this one sees beyond that, a part is taken,
    pub reading: Option<String>,
    /// up to this transaction and id.
    pub after: (String, i64),
}

impl Position {
    pub fn seen(snapshot: String) -> Self {
        let after = (oldest(&snapshot).to_owned(), -1);
        Position { seen: snapshot, reading: None, after }
    }

    /// What is committed from now on is to come.
    pub async fn now(session: &Session) -> Result<Self> {
        Ok(Position::seen(snapshot(session).await?))
    }

    /// Whether nothing is known to be left.
    pub fn is_at_end(&self) -> bool {
        self.reading.is_none()
    }
}

async fn snapshot(session: &Session) -> Result<String> {
    let now: Snapshot = session.fetch_one(diesel::sql_query(SNAPSHOT)).await?;
    Ok(now.snapshot)
}

/// The next events, at most `limit`, and the position behind them. Those of one reading come in the order of
/// their ids, so that changes of one row come in theirs.
///
/// # Errors
/// Those of the database; [`Error::Corrupt`].
pub(super) async fn read(
    session: &Session,
    position: &Position,
    filter: &EventFilter,
    limit: usize,
) -> Result<(Vec<Event>, Position)> {
    let reading = match &position.reading {
        Some(reading) => reading.clone(),
        None => snapshot(session).await?,
    };
    if reading == position.seen {
        return Ok((Vec::new(), position.clone()));
    }
    let kinds = filter.kinds.as_ref();
    let kinds = kinds.map(|kinds| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    let statement = diesel::sql_query(EVENTS)
        .bind::<Text, _>(&position.seen)
        .bind::<Text, _>(&reading)
        .bind::<Text, _>(&position.after.0)
        .bind::<BigInt, _>(position.after.1)
        .bind::<Nullable<Array<Text>>, _>(kinds)
        .bind::<Nullable<Array<Text>>, _>(filter.tickers.as_ref())
        .bind::<Nullable<SqlUuid>, _>(filter.user_id)
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<EventRow> = session.fetch_all(statement).await?;
    let behind = match rows.last() {
        Some(last) if rows.len() == limit => Position {
            seen: position.seen.clone(),
            reading: Some(reading),
            after: (last.transaction.clone(), last.id),
        },
        _ => Position::seen(reading),
    };
    let mut events = rows.into_iter().map(Event::try_from).collect::<Result<Vec<_>>>()?;
    events.sort_unstable_by_key(|event| event.id);
    Ok((events, behind))
}
