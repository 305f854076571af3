//! Where results came from.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Jsonb, Timestamptz, Uuid as SqlUuid};
use serde::Deserialize;

use crate::analyses::inputs::DocumentRevision;
use crate::analyses::lineage::{BarsLineage, BarsSource, DocumentLineage, Lineage};
use crate::error::{Result, Unreadable};
use crate::prices::BarsDigest;
use crate::store::Session;
use crate::types::{AnalysisId, BarId, CacheEntryId, Document};

/// Times that a program can read, as the tables' checks have it.
fn is_readable(time: &str) -> String {
    format!("({time} > '-infinity' AND {time} < '262143-01-01 00:00:00Z')")
}

/// One statement, so that it reads one consistent snapshot. A time that cannot be read is left out, and its row named; of a
/// provider's bars one.
static LINEAGE: LazyLock<String> = LazyLock::new(|| {
    let (cached_at, date) = (is_readable("c.cached_at"), is_readable("date"));
    format!(
    "
    SELECT a.id, a.calculated_at, jsonb_build_object(
        'is_recorded', a.inputs IS NOT NULL,
        'documents', COALESCE((
            SELECT jsonb_agg(jsonb_build_object('input', item, 'id', c.id, 'current_revision', c.revision,
                'data_source', c.data_source,
                'cached_at', CASE WHEN {cached_at} THEN c.cached_at END) ORDER BY n)
            FROM unnest(ARRAY(SELECT jsonb_path_query(a.inputs, '$.documents[*]')))
                WITH ORDINALITY AS recorded (item, n)
            LEFT JOIN market_data_cache c
                ON c.ticker = item->>'ticker' AND c.data_type = item->>'data_type'
                AND c.parameters_key = cache_parameters_key(item->'parameters')
                AND c.parameters IS NOT DISTINCT FROM item->'parameters'), '[]'),
        'bars', COALESCE((
            SELECT jsonb_agg(jsonb_build_object('input', item,
                'current_digest', bars_digest(item->>'ticker'),
                'replaced_since', (
                    SELECT count(*) FROM price_revisions r
                    WHERE r.ticker = item->>'ticker' AND r.replaced_at > a.calculated_at),
                'sources', COALESCE((
                    SELECT jsonb_agg(to_jsonb(source) ORDER BY data_source)
                    FROM (SELECT data_source, count(*) FILTER (WHERE {date}) AS bars,
                            min(date) FILTER (WHERE {date}) AS first,
                            max(date) FILTER (WHERE {date}) AS last,
                            min(id::text) FILTER (WHERE NOT {date}) AS unreadable
                        FROM price_history WHERE ticker = item->>'ticker'
                        GROUP BY data_source) source), '[]')) ORDER BY n)
            FROM unnest(ARRAY(SELECT jsonb_path_query(a.inputs, '$.bars[*]')))
                WITH ORDINALITY AS recorded (item, n)), '[]')
    ) AS lineage
    FROM analysis_results a WHERE a.id = $1"
    )
});

#[derive(QueryableByName)]
struct LineageRow {
    #[diesel(sql_type = SqlUuid)]
    id: AnalysisId,
    #[diesel(sql_type = Timestamptz)]
    calculated_at: DateTime<Utc>,
    #[diesel(sql_type = Jsonb)]
    lineage: Document,
}

#[derive(Deserialize)]
struct Recorded {
    is_recorded: bool,
    documents: Vec<RecordedDocument>,
    bars: Vec<RecordedBars>,
}

#[derive(Deserialize)]
struct RecordedDocument {
    input: DocumentRevision,
    id: Option<CacheEntryId>,
    current_revision: Option<i64>,
    data_source: Option<String>,
    cached_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct RecordedBars {
    input: BarsDigest,
    current_digest: i64,
    replaced_since: u64,
    sources: Vec<RecordedSource>,
}

#[derive(Deserialize)]
struct RecordedSource {
    data_source: Option<String>,
    bars: u64,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    /// A bar whose date cannot be read.
    unreadable: Option<BarId>,
}

impl RecordedDocument {
    fn read(self, unreadable: &mut Vec<Unreadable>) -> DocumentLineage {
        if let (Some(id), None) = (self.id, self.cached_at) {
            unreadable.push(unreadable_time("market_data_cache", id.to_string(), "cached_at"));
        }
        DocumentLineage {
            input: self.input,
            current_revision: self.current_revision,
            data_source: self.data_source,
            cached_at: self.cached_at,
        }
    }
}

impl RecordedBars {
    fn read(self, unreadable: &mut Vec<Unreadable>) -> BarsLineage {
        let source = |source: RecordedSource| {
            if let Some(id) = source.unreadable {
                unreadable.push(unreadable_time("price_history", id.to_string(), "date"));
            }
            // There are no days without a readable bar.
            let (first, last) = source.first.zip(source.last)?;
            Some(BarsSource { data_source: source.data_source, bars: source.bars, first, last })
        };
        BarsLineage {
            input: self.input,
            current_digest: self.current_digest,
            replaced_since: self.replaced_since,
            sources: self.sources.into_iter().filter_map(source).collect(),
        }
    }
}

fn unreadable_time(table: &str, key: String, column: &str) -> Unreadable {
    let reason = "cannot be decoded".into();
    Unreadable { table: table.into(), key, column: column.into(), reason }
}

pub(super) async fn of(session: &Session, id: AnalysisId) -> Result<Option<Lineage>> {
    let statement = diesel::sql_query(&**LINEAGE).bind::<SqlUuid, _>(id);
    let row: Option<LineageRow> = session.fetch_optional(statement).await?;
    let Some(row) = row else { return Ok(None) };
    // All but what was recorded was made by this statement.
    let recorded: Recorded = row.lineage.decode_column("analysis_results", row.id, "inputs")?;
    let mut unreadable = Vec::new();
    let documents = recorded.documents.into_iter().map(|d| d.read(&mut unreadable)).collect();
    let bars = recorded.bars.into_iter().map(|bars| bars.read(&mut unreadable)).collect();
    session.report(unreadable.iter_mut());
    Ok(Some(Lineage {
        calculated_at: row.calculated_at,
        is_recorded: recorded.is_recorded,
        documents,
        bars,
        unreadable,
    }))
}
