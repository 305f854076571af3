//! Letting results expire whose inputs have changed.

use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::expiry::{EXPIRE, can_be_found};
use crate::error::Result;
use crate::store::Session;
use crate::types::{AnalysisId, Ticker};

/// Results that one statement reads. The bars of as many tickers may have to be digested, 10 ms for ten
/// years of them.
const BATCH: i64 = 200;

/// One batch of results with inputs after an id ($1), by ticker and id. The order keeps the results
/// of a ticker together, so that its bars are not digested once a batch. The limit, which is
/// [`BATCH`], counts expired results, too: a long history is not read in one statement.
///
/// Inputs of another shape match nothing: JSON values are compared, no cast can fail. A result whose
/// inputs are replaced while the statement waits for it is left alone. `unnest(ARRAY(...))`, `ANY`
/// and the subqueries keep the planner, which takes each list of inputs for a thousand, from joining
/// with all of a table, and from compiling for seconds what runs for milliseconds.
fn expire_batch(after: &str) -> String {
    let can_be_found = can_be_found();
    format!(
        "
    WITH batch AS MATERIALIZED (
        SELECT id, ticker, inputs,
            expires_at IS NULL OR GREATEST(expires_at, stale_until) > now() AS is_served
        FROM analysis_results WHERE inputs IS NOT NULL AND {after}
        ORDER BY ticker, id LIMIT 200
    ), bars AS MATERIALIZED (
        SELECT batch.id, item->>'ticker' AS ticker, item->'digest' AS digest
        FROM batch CROSS JOIN unnest(ARRAY(SELECT jsonb_path_query(batch.inputs, '$.bars[*]'))) item
        WHERE is_served AND jsonb_typeof(item->'digest') = 'number'
    ), digests AS MATERIALIZED (
        SELECT ticker, to_jsonb(bars_digest(ticker)) AS digest
        FROM (SELECT DISTINCT ticker FROM bars) named
    ), changed AS MATERIALIZED (
        SELECT id, inputs FROM batch
        WHERE is_served AND (
            id IN (
                SELECT bars.id FROM bars JOIN digests USING (ticker)
                WHERE bars.digest <> digests.digest
            )
            OR EXISTS (
                SELECT FROM unnest(ARRAY(SELECT jsonb_path_query(inputs, '$.documents[*]'))) item
                WHERE jsonb_typeof(item->'revision') = 'number' AND item->'revision' < to_jsonb((
                    SELECT revision FROM market_data_cache c
                    WHERE c.ticker = item->>'ticker' AND c.data_type = item->>'data_type'
                        AND c.parameters_key = cache_parameters_key(item->'parameters')
                        AND c.parameters IS NOT DISTINCT FROM item->'parameters'
                ))
            )
        )
    ), doomed AS MATERIALIZED (
        SELECT id FROM analysis_results
        WHERE id = ANY (ARRAY(SELECT id FROM changed)) AND inputs IN (SELECT inputs FROM changed)
            AND (expires_at IS NULL OR GREATEST(expires_at, stale_until) > now())
            AND {can_be_found}
        ORDER BY id FOR NO KEY UPDATE
    ), expired AS (
        UPDATE analysis_results a SET {EXPIRE}
        FROM doomed WHERE a.id = doomed.id RETURNING a.id
    )
    SELECT (SELECT count(*) FROM batch) AS read, (SELECT count(*) FROM expired) AS expired,
        (SELECT ticker FROM batch ORDER BY ticker DESC, id DESC LIMIT 1) AS last_ticker,
        (SELECT id FROM batch ORDER BY ticker DESC, id DESC LIMIT 1) AS last_id"
    )
}

#[derive(QueryableByName)]
struct Batch {
    #[diesel(sql_type = BigInt)]
    read: i64,
    #[diesel(sql_type = BigInt)]
    expired: i64,
    #[diesel(sql_type = Nullable<Text>)]
    last_ticker: Option<String>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    last_id: Option<AnalysisId>,
}

pub(super) async fn expire(session: &Session, ticker: Option<&Ticker>) -> Result<u64> {
    let text = expire_batch(match ticker {
        Some(_) => "id > $1 AND ticker = $2",
        None => "(ticker, id) > ($2::TEXT, $1)",
    });
    // All come after: no ticker is empty, and no id that is made is nil.
    let first = ticker.map_or("", Ticker::as_str);
    let (mut last_ticker, mut last_id) = (first.to_owned(), AnalysisId::from(Uuid::nil()));
    let mut expired = 0;
    loop {
        let statement =
            diesel::sql_query(&*text).bind::<SqlUuid, _>(last_id).bind::<Text, _>(&last_ticker);
        let batch: Batch = session.write_one(statement).await?;
        expired += batch.expired.unsigned_abs();
        match (batch.last_ticker, batch.last_id) {
            (Some(ticker), Some(id)) if batch.read == BATCH => {
                (last_ticker, last_id) = (ticker, id)
            }
            _ => return Ok(expired),
        }
    }
}
