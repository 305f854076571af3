//! Whether the triggers are there that write down what changes.

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};

use super::doctor::{Finding, Severity};
use crate::error::Result;
use crate::postgres::Pool;
use crate::store::tables::{Events, TABLES, Table};

/// Of each table whether an enabled trigger writes events, changes of cached rows, and the audit log.
const WRITTEN: &str = "
    SELECT c.relname::text AS name,
        COALESCE(bool_or(f.prosrc ILIKE '%INSERT INTO events%'), false) AS events,
        COALESCE(bool_or(f.prosrc ILIKE '%INSERT INTO cache_changes%'), false) AS cached,
        COALESCE(bool_or(f.prosrc ILIKE '%INSERT INTO audit_log%'), false) AS audited
    FROM pg_class c
    LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
    LEFT JOIN pg_proc f ON f.oid = t.tgfoid
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('users'))
    GROUP BY c.relname ORDER BY c.relname";

#[derive(QueryableByName, Debug, PartialEq, Eq)]
pub(super) struct Written {
    #[diesel(sql_type = Text)]
    pub name: String,
    #[diesel(sql_type = Bool)]
    pub events: bool,
    #[diesel(sql_type = Bool)]
    pub cached: bool,
    #[diesel(sql_type = Bool)]
    pub audited: bool,
}

impl Written {
    /// As the list of tables has it.
    pub fn expected(table: &Table) -> Self {
        Written {
            name: table.name.into(),
            events: table.events != Events::Never,
            cached: table.cached,
            audited: table.audited,
        }
    }
}

/// # Errors
/// Those of a query of the catalog.
pub(super) async fn written(pool: &Pool) -> Result<Vec<Written>> {
    pool.checkout().await?.fetch_all(diesel::sql_query(WRITTEN)).await
}

/// A finding for each table whose changes are not written down.
///
/// # Errors
/// Those of a query of the catalog.
pub(super) async fn missing(pool: &Pool) -> Result<Vec<Finding>> {
    let stored = written(pool).await?;
    let mut findings = Vec::new();
    for table in TABLES {
        let expected = Written::expected(table);
        // A table that is missing is a matter of the migrations.
        let Some(stored) = stored.iter().find(|stored| stored.name == table.name) else { continue };
        for (what, is_expected, is_there) in [
            ("events", expected.events, stored.events),
            ("changes of cached rows", expected.cached, stored.cached),
            ("the audit log", expected.audited, stored.audited),
        ] {
            if is_expected && !is_there {
                let message = format!(
                    "no enabled trigger writes {what}: enable it (ALTER TABLE {} ENABLE TRIGGER ...), or restore it from \
                     the migrations",
                    table.name
                );
                findings.push(Finding::new(Severity::Danger, "triggers", table.name, message));
            }
        }
    }
    Ok(findings)
}
