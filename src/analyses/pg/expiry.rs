//! Letting results expire, and deleting those that have.

use std::sync::LazyLock;
use std::time::Duration;

use diesel::query_builder::SqlQuery;
use diesel::sql_types::{Interval, Nullable, Text, Uuid as SqlUuid};

use crate::analyses::key::AnalysisSelector;
use crate::error::Result;
use crate::store::{Session, SweepReport};
use crate::types::{is_ticker, span};

/// A caller that computes under such a lease has read its inputs before the invalidation: without the lease
/// the result is not stored. Locked in the order of the key, so that two invalidations wait for each
/// other instead of deadlocking.
const FORGET_LEASES: &str = r#"
    WITH doomed AS MATERIALIZED (
        SELECT ticker, name, parameters_key, portfolio_id FROM cache_leases
        WHERE space = 'analyses' AND ($1::TEXT IS NULL OR ticker = $1)
            AND ($2::TEXT IS NULL OR name = $2) AND ($3::UUID IS NULL OR portfolio_id = $3)
        ORDER BY ticker COLLATE "C", name COLLATE "C", parameters_key, portfolio_id FOR UPDATE
    )
    DELETE FROM cache_leases l USING doomed d
    WHERE l.space = 'analyses' AND l.ticker = d.ticker AND l.name = d.name
        AND l.parameters_key = d.parameters_key AND l.portfolio_id IS NOT DISTINCT FROM d.portfolio_id"#;

/// What lets a row expire. Times from before the table's checks, which no reader understands, are brought into the range
/// of a calendar: the check would refuse them, and with them the change of all other rows.
pub(super) const EXPIRE: &str =
    "expires_at = GREATEST(LEAST(expires_at, now()), '0001-01-01Z'), stale_until = NULL,
        calculated_at = LEAST(GREATEST(calculated_at, '0001-01-01Z'), '262142-01-01Z'),
        created_at = LEAST(GREATEST(created_at, '0001-01-01Z'), '262142-01-01Z')";

/// Rows that a key can find. No key finds a text that is not a ticker, from before the checks, and a check would refuse its row.
pub(super) fn can_be_found() -> String {
    is_ticker("ticker")
}

/// Rows are locked in the order of their ids, so that two invalidations wait for each other instead
/// of deadlocking.
static INVALIDATE: LazyLock<String> = LazyLock::new(|| {
    let can_be_found = can_be_found();
    format!(
        "
    WITH doomed AS MATERIALIZED (
        SELECT id FROM analysis_results
        WHERE ($1::TEXT IS NULL OR ticker = $1) AND ($2::TEXT IS NULL OR analysis_type = $2)
            AND ($3::UUID IS NULL OR portfolio_id = $3)
            AND ($4::INTERVAL IS NULL OR calculated_at <= now() - $4::INTERVAL)
            AND (expires_at IS NULL OR GREATEST(expires_at, stale_until) > now())
            AND {can_be_found}
        ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE analysis_results a SET {EXPIRE}
    FROM doomed WHERE a.id = doomed.id"
    )
});

/// Leases before results, the order in which a computed result is stored, too. A statement of its
/// own each: what was stored under a lease while the first waited for it, only a later snapshot shows.
pub(super) async fn invalidate(session: &Session, selector: &AnalysisSelector) -> Result<u64> {
    let AnalysisSelector { ticker, analysis_type, portfolio, older_than } = selector;
    let results = diesel::sql_query(&**INVALIDATE)
        .bind::<Nullable<Text>, _>(ticker.as_ref())
        .bind::<Nullable<Text>, _>(*analysis_type)
        .bind::<Nullable<SqlUuid>, _>(*portfolio)
        .bind::<Nullable<Interval>, _>(older_than.map(span::age));
    if ticker.is_none() && analysis_type.is_none() && portfolio.is_none() {
        // What is being computed is not old.
        return session.execute(results).await;
    }
    let leases = diesel::sql_query(FORGET_LEASES)
        .bind::<Nullable<Text>, _>(ticker.as_ref())
        .bind::<Nullable<Text>, _>(*analysis_type)
        .bind::<Nullable<SqlUuid>, _>(*portfolio);
    let atomic = session.atomic().await?;
    atomic.run(leases).await?;
    let expired = atomic.run(results).await?;
    atomic.commit().await?;
    Ok(expired)
}

/// A result that never expires may have kept a window of the time when it was not.
///
/// The limit is part of the text (a program sweeps with one): of a placeholder the planner would
/// guess a tenth of the table, and read all of it.
fn sweep(limit: u32) -> SqlQuery {
    diesel::sql_query(format!(
        "
    WITH doomed AS MATERIALIZED (
        SELECT id FROM analysis_results
        WHERE GREATEST(expires_at, stale_until) <= now() - $1::INTERVAL AND expires_at IS NOT NULL
        ORDER BY GREATEST(expires_at, stale_until) LIMIT {limit} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM analysis_results a USING doomed WHERE a.id = doomed.id"
    ))
}

pub(super) async fn sweep_expired(
    session: &Session,
    limit: u32,
    grace: Duration,
) -> Result<SweepReport> {
    let statement = sweep(limit).bind::<Interval, _>(span::age(grace));
    Ok(SweepReport::new(session.execute(statement).await?, limit))
}
