//! Where results came from.

use diesel::prelude::QueryableByName;
use diesel::sql_types::{Jsonb, Uuid as SqlUuid};

use crate::analyses::lineage::Lineage;
use crate::error::Result;
use crate::store::Session;
use crate::types::{AnalysisId, Document};

/// One statement, so that all of it is of one moment.
const LINEAGE: &str = "
    SELECT jsonb_build_object(
        'calculated_at', a.calculated_at,
        'is_recorded', a.inputs IS NOT NULL,
        'documents', COALESCE((
            SELECT jsonb_agg(jsonb_build_object('input', item, 'current_revision', c.revision,
                'data_source', c.data_source, 'cached_at', c.cached_at) ORDER BY n)
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
                    FROM (SELECT data_source, count(*) AS bars, min(date) AS first, max(date) AS last
                        FROM price_history WHERE ticker = item->>'ticker'
                        GROUP BY data_source) source), '[]')) ORDER BY n)
            FROM unnest(ARRAY(SELECT jsonb_path_query(a.inputs, '$.bars[*]')))
                WITH ORDINALITY AS recorded (item, n)), '[]')
    ) AS lineage
    FROM analysis_results a WHERE a.id = $1";

#[derive(QueryableByName)]
struct LineageRow {
    #[diesel(sql_type = Jsonb)]
    lineage: Document,
}

pub(super) async fn of(session: &Session, id: AnalysisId) -> Result<Option<Lineage>> {
    let statement = diesel::sql_query(LINEAGE).bind::<SqlUuid, _>(id);
    let row: Option<LineageRow> = session.fetch_optional(statement).await?;
    row.map(|row| row.lineage.decode_column("analysis_results", "inputs")).transpose()
}
