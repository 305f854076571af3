//! Which snapshots go.

use diesel::sql_types::Interval;

use crate::error::Result;
use crate::store::{Retention, Session, SweepReport};
use crate::types::span;

pub(super) async fn sweep(
    session: &Session,
    limit: u32,
    retention: &Retention,
) -> Result<SweepReport> {
    let doomed = if retention.keep_last_of_day { REPLACED } else { OLD };
    let statement = diesel::sql_query(statement(doomed, limit))
        .bind::<Interval, _>(span::age(retention.older_than));
    Ok(SweepReport::new(session.execute(statement).await?, limit))
}

/// The limit is part of the text (a program sweeps with one): of a placeholder the planner would
/// guess a tenth of the table, and read all of it.
fn statement(doomed: &str, limit: u32) -> String {
    let doomed = doomed.replace("{limit}", &limit.to_string());
    format!(
        "
    WITH {doomed}
    )
    DELETE FROM options_data AS quote USING doomed
    WHERE quote.id = doomed.id AND quote.ticker = doomed.ticker"
    )
}

/// Quotes of snapshots that are old.
const OLD: &str = "doomed AS MATERIALIZED (
        SELECT quote.ticker, quote.id FROM options_data AS quote
        WHERE quote.fetch_timestamp < now() - $1::INTERVAL
        ORDER BY quote.fetch_timestamp LIMIT {limit} FOR UPDATE SKIP LOCKED";

/// Quotes of old snapshots after which there is one of the same day. The walk goes from snapshot to snapshot
/// by one index probe each, over all quotes of one; from the first that is not old to the next ticker.
const REPLACED: &str = "RECURSIVE walk (ticker, at, replaced_at) AS (
        (SELECT ticker, fetch_timestamp, NULL::timestamptz FROM options_data
         ORDER BY ticker, fetch_timestamp LIMIT 1)
        UNION ALL
        SELECT next.ticker, next.at, CASE WHEN next.ticker = walk.ticker
                AND (next.at AT TIME ZONE 'UTC')::date = (walk.at AT TIME ZONE 'UTC')::date
                AND walk.at < now() - $1::INTERVAL
            THEN walk.at END
        FROM walk CROSS JOIN LATERAL (
            SELECT ticker, fetch_timestamp AS at FROM options_data
            WHERE (ticker, fetch_timestamp) > (walk.ticker, CASE
                WHEN walk.at < now() - $1::INTERVAL THEN walk.at ELSE 'infinity' END)
            ORDER BY ticker, fetch_timestamp LIMIT 1
        ) AS next
    ),
    doomed AS MATERIALIZED (
        SELECT quote.ticker, quote.id FROM walk CROSS JOIN LATERAL (
            SELECT ticker, id FROM options_data
            WHERE ticker = walk.ticker AND fetch_timestamp = walk.replaced_at
            FOR UPDATE SKIP LOCKED
        ) AS quote
        WHERE walk.replaced_at IS NOT NULL
        LIMIT {limit}";
