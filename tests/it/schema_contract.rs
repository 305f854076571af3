//! The migrated schema against the specification, rule by rule, and `schema.rs` against both.

mod deviations;
mod generated;
mod refused;

use std::collections::BTreeSet;

use buffetbot_db::testing::TestDatabase;
use tokio_postgres::{Client, error::SqlState};

use crate::catalog::{connect, difference, facts};
use crate::rows::{self, LATER_ROWS, ROWS};
use deviations::deviations;
use refused::{ALLOWED, CHECKS, FOREIGN_KEYS, KEYS, Refused};

const SPECIFICATION: &str = include_str!("schema_contract/specification.sql");

/// What the specification's own SQL makes of an empty database.
async fn specified() -> BTreeSet<String> {
    let db = TestDatabase::empty().await.expect("an empty database");
    let client = connect(&db).await;
    client.batch_execute(SPECIFICATION).await.expect("the specification's SQL");
    facts(&client).await
}

fn apply(schema: &mut BTreeSet<String>, deviation: &deviations::Deviation) {
    let name = deviation.migration;
    for line in deviation.removes {
        assert!(schema.remove(*line), "{name} is listed to remove what is not there: {line}");
    }
    for line in deviation.adds {
        assert!(schema.insert((*line).to_owned()), "{name} is listed to add what is there: {line}");
    }
}

#[tokio::test]
async fn the_first_migrations_make_the_specification_and_each_later_one_its_listed_change() {
    let mut expected = specified().await;
    let mut stages = vec![expected.clone()];
    let deviations = deviations();
    for deviation in &deviations {
        apply(&mut expected, deviation);
        stages.push(expected.clone());
    }

    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let last = stages.len() - 1;
    for (stage, expected) in stages.iter().enumerate().rev() {
        let wrong = difference(expected, &facts(&client).await);
        let after = if stage == 0 { "the first seven" } else { deviations[stage - 1].migration };
        assert!(wrong.is_empty(), "after {after} ({stage} of {last}):\n{wrong}");
        if stage > 0 {
            let undone = db.rollback(1).await.expect("rollback");
            assert!(
                undone.len() == 1 && undone[0].ends_with(after),
                "{undone:?} instead of {after}"
            );
        }
    }
}

#[tokio::test]
async fn every_table_column_index_sequence_and_function_says_what_it_is_for() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let silent = connect(&db)
        .await
        .query(
            "SELECT c.relname || COALESCE('.' || a.attname, '')
             FROM pg_class c
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                 AND NOT a.attisdropped AND c.relkind = 'r'
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i', 'S')
                 AND c.relname NOT LIKE '\\_\\_diesel%'
                 AND (col_description(c.oid, a.attnum) IS NULL AND a.attnum IS NOT NULL
                     OR obj_description(c.oid, 'pg_class') IS NULL)
             UNION ALL
             SELECT proname FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL",
            &[],
        )
        .await
        .expect("catalog query");
    let silent: Vec<String> = silent.iter().map(|row| row.get(0)).collect();
    assert!(silent.is_empty(), "without a comment: {silent:?}");
}

#[tokio::test]
async fn sample_rows_and_rows_at_the_edge_are_stored() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let mut client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    client.batch_execute(&rows::insert_later()).await.expect("the other sample rows");
    for (table, changes) in ALLOWED {
        let tx = client.transaction().await.expect("begin");
        tx.batch_execute(&format!("DELETE FROM {table}")).await.expect("room for the row");
        let stored = tx.execute(&rows::insert(table, changes), &[]).await;
        assert!(stored.is_ok(), "{table} {changes:?}: {stored:?}");
    }
}

#[tokio::test]
async fn each_check_refuses_a_bad_row() {
    let (_db, mut client) = filled().await;
    let checks = names(&client, "contype = 'c'").await;
    assert_complete("checks", CHECKS, &checks);
    for refused in CHECKS {
        let (check, table, _) = refused;
        // Alone: another check must not stand in for a missing one.
        let others: String = checks
            .iter()
            .filter(|(name, of)| of == table && name != check)
            .map(|(name, _)| format!("ALTER TABLE {table} DROP CONSTRAINT {name};"))
            .collect();
        let clear = format!("DELETE FROM {table};{others}");
        assert_refused(&mut client, &clear, refused, &SqlState::CHECK_VIOLATION).await;
    }
}

#[tokio::test]
async fn each_key_refuses_a_second_row() {
    let (_db, mut client) = filled().await;
    let keys = client
        .query(
            "SELECT i.relname, t.relname FROM pg_index x
             JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
             WHERE x.indisunique AND t.relnamespace = 'public'::regnamespace
                 AND t.relname NOT LIKE '\\_\\_diesel%'",
            &[],
        )
        .await
        .expect("catalog query");
    let keys = keys.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_complete("unique keys", KEYS, &keys);
    for refused in KEYS {
        assert_refused(&mut client, "", refused, &SqlState::UNIQUE_VIOLATION).await;
    }
}

