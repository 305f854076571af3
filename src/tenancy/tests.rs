//! The list of tables against what else there is of them: rights, the doctor's trials, the database.

use std::collections::BTreeSet;

use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Text};

use super::owned::{KEPT, OWNED};
use super::{rights, triggers};
use crate::store::tables::{Rows, TABLES};
use crate::testing::TestDatabase;

fn named(rows: Rows) -> BTreeSet<&'static str> {
    TABLES.iter().filter(|table| table.rows == rows).map(|table| table.name).collect()
}

#[test]
fn rights_and_trials_cover_every_table() {
    let all: BTreeSet<_> = TABLES.iter().map(|table| table.name).collect();
    assert_eq!(all.len(), TABLES.len());
    let with_rights: BTreeSet<_> = rights::TABLES.iter().map(|rights| rights.name).collect();
    let expected = all.iter().copied().chain(["__diesel_schema_migrations"]).collect();
    assert_eq!(with_rights, expected);
    assert_eq!(BTreeSet::from(OWNED.each_ref().map(|table| table.name)), named(Rows::Owned));
    let tried: BTreeSet<_> = KEPT.iter().map(|table| table.name).collect();
    assert!(named(Rows::Kept).is_subset(&tried), "{tried:?}");
}

#[derive(QueryableByName, Debug, PartialEq)]
struct Stored {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    is_bound: bool,
    #[diesel(sql_type = Array<Text>)]
    cascades: Vec<String>,
}

#[tokio::test]
async fn the_database_has_the_tables_with_their_triggers_policies_and_cascades() {
    const TABLES_OF_SCHEMA: &str = "
        SELECT c.relname::text AS name,
            EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) AS is_bound,
            ARRAY(SELECT k.conrelid::regclass::text FROM pg_constraint k
                WHERE k.confrelid = c.oid AND k.confdeltype = 'c' ORDER BY 1) AS cascades
        FROM pg_class c
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relnamespace = to_regnamespace('public') AND c.relname <> '__diesel_schema_migrations'
        ORDER BY c.relname";
    let db = TestDatabase::new().await.expect("a database");
    let connection = db.connection().await.expect("a connection");
    let stored: Vec<Stored> =
        connection.fetch_all(diesel::sql_query(TABLES_OF_SCHEMA)).await.expect("the catalog");
    let mut listed = TABLES;
    listed.sort_by_key(|table| table.name);
    let expected = listed.map(|table| {
        let mut cascades: Vec<String> =
            table.cascades.iter().map(|table| table.name.into()).collect();
        cascades.sort();
        // Consumers are for programs without a user: a policy keeps users from them.
        let is_bound = table.rows == Rows::Owned || table.name == "event_consumers";
        Stored { name: table.name.into(), is_bound, cascades }
    });
    assert_eq!(stored, expected);
    let written = triggers::written(db.pool()).await.expect("the catalog");
    let written = written.into_iter().filter(|table| table.name != "__diesel_schema_migrations");
    // The function that writes the audit log writes the events of positions, too; a portfolio that is deleted takes results along.
    const MORE: [(&str, bool, bool); 2] = [("users", true, false), ("portfolios", true, true)];
    let expected = listed.map(|table| {
        let mut written = triggers::Written::expected(table);
        if let Some((_, events, cached)) = MORE.iter().find(|(name, ..)| *name == table.name) {
            (written.events, written.cached) = (*events, *cached);
        }
        written
    });
    assert_eq!(written.collect::<Vec<_>>(), expected);

    connection.batch("ALTER TABLE positions DISABLE TRIGGER USER").await.expect("disabled");
    let findings = triggers::missing(db.pool()).await.expect("the catalog");
    let found: Vec<_> = findings.iter().map(|finding| (&*finding.what, &*finding.object)).collect();
    assert_eq!(found, [("triggers", "positions"); 2], "events and audit: {findings:?}");
}
