//! One fetch at a time per key, across processes: a row that says who may fetch, and until when.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{
    BigInt, Bool, Integer, Interval, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};

use crate::error::Result;
use crate::postgres::PgConnection;
use crate::store::EntryKeyRef;
use crate::types::span;

/// The longest lease: one that lives renews it. Known to [`TAKE`].
const LONGEST: Duration = Duration::from_secs(60);
/// The shortest: the renewals of one that is shorter would keep the database busy.
const SHORTEST: Duration = Duration::from_millis(100);

/// The lease that is taken where this one is asked for.
pub(super) fn bounded(lease: Duration) -> Duration {
    lease.clamp(SHORTEST, LONGEST)
}

/// Takes the lease if nobody has it; else says until when somebody has. Neither row is there when
/// another took it after this statement began. `taken_at` is when `expires_at` was set: what was set in the future, or
/// for longer than [`LONGEST`], was set by a clock that has been set back since, and would keep everybody away until then.
const TAKE: &str = "
    WITH taken AS (
        INSERT INTO cache_leases AS l
            (space, ticker, name, parameters_key, portfolio_id, token, taken_at, expires_at)
        VALUES ($1, $2, $3, cache_parameters_key($4), $5,
            nextval('cache_version'), now(), now() + $6::INTERVAL)
        ON CONFLICT (ticker, name, parameters_key, space, portfolio_id) DO UPDATE
            SET token = excluded.token, taken_at = excluded.taken_at, expires_at = excluded.expires_at
            WHERE l.expires_at <= excluded.taken_at OR l.taken_at > clock_timestamp()
                OR l.token IS NOT NULL AND l.expires_at > clock_timestamp() + INTERVAL '1 minute'
        RETURNING token, failures, expires_at
    )
    SELECT true AS is_taken, token, failures, expires_at, now() AS seen_at FROM taken
    UNION ALL
    SELECT false, token, failures, expires_at, now() FROM cache_leases
    WHERE space = $1 AND ticker = $2 AND name = $3 AND parameters_key = cache_parameters_key($4)
        AND portfolio_id IS NOT DISTINCT FROM $5 AND NOT EXISTS (SELECT FROM taken)";

const RENEW: &str = "
    UPDATE cache_leases SET taken_at = now(), expires_at = now() + $7::INTERVAL
    WHERE space = $1 AND ticker = $2 AND name = $3 AND parameters_key = cache_parameters_key($4)
        AND portfolio_id IS NOT DISTINCT FROM $5 AND token = $6";

/// The row stays and keeps others away until the pause is over.
const FAIL: &str = "
    UPDATE cache_leases
    SET token = NULL, failures = failures + 1, taken_at = now(), expires_at = now() + $7::INTERVAL
    WHERE space = $1 AND ticker = $2 AND name = $3 AND parameters_key = cache_parameters_key($4)
        AND portfolio_id IS NOT DISTINCT FROM $5 AND token = $6";

pub(super) const RELEASE: &str = "
    DELETE FROM cache_leases
    WHERE space = $1 AND ticker = $2 AND name = $3 AND parameters_key = cache_parameters_key($4)
        AND portfolio_id IS NOT DISTINCT FROM $5 AND token = $6";

/// The answer to a caller that asks for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseOutcome {
    /// Fetch; store with this token.
    Taken { token: i64, failures: u32 },
    /// Another caller fetches, and keeps the lease for this long unless it renews.
    Held { for_now: Duration },
    /// The last fetches failed, this many in a row; no caller fetches for this long.
    BackingOff { failures: u32, pause: Duration },
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Bool)]
    is_taken: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    token: Option<i64>,
    #[diesel(sql_type = Integer)]
    failures: i32,
    #[diesel(sql_type = Timestamptz)]
    expires_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    seen_at: DateTime<Utc>,
}

pub(super) type Keyed<'a> = BoxedSqlQuery<'a, diesel::pg::Pg, SqlQuery>;

/// A statement with the key as its first five binds.
pub(super) fn keyed<'a>(statement: &str, address: EntryKeyRef<'a>) -> Keyed<'a> {
    diesel::sql_query(statement)
        .into_boxed()
        .bind::<Text, _>(address.space.as_str())
        .bind::<Text, _>(address.ticker)
        .bind::<Text, _>(address.name)
        .bind::<Nullable<Jsonb>, _>(address.parameters)
        .bind::<Nullable<SqlUuid>, _>(address.portfolio)
}

/// Takes the lease of a key for `span`, or says why not.
pub(super) async fn take(
    connection: &PgConnection,
    address: EntryKeyRef<'_>,
    span: Duration,
) -> Result<LeaseOutcome> {
    let statement = keyed(TAKE, address).bind::<Interval, _>(span::interval(span));
    let row: Option<Row> = connection.write_optional(statement).await?;
    let Some(row) = row else { return Ok(LeaseOutcome::Held { for_now: Duration::ZERO }) };
    let failures = row.failures.unsigned_abs();
    let remaining = (row.expires_at - row.seen_at).to_std().unwrap_or_default();
    Ok(match row.token {
        Some(token) if row.is_taken => LeaseOutcome::Taken { token, failures },
        Some(_) => LeaseOutcome::Held { for_now: remaining },
        None => LeaseOutcome::BackingOff { failures, pause: remaining },
    })
}

/// Keeps the lease for another `span`. Returns `false` if it was no longer held.
pub(super) async fn renew(
    connection: &PgConnection,
    address: EntryKeyRef<'_>,
    token: i64,
    span: Duration,
) -> Result<bool> {
    let statement = keyed(RENEW, address).bind::<BigInt, _>(token);
    Ok(connection.run(statement.bind::<Interval, _>(span::interval(span))).await? > 0)
}

/// Gives the lease up after a failure: nobody may fetch during the pause. Returns `false` if it was no longer held.
pub(super) async fn fail(
    connection: &PgConnection,
    address: EntryKeyRef<'_>,
    token: i64,
    pause: Duration,
) -> Result<bool> {
    let statement = keyed(FAIL, address).bind::<BigInt, _>(token);
    Ok(connection.run(statement.bind::<Interval, _>(span::interval(pause))).await? > 0)
}

/// Gives the lease up: the next caller may fetch.
pub(super) async fn release(
    connection: &PgConnection,
    address: EntryKeyRef<'_>,
    token: i64,
) -> Result<bool> {
    Ok(connection.run(keyed(RELEASE, address).bind::<BigInt, _>(token)).await? > 0)
}