#[tokio::test]
async fn each_foreign_key_refuses_an_orphan_and_deletes_with_its_parent() {
    let (_db, mut client) = filled().await;
    assert_complete("foreign keys", FOREIGN_KEYS, &names(&client, "contype = 'f'").await);
    for refused in FOREIGN_KEYS {
        let clear = format!("DELETE FROM {}", refused.1);
        assert_refused(&mut client, &clear, refused, &SqlState::FOREIGN_KEY_VIOLATION).await;
    }

    client.batch_execute("DELETE FROM users").await.expect("delete");
    for (table, left) in [
        ("portfolios", 0),
        ("positions", 0),
        ("analysis_results", 0),
        ("market_data_cache", 1),
        ("price_history", 1),
        ("options_data", 1),
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        let found: i64 = client.query_one(&count, &[]).await.expect("count").get(0);
        assert_eq!(found, left, "rows of {table} after the user is deleted");
    }
}

#[tokio::test]
async fn each_required_column_refuses_null() {
    let (_db, mut client) = filled().await;
    for (table, column) in columns(&client, "a.attnotnull AND a.attgenerated = ''").await {
        // A trigger gives these, whatever the row says.
        let is_given = ["version", "revision"].contains(&&*column) && table != "cache_changes";
        if is_given {
            continue;
        }
        let tx = client.transaction().await.expect("begin");
        let insert = rows::insert(&table, &[(&column, "NULL")]);
        let error = tx.execute(&insert, &[]).await.expect_err(&insert);
        assert_eq!(error.code(), Some(&SqlState::NOT_NULL_VIOLATION), "{insert}");
    }
}

#[tokio::test]
async fn no_numeric_column_holds_nan_or_infinity() {
    let (_db, mut client) = filled().await;
    let numeric = columns(&client, "a.atttypid = 'numeric'::regtype").await;
    assert!(!numeric.is_empty());
    for (table, column) in numeric {
        for (value, code) in [
            ("NaN", SqlState::CHECK_VIOLATION),
            ("Infinity", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
            ("-Infinity", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        ] {
            let tx = client.transaction().await.expect("begin");
            let update = format!("UPDATE {table} SET {column} = '{value}'");
            let error = tx.execute(&update, &[]).await.expect_err(&update);
            assert_eq!(error.code(), Some(&code), "{update}");
        }
    }
}

/// A migrated database which holds the sample row of each table.
async fn filled() -> (TestDatabase, Client) {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    client.batch_execute(&rows::insert_later()).await.expect("the other sample rows");
    // The audit log refuses to make room otherwise.
    let shrinks = "SET buffetbot.audit_log = 'may shrink'";
    client.batch_execute(shrinks).await.expect("the setting");
    let tables: BTreeSet<String> =
        columns(&client, "TRUE").await.into_iter().map(|(table, _)| table).collect();
    let sampled = ROWS.iter().chain(LATER_ROWS).map(|(table, _)| (*table).to_owned()).collect();
    assert_eq!(tables, sampled, "each table has a sample row");
    (db, client)
}

/// Stores the sample row of a table with its changes, after `clear`, and expects the rule's refusal.
async fn assert_refused(client: &mut Client, clear: &str, refused: &Refused, code: &SqlState) {
    let (rule, table, changes) = refused;
    let tx = client.transaction().await.expect("begin");
    tx.batch_execute(clear).await.expect(clear);
    let insert = rows::insert(table, changes);
    let error = tx.execute(&insert, &[]).await.expect_err(&insert);
    let error = error.as_db_error().expect("an answer of the server");
    assert_eq!((error.code(), error.constraint()), (code, Some(*rule)), "{insert}");
}

/// Fails if a rule has no row that breaks it, or a row no rule.
fn assert_complete(what: &str, tried: &[Refused], found: &BTreeSet<(String, String)>) {
    let tried: BTreeSet<(String, String)> =
        tried.iter().map(|(rule, table, _)| ((*rule).to_owned(), (*table).to_owned())).collect();
    assert_eq!(&tried, found, "{what} tried and {what} found");
}

/// Names and tables of the constraints that a condition selects.
async fn names(client: &Client, condition: &str) -> BTreeSet<(String, String)> {
    let query = format!(
        "SELECT k.conname, t.relname FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
         WHERE t.relnamespace = 'public'::regnamespace AND {condition}"
    );
    let rows = client.query(&query, &[]).await.expect("catalog query");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Table and name of the columns that a condition selects.
async fn columns(client: &Client, condition: &str) -> Vec<(String, String)> {
    let query = format!(
        "SELECT t.relname, a.attname FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
         WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' AND a.attnum > 0
             AND NOT a.attisdropped AND t.relname NOT LIKE '\\_\\_diesel%' AND {condition}
         ORDER BY t.relname, a.attnum"
    );
    let rows = client.query(&query, &[]).await.expect("catalog query");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
