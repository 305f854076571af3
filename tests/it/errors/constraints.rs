//! The constants of constraints are those of a migrated database.

use std::collections::BTreeSet;

use buffetbot_db::error::constraints;
use buffetbot_db::testing::TestDatabase;

use crate::catalog::connect;

/// Tables in which triggers and this crate keep account: no row of a caller's is refused for a key of theirs.
const BOOKKEEPING: [&str; 10] = [
    "__diesel_schema_migrations",
    "archived_price_years",
    "audit_log",
    "cache_changes",
    "cache_leases",
    "event_consumers",
    "events",
    "knowledge_points",
    "price_revisions",
    "swept_history",
];

/// An index whose refusal is told by the name of another.
const TOLD_AS: (&str, &str) = ("users_email_lower_key", constraints::USERS_EMAIL);

#[tokio::test]
async fn each_key_that_a_caller_can_meet_has_a_constant_and_each_constant_is_a_key() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let keys = "
        SELECT c.relname::text FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
        WHERE i.indisunique AND t.relnamespace = 'public'::regnamespace AND NOT t.relname = ANY ($1)
        UNION ALL
        SELECT k.conname::text FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
        WHERE k.contype IN ('f', 'x') AND t.relnamespace = 'public'::regnamespace AND NOT t.relname = ANY ($1)";
    let rows = client.query(keys, &[&&BOOKKEEPING[..]]).await.expect("catalog query");
    let mut found: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let (index, name) = TOLD_AS;
    assert!(found.remove(index) && found.contains(name));
    let constants: BTreeSet<String> = constraints::ALL.iter().map(|&name| name.into()).collect();
    assert_eq!(constants, found, "constants, and keys found");
    let tables = "SELECT count(*) FROM pg_class
        WHERE relname = ANY ($1) AND relnamespace = 'public'::regnamespace";
    let count: i64 = client.query_one(tables, &[&&BOOKKEEPING[..]]).await.expect("tables").get(0);
    assert_eq!(count as usize, BOOKKEEPING.len(), "each exists");
}
