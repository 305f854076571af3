//! Rows that cannot be read as what their columns promise.

use diesel::QueryableByName;
use diesel::sql_types::{Array, Text};

use super::doctor::{Finding, Severity};
use crate::error::{Error, Result};
use crate::postgres::Pool;
use crate::store::{Session, Source, tables};

/// Rows that a finding names.
const NAMED: usize = 10;

/// Of each table what to look for: what its columns must not hold, and what its checks refuse; nothing of that for which a
/// check vouches that is validated.
const CONDITIONS: &str = r#"
    WITH tables AS (
        SELECT c.oid, c.relname FROM pg_class c
        WHERE c.relname = ANY ($1) AND c.relkind IN ('r', 'p')
            AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('users'))
    ), bad AS (
        SELECT t.oid, t.relname, a.attnum, rule.named, format(rule.offends, a.attname) AS condition
        FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN (VALUES
            ('timestamptz'::regtype, NULL, '%_times_readable',
                'NOT (%1$I > ''-infinity'' AND %1$I < ''262143-01-01 00:00:00Z'')'),
            ('numeric', NULL, '%_not_nan', '%1$I = ''NaN'''),
            ('varchar', 'ticker', '%_ticker_upper_case', '%1$I <> upper(%1$I COLLATE "C")'),
            ('varchar', 'ticker', '%_ticker_readable', '%1$I COLLATE "C" !~ ''^[!-~]([ -~]*[!-~])?$'''),
            ('varchar', 'data_type', '%_data_type_readable', 'NOT is_line(%1$I)'),
            ('text[]', 'tags', '%_tags_readable', 'NOT are_lines(%1$I, 100)'),
            ('text', 'preferences', '%_preferences_json', 'NOT is_json(%1$I)')
        ) AS rule (type, column_name, named, offends)
            ON a.atttypid = rule.type AND COALESCE(rule.column_name = a.attname, true)
    )
    SELECT oid::regclass::text AS name, relname::text AS object, string_agg(condition, ' OR ') AS condition
    FROM (
        SELECT oid, relname, condition FROM bad
        WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = bad.oid AND c.contype = 'c'
            AND c.convalidated AND bad.attnum = ANY (c.conkey) AND c.conname LIKE bad.named)
        UNION ALL
        SELECT t.oid, t.relname, format('NOT (%s)', pg_get_expr(c.conbin, c.conrelid))
        FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype = 'c' AND NOT c.convalidated
    ) looked_for
    GROUP BY oid, relname ORDER BY relname"#;

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    object: String,
    #[diesel(sql_type = Text)]
    condition: String,
}

#[derive(QueryableByName)]
struct Offending {
    #[diesel(sql_type = Text)]
    id: String,
}

/// A finding for each table that has such rows, and for each that could not be looked through.
///
/// # Errors
/// Those of a query of the catalog.
pub(super) async fn looked_for(pool: &Pool) -> Result<Vec<Finding>> {
    let models = tables::TABLES.iter().filter(|table| table.models).map(|table| table.name);
    let query = diesel::sql_query(CONDITIONS).bind::<Array<Text>, _>(models.collect::<Vec<_>>());
    let tables: Vec<Table> = pool.checkout().await?.fetch_all(query).await?;
    let mut findings = Vec::new();
    for table in tables {
        match offending(pool, &table).await {
            Ok(ids) if ids.is_empty() => {}
            Ok(ids) => findings.push(found(&table.object, &ids)),
            Err(error) => {
                // Reading the rows reports a login that may not.
                let severity = match error {
                    Error::Denied { .. } => Severity::Note,
                    _ => Severity::Warning,
                };
                let message = format!("could not look for rows that cannot be read: {error}");
                findings.push(Finding::new(severity, "rows", table.object, message));
            }
        }
    }
    Ok(findings)
}

fn found(table: &str, ids: &[String]) -> Finding {
    let named = ids[..ids.len().min(NAMED)].join(", ");
    let more = if ids.len() > NAMED { " and others" } else { "" };
    let message = format!(
        "rows that cannot be read or found, which another program wrote: {named}{more}. A lookup by id says which column; \
         mend or delete them, then validate the table's checks (ALTER TABLE {table} VALIDATE CONSTRAINT ...)"
    );
    Finding::new(Severity::Warning, "rows", table, message)
}

/// One row more than a finding names, at most; in a transaction that nobody waits for.
async fn offending(pool: &Pool, table: &Table) -> Result<Vec<String>> {
    let Table { name, condition, .. } = table;
    let statement = format!(
        "SELECT id::text AS id FROM {name} WHERE {condition} LIMIT {limit}",
        limit = NAMED + 1
    );
    let session = Session::new(Source::Pool(pool.clone(), None), &tables::USERS);
    let reading = session.atomic().await?;
    reading
        .batch("SET TRANSACTION READ ONLY; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s'")
        .await?;
    let rows: Vec<Offending> = reading.fetch_all(diesel::sql_query(statement)).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
