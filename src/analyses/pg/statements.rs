//! Statements that Diesel's query builder cannot express, and the rows that they return.

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Array, BigInt, Jsonb, Text};

use crate::analyses::key::AnalysisSummary;
use crate::analyses::result::AnalysisResult;
use crate::error::Result;
use crate::store::Session;
use crate::types::{AnalysisType, Document, Listed, Ticker};

/// The latest fresh public result of each ticker ($1) and a type ($2).
fn latest_fresh_many_where(parameters: &str) -> String {
    format!(
        "
    SELECT wanted.place, latest.*
    FROM unnest($1::TEXT[]) WITH ORDINALITY AS wanted (ticker, place)
    CROSS JOIN LATERAL (
        SELECT a.* FROM analysis_results a
        WHERE a.ticker = wanted.ticker AND a.analysis_type = $2 AND a.portfolio_id IS NULL
            AND (a.expires_at IS NULL OR a.expires_at > now()) AND {parameters}
        ORDER BY a.calculated_at DESC, a.id DESC LIMIT 1
    ) AS latest"
    )
}

#[derive(QueryableByName)]
struct Numbered {
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(embed)]
    analysis: AnalysisResult,
}

/// As `AnalysisRepository::latest_fresh_many`.
pub(super) async fn latest_fresh_many(
    session: &Session,
    tickers: &[Ticker],
    analysis_type: AnalysisType,
    parameters: Option<&Document>,
) -> Result<Listed<Option<AnalysisResult>>> {
    if tickers.is_empty() {
        return Ok(Listed::default());
    }
    let with_type = |parameters| {
        let statement =
            diesel::sql_query(latest_fresh_many_where(parameters)).bind::<Array<Text>, _>(tickers);
        statement.bind::<Text, _>(analysis_type)
    };
    let rows: Listed<Numbered> = match parameters {
        Some(parameters) => {
            let statement = with_type("a.parameters = $3").bind::<Jsonb, _>(parameters);
            session.fetch_list(statement).await?
        }
        None => session.fetch_list(with_type("a.parameters IS NULL")).await?,
    };
    Ok(rows.map(|rows| {
        let mut found = vec![None; tickers.len()];
        for row in rows {
            // WITH ORDINALITY counts from 1.
            if let Some(slot) = usize::try_from(row.place - 1).ok().and_then(|i| found.get_mut(i)) {
                *slot = Some(row.analysis);
            }
        }
        found
    }))
}

pub(super) type SummaryRow = (
    AnalysisType,
    i64,
    i64,
    Option<BigDecimal>,
    Option<BigDecimal>,
    Option<BigDecimal>,
    DateTime<Utc>,
    DateTime<Utc>,
);

pub(super) fn summed(row: SummaryRow) -> AnalysisSummary {
    let (analysis_type, count, fresh, score, confidence, quality, first, last) = row;
    AnalysisSummary {
        analysis_type,
        count: count.unsigned_abs(),
        fresh: fresh.unsigned_abs(),
        average_score: score,
        average_confidence: confidence,
        average_quality: quality,
        first_calculated_at: first,
        last_calculated_at: last,
    }
}
