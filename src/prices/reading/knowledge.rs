//! Points at which is known which transactions were visible.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Bool, Integer, Interval, Nullable, Text, Timestamptz};

use crate::error::{Error, Result};
use crate::store::Session;
use crate::types::span;

/// The points around a time, as text of their snapshots.
#[derive(QueryableByName)]
pub(crate) struct Around {
    /// The last one before the time.
    #[diesel(sql_type = Nullable<Text>)]
    pub previous: Option<String>,
    /// The first one that is not before the time; of a future time, the present.
    #[diesel(sql_type = Nullable<Text>)]
    pub next: Option<String>,
    /// The time of that point.
    #[diesel(sql_type = Timestamptz)]
    pub next_at: DateTime<Utc>,
    /// Whether no later point will come before the time.
    #[diesel(sql_type = Bool)]
    is_closed: bool,
    #[diesel(sql_type = Bool)]
    is_to_come: bool,
    /// Whether transactions have other numbers here: the database was restored into another cluster.
    #[diesel(sql_type = Bool)]
    pub is_foreign: bool,
}

const AROUND: &str = "
    SELECT (SELECT snapshot::TEXT FROM knowledge_points WHERE known_at < $1 ORDER BY known_at DESC LIMIT 1) AS previous,
        COALESCE(closing.snapshot, txid_current_snapshot())::TEXT AS next,
        COALESCE(closing.known_at, clock_timestamp()) AS next_at,
        closing.snapshot IS NOT NULL AS is_closed,
        $1 > clock_timestamp() + interval '1 second' AS is_to_come,
        COALESCE((SELECT system_identifier FROM knowledge_points ORDER BY known_at LIMIT 1)
            <> (SELECT system_identifier FROM pg_control_system()), false) AS is_foreign
    FROM (SELECT) AS one
    LEFT JOIN (
        SELECT known_at, snapshot FROM knowledge_points
        -- A point that is ahead of the clock was made before this was set back.
        WHERE known_at >= $1 AND known_at <= clock_timestamp() + interval '1 second' ORDER BY known_at LIMIT 1
    ) AS closing ON true";

/// The points around `at`, and where to read what they see. Where no point closes the time yet, one is made, so that the answer
/// stays the same: by a statement of its own, also within a unit of work, whose own snapshot may be older.
///
/// # Errors
/// Those of the statements; `ReadOnly` where a point is to be made and the server accepts none.
pub(crate) async fn around(session: &Session, at: DateTime<Utc>) -> Result<(Around, Session)> {
    let ask = || diesel::sql_query(AROUND).bind::<Timestamptz, _>(at);
    let found: Around = session.fetch_one(ask()).await?;
    if found.is_closed || found.is_to_come {
        return Ok((found, session.clone()));
    }
    let aside = session.aside();
    let make = "INSERT INTO knowledge_points (known_at) VALUES ($1)";
    aside.execute(diesel::sql_query(make).bind::<Timestamptz, _>(at)).await?;
    Ok((aside.fetch_one(ask()).await?, aside))
}

/// From when on the history is complete, and a year of the days that is in a file.
const COMPLETENESS: &str = "
    SELECT (SELECT known_from FROM swept_history WHERE table_name = 'price_history') AS known_from,
        (SELECT min(year) FROM archived_price_years
            WHERE make_timestamptz(year, 1, 1, 0, 0, 0, 'UTC') < $2
                AND make_timestamptz(year + 1, 1, 1, 0, 0, 0, 'UTC') > $1) AS archived_year";

#[derive(QueryableByName)]
struct Completeness {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    known_from: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Integer>)]
    archived_year: Option<i32>,
}

/// Refuses a time before the watermark of the sweeps, and days of archived years. To be asked after the versions were read: a
/// sweep may come between.
///
/// # Errors
/// `HistorySwept`; `Invalid` of `date`; those of the statement.
pub(crate) async fn check_complete(
    session: &Session,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    at: DateTime<Utc>,
) -> Result<()> {
    let ask =
        diesel::sql_query(COMPLETENESS).bind::<Timestamptz, _>(from).bind::<Timestamptz, _>(to);
    let found: Completeness = session.fetch_one(ask).await?;
    if let Some(known_from) = found.known_from.filter(|known_from| at < *known_from) {
        return Err(Error::HistorySwept { known_from });
    }
    match found.archived_year {
        Some(year) => Err(Error::invalid(
            "date",
            format!("{year} is archived; PricePartitions::restore_year brings it back"),
        )),
        None => Ok(()),
    }
}

/// Forgets points that are older than `age`, but for the newest of them, which the following time needs, and the first.
pub(crate) async fn sweep(session: &Session, limit: u32, age: Duration) -> Result<u64> {
    let statement = diesel::sql_query(format!(
        "
    DELETE FROM knowledge_points WHERE known_at IN (
        SELECT known_at FROM knowledge_points
        WHERE known_at < (SELECT max(known_at) FROM knowledge_points WHERE known_at < now() - $1::INTERVAL)
            AND known_at > (SELECT min(known_at) FROM knowledge_points)
        ORDER BY known_at LIMIT {limit} FOR UPDATE SKIP LOCKED
    )"
    ));
    session.execute(statement.bind::<Interval, _>(span::age(age))).await
}
