//! Storing results, one and many, by one statement.

use std::sync::LazyLock;

use diesel::pg::Pg;
use diesel::query_builder::{Query, QueryFragment};
use diesel::sql_types::{
    Array, Interval, Jsonb, Nullable, Numeric, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use futures_util::FutureExt;

use crate::analyses::result::{AnalysisResult, Expiry, NewAnalysis};
use crate::error::Result;
use crate::store::{Session, batch};
use crate::types::span;

/// The rows come as arrays, one per column, so that one text serves any number of them. Without an
/// expiry or a span after it, the end of the stale window is NULL. A lifetime begins now: a result of a clock that is
/// further ahead than that counts as computed now.
fn insert_where(condition: &str) -> String {
    format!(
        "
    INSERT INTO analysis_results (id, portfolio_id, ticker, analysis_type, strategy, score,
        metadata, recommendation, confidence_level, summary, calculated_at, expires_at, parameters,
        data_quality_score, inputs, stale_until)
    SELECT id, portfolio_id, ticker, analysis_type, strategy, score, metadata, recommendation,
        confidence_level, summary, CASE WHEN calculated_at < now() + ttl OR ttl IS NULL THEN
            COALESCE(calculated_at, now()) ELSE now() END,
        COALESCE(expires_at, now() + ttl), parameters, data_quality_score, inputs,
        COALESCE(expires_at, now() + ttl) + stale_for
    FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::NUMERIC[],
        $7::JSONB[], $8::TEXT[], $9::NUMERIC[], $10::TEXT[], $11::TIMESTAMPTZ[],
        $12::TIMESTAMPTZ[], $13::INTERVAL[], $14::JSONB[], $15::NUMERIC[], $16::JSONB[],
        $17::INTERVAL[])
        WITH ORDINALITY AS n (id, portfolio_id, ticker, analysis_type, strategy, score, metadata,
        recommendation, confidence_level, summary, calculated_at, expires_at, ttl, parameters,
        data_quality_score, inputs, stale_for, place)
    {condition}
    ORDER BY place
    RETURNING *"
    )
}

static INSERT: LazyLock<String> = LazyLock::new(|| insert_where(""));

/// Without the rows that the trigger would refuse: its error would end a transaction.
static INSERT_LATER: LazyLock<String> = LazyLock::new(|| {
    insert_where("WHERE expires_at IS NULL OR expires_at > COALESCE(calculated_at, now())")
});

pub(super) async fn create(session: &Session, analysis: &NewAnalysis) -> Result<AnalysisResult> {
    let stored = session.replace_optional(inserting(&INSERT_LATER, &[analysis])).await?;
    let stored = stored.ok_or_else(NewAnalysis::expires_too_early)?;
    let key = analysis.key();
    Ok(stored.of(|result: &AnalysisResult| ((&key).into(), result.version)).await)
}

pub(super) async fn create_many(
    session: &Session,
    analyses: &[NewAnalysis],
) -> Result<Vec<AnalysisResult>> {
    batch::insert_many_weighed(
        session,
        analyses,
        |analysis| analysis.id,
        NewAnalysis::weight,
        |connection, rows| async move { connection.write_all(insert(&rows)).await }.boxed(),
    )
    .await
}

/// The statement of these results.
pub(crate) fn insert(
    analyses: &[&NewAnalysis],
) -> impl Query<SqlType = Untyped> + QueryFragment<Pg> {
    inserting(&INSERT, analyses)
}

/// As [`insert`], by this statement: one array per column.
fn inserting(
    statement: &str,
    analyses: &[&NewAnalysis],
) -> impl Query<SqlType = Untyped> + QueryFragment<Pg> {
    macro_rules! column {
        ($field:expr) => {
            analyses.iter().map($field).collect::<Vec<_>>()
        };
    }
    diesel::sql_query(statement)
        .bind::<Array<SqlUuid>, _>(column!(|a| a.id))
        .bind::<Array<Nullable<SqlUuid>>, _>(column!(|a| a.portfolio_id))
        .bind::<Array<Text>, _>(column!(|a| &a.ticker))
        .bind::<Array<Text>, _>(column!(|a| a.analysis_type))
        .bind::<Array<Nullable<Text>>, _>(column!(|a| a.strategy.as_deref()))
        .bind::<Array<Nullable<Numeric>>, _>(column!(|a| a.score.as_ref()))
        .bind::<Array<Nullable<Jsonb>>, _>(column!(|a| a.metadata.as_ref()))
        .bind::<Array<Nullable<Text>>, _>(column!(|a| a.recommendation.as_deref()))
        .bind::<Array<Nullable<Numeric>>, _>(column!(|a| a.confidence_level.as_ref()))
        .bind::<Array<Nullable<Text>>, _>(column!(|a| a.summary.as_deref()))
        .bind::<Array<Nullable<Timestamptz>>, _>(column!(|a| a.calculated_at))
        .bind::<Array<Nullable<Timestamptz>>, _>(column!(|a| match a.expiry {
            Expiry::At(time) => Some(time),
            Expiry::Never | Expiry::After(_) => None,
        }))
        .bind::<Array<Nullable<Interval>>, _>(column!(|a| match a.expiry {
            Expiry::After(span) => Some(span::interval(span)),
            Expiry::Never | Expiry::At(_) => None,
        }))
        .bind::<Array<Nullable<Jsonb>>, _>(column!(|a| a.parameters.as_ref()))
        .bind::<Array<Nullable<Numeric>>, _>(column!(|a| a.data_quality_score.as_ref()))
        .bind::<Array<Nullable<Jsonb>>, _>(column!(|a| a.inputs.as_ref()))
        .bind::<Array<Nullable<Interval>>, _>(column!(|a| {
            (!a.stale_for.is_zero()).then(|| span::interval(a.stale_for))
        }))
}
