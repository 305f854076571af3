//! Statements that Diesel's query builder cannot express, and the rows that they return.

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::query_builder::SqlQuery;
use diesel::sql_types::{BigInt, Nullable, Timestamptz, Uuid as SqlUuid};

use crate::market_cache::entry::CacheEntry;
use crate::types::CacheEntryId;

/// The most frequent statement of all: as text it costs no building, which for a query of so many
/// columns takes longer than its binds do.
pub(super) const GET: &str = "
    SELECT id, ticker, data_type, data, data_source, data_quality_score, cached_at, expires_at, parameters,
        stale_until, tags, version, revision
    FROM market_data_cache
    WHERE ticker = $1 AND data_type = $2 AND parameters_key = cache_parameters_key($3)
        AND parameters IS NOT DISTINCT FROM $3 AND expires_at > now()";

pub(super) const GET_MANY: &str = "
    SELECT wanted.n, c.id, c.ticker, c.data_type, c.data, c.data_source, c.data_quality_score,
        c.cached_at, c.expires_at, c.parameters, c.stale_until, c.tags, c.version, c.revision
    FROM unnest($1::TEXT[], $2::TEXT[], $3::JSONB[]) WITH ORDINALITY AS wanted (ticker, data_type, parameters, n)
    JOIN market_data_cache c ON c.ticker = wanted.ticker AND c.data_type = wanted.data_type
        AND c.parameters_key = cache_parameters_key(wanted.parameters)
        AND c.parameters IS NOT DISTINCT FROM wanted.parameters
    WHERE c.expires_at > now()";

#[derive(QueryableByName)]
pub(super) struct Numbered {
    #[diesel(sql_type = BigInt)]
    pub(super) n: i64,
    #[diesel(embed)]
    pub(super) entry: CacheEntry,
}

/// The stale window moves along. Days of an interval are added in UTC, where each has 24 hours. An expiry that cannot be
/// read has no span to another: its row is left as it is, and returned without one.
pub(super) const REFRESH: &str = "
    WITH refreshed AS (
        UPDATE market_data_cache SET expires_at = GREATEST(expires_at, now() + $4::INTERVAL),
            stale_until = (stale_until AT TIME ZONE 'UTC'
                + (GREATEST(expires_at, now() + $4::INTERVAL) - expires_at)) AT TIME ZONE 'UTC'
        WHERE ticker = $1 AND data_type = $2
            AND parameters_key = cache_parameters_key($3::JSONB) AND parameters IS NOT DISTINCT FROM $3
            AND expires_at > '-infinity' AND expires_at < '262143-01-01 00:00:00Z'
        RETURNING id, expires_at
    )
    SELECT id, expires_at FROM refreshed
    UNION ALL
    SELECT id, NULL FROM market_data_cache
    WHERE ticker = $1 AND data_type = $2
        AND parameters_key = cache_parameters_key($3::JSONB) AND parameters IS NOT DISTINCT FROM $3
        AND NOT (expires_at > '-infinity' AND expires_at < '262143-01-01 00:00:00Z')
        AND NOT EXISTS (SELECT FROM refreshed)";

#[derive(QueryableByName)]
pub(super) struct Refreshed {
    #[diesel(sql_type = SqlUuid)]
    pub(super) id: CacheEntryId,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub(super) expires_at: Option<DateTime<Utc>>,
}

/// The limit is part of the text (a program sweeps with one): of a placeholder the planner would
/// guess a tenth of the table, and read all of it.
pub(super) fn sweep_expired(limit: u32) -> SqlQuery {
    diesel::sql_query(format!(
        "
    WITH doomed AS MATERIALIZED (
        SELECT id, ticker FROM market_data_cache
        WHERE GREATEST(expires_at, stale_until) <= now() - $1::INTERVAL
        ORDER BY GREATEST(expires_at, stale_until) LIMIT {limit} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM market_data_cache c USING doomed
    WHERE c.id = doomed.id AND c.ticker = doomed.ticker"
    ))
}

pub(super) const LIST_STALE: &str = "
    SELECT id, ticker, data_type, parameters, cached_at, expires_at
    FROM market_data_cache WHERE expires_at <= now() + $1::INTERVAL
    ORDER BY expires_at, id LIMIT $2";
