//! What migrations do to the data below them, and refuse to do.

use std::collections::BTreeMap;

use buffetbot_db::testing::TestDatabase;
use tokio_postgres::Client;

use super::{files, names};
use crate::catalog::connect;
use crate::rows::{self, Changes, ROWS};

/// The specification's tables, one migration each; what follows corrects them.
const TABLES: usize = ROWS.len();

/// Every table's rows as JSON, without the columns that the specification does not have.
async fn contents(client: &Client) -> BTreeMap<&'static str, serde_json::Value> {
    let mut contents = BTreeMap::new();
    for (table, sample) in ROWS {
        // Without trailing zeros, and as text, a number is the same in a column of another scale. The cast
        // is there for the types only: it never runs on a column of another type.
        let columns: Vec<String> = sample
            .iter()
            .map(|(column, _)| {
                format!("'{column}', CASE pg_typeof({column}) WHEN 'numeric'::regtype
                     THEN to_jsonb(trim_scale({column}::text::numeric)::text) ELSE to_jsonb({column}) END")
            })
            .collect();
        let select = format!(
            "SELECT COALESCE(jsonb_agg(jsonb_build_object({}) ORDER BY id), '[]')::text FROM {table}",
            columns.join(", ")
        );
        let text: String = client.query_one(&select, &[]).await.expect(&select).get(0);
        contents.insert(*table, serde_json::from_str(&text).expect("JSON of the server"));
    }
    contents
}

#[tokio::test]
async fn data_that_fits_both_survives_down_and_up_at_every_depth() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    let before = contents(&client).await;
    assert!(before.values().all(|rows| rows.as_array().is_some_and(|rows| rows.len() == 1)));

    let corrections = files().len() - TABLES;
    for depth in 1..=corrections {
        db.rollback(depth).await.expect("rollback");
        assert_eq!(contents(&client).await, before, "after {depth} steps down");
        assert_eq!(db.migrate().await.expect("migrate").len(), depth);
        assert_eq!(contents(&client).await, before, "after {depth} steps down and up");
    }
}

#[tokio::test]
async fn versions_made_again_repeat_none_that_was_given() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    let latest = "SELECT GREATEST(m.version, m.revision, a.version)
                  FROM market_data_cache m, analysis_results a";
    let before: i64 = client.query_one(latest, &[]).await.expect("versions").get(0);
    let migrations = files();
    let undo = migrations.iter().position(|m| m.name == "add_cache_versions").expect("a migration");
    db.rollback(migrations.len() - undo).await.expect("rollback");
    db.migrate().await.expect("migrate");
    let earliest = latest.replace("GREATEST", "LEAST");
    let after: i64 = client.query_one(&earliest, &[]).await.expect("versions").get(0);
    assert!(after > before, "{after} after {before}");
}

/// Stores a row that a later check refuses, such as blanks at the end of a ticker: the check of the readable ticker is as if it
/// had been made above the row.
async fn store_as_before_a_check(
    client: &Client,
    table: &str,
    insert: &str,
) -> Result<(), tokio_postgres::Error> {
    let name = format!("{table}_ticker_readable");
    let definition = format!(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{name}'
         AND conrelid = '{table}'::regclass"
    );
    let Some(row) = client.query_opt(&definition, &[]).await? else {
        return client.batch_execute(insert).await;
    };
    let definition: String = row.get(0);
    let definition = definition.trim_end_matches(" NOT VALID");
    client
        .batch_execute(&format!(
            "ALTER TABLE {table} DROP CONSTRAINT {name}; {insert};
             ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID"
        ))
        .await
}

/// Data that only the corrected tables hold, and the migration that must not be undone above it.
#[rustfmt::skip] // One row a line; blanks at the end of a ticker would be cut without a word.
const TOO_WIDE: &[(&str, &str, &Changes)] = &[
    ("widen_tickers", "positions", &[("ticker", "'RELIANCE.NS'")]),
    ("widen_tickers", "analysis_results", &[("ticker", "'RELIANCE.NS'")]),
    ("widen_tickers", "market_data_cache", &[("ticker", "'RELIANCE.NS'")]),
    ("widen_tickers", "price_history", &[("ticker", "'RELIANCE.NS'")]),
    ("widen_tickers", "options_data", &[("ticker", "'RELIANCE.NS'")]),
    ("widen_tickers", "price_history", &[("ticker", "'AAPL          '")]),
    ("widen_prices", "positions", &[("shares", "0.12345678")]),
    ("widen_prices", "positions", &[("average_cost", "0.00001")]),
    ("widen_prices", "price_history", &[("open_price", "187.12345")]),
    ("widen_prices", "price_history", &[("high_price", "188.12345")]),
    ("widen_prices", "price_history", &[("low_price", "185.12345")]),
    ("widen_prices", "price_history", &[("close_price", "187.12345")]),
    ("widen_prices", "price_history", &[("adjusted_close", "187.12345")]),
    ("widen_prices", "price_history", &[("high_price", "100000000")]),
    ("widen_prices", "options_data", &[("strike_price", "0.00001")]),
    ("widen_prices", "options_data", &[("last_price", "0.00001")]),
    ("widen_prices", "options_data", &[("bid", "0.00001")]),
    ("widen_prices", "options_data", &[("ask", "0.00001"), ("last_price", "NULL")]),
    ("widen_greeks", "options_data", &[("delta", "0.12345")]),
    ("widen_greeks", "options_data", &[("implied_volatility", "0.12345"), ("delta", "NULL")]),
    ("widen_greeks", "options_data", &[("implied_volatility", "100")]),
    ("widen_greeks", "options_data", &[("gamma", "100")]),
    ("widen_greeks", "options_data", &[("theta", "-150")]),
    ("widen_greeks", "options_data", &[("vega", "120.5")]),
    ("widen_counts", "price_history", &[("volume", "2147483648")]),
    ("widen_counts", "options_data", &[("volume", "2147483648")]),
    ("widen_counts", "options_data", &[("open_interest", "2147483648")]),
    ("hash_cache_parameters", "market_data_cache", &[("parameters", "(SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 2000) i)")]),
    ("flag_suspect_bars", "price_history", &[("is_suspect", "TRUE")]),
    ("flag_suspect_bars", "price_history", &[("is_suspect", "TRUE"), ("high_price", "NULL")]),
    ("add_analysis_inputs", "analysis_results", &[("inputs", r#"'{"fundamentals": 7}'"#)]),
];

#[tokio::test]
async fn rollback_refuses_to_lose_what_does_not_fit_below() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let migrations = files();
    for (stopper, table, changes) in TOO_WIDE {
        let case = format!("{stopper} over {table} {changes:?}");
        let position = migrations.iter().position(|m| m.name == *stopper).expect(stopper);
        for sql in rows::ROWS.iter().take_while(|(name, _)| name != table) {
            client.batch_execute(&rows::insert(sql.0, &[])).await.expect("a parent");
        }
        store_as_before_a_check(&client, table, &rows::insert(table, changes))
            .await
            .unwrap_or_else(|e| panic!("{case}: {e:?}"));
        let before = contents(&client).await;

        let refused = db.rollback(migrations.len() - position).await;
        let said = refused.expect_err(&case).to_string();
        assert!(said.contains(stopper), "{case}: {said}");
        assert!(db.pending().await.expect("pending").is_empty(), "{case}: nothing is undone");
        assert_eq!(contents(&client).await, before, "{case}");
        db.rollback(migrations.len() - position - 1)
            .await
            .unwrap_or_else(|e| panic!("{case}: {e}"));
        db.migrate().await.unwrap_or_else(|e| panic!("{case}: up again: {e}"));
        assert_eq!(contents(&client).await, before, "{case}: down to it and up again");

        for (table, _) in ROWS {
            client.batch_execute(&format!("DELETE FROM {table}")).await.expect("delete");
        }
        // What the deleted bar was is kept, and would not let itself be lost either.
        let empty = "ALTER TABLE price_revisions DISABLE TRIGGER price_revisions_refuse_truncate;
            TRUNCATE price_revisions;
            ALTER TABLE price_revisions ENABLE TRIGGER price_revisions_refuse_truncate";
        client.batch_execute(empty).await.expect("truncate");
    }
}

/// A database at the specification's own tables, to be filled as only they allow.
async fn specified() -> (TestDatabase, Client) {
    let db = TestDatabase::new().await.expect("a migrated database");
    db.rollback(files().len() - TABLES).await.expect("rollback");
    let client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    (db, client)
}

const OTHER_ID: (&str, &str) = ("id", "'00000000-0000-4000-8000-0000000000ff'");

#[tokio::test]
async fn migrating_keeps_the_newest_of_cache_entries_stored_twice() {
    let (db, client) = specified().await;
    for (id, cached_at, source) in
        [(1, "2024-01-02", "old"), (2, "2024-01-04", "new"), (3, "2024-01-03", "middle")]
    {
        let (id, cached_at) =
            (format!("00000000-0000-4000-8000-00000000000{id}"), cached_at.to_owned());
        client
            .batch_execute(&format!(
                "INSERT INTO market_data_cache (id, ticker, data_type, data, data_source, cached_at, expires_at)
                 VALUES ('{id}', 'AAPL', 'news', '[]', '{source}', '{cached_at}', '2034-01-01')"
            ))
            .await
            .expect("the specification's key lets NULL parameters in again");
    }
    db.migrate().await.expect("migrate");
    let kept = client
        .query("SELECT data_source FROM market_data_cache ORDER BY data_type", &[])
        .await
        .expect("read");
    let kept: Vec<String> = kept.iter().map(|row| row.get(0)).collect();
    assert_eq!(kept, ["yfinance", "new"]);
}

#[tokio::test]
async fn migrating_flags_incoherent_bars_and_drops_exact_repeats_of_contracts() {
    let (db, client) = specified().await;
    let bar = rows::insert("price_history", &[OTHER_ID, ("ticker", "'BAD'"), ("high_price", "1")]);
    client.batch_execute(&bar).await.expect("the specification lets a high below the low in");
    let repeat = rows::insert("options_data", &[OTHER_ID]);
    client.batch_execute(&repeat).await.expect("the specification has no key of contracts");
    db.migrate().await.expect("migrate");

    let flagged = client
        .query("SELECT ticker, is_suspect FROM price_history ORDER BY ticker", &[])
        .await
        .expect("read");
    let flagged: Vec<(String, bool)> = flagged.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(flagged, [("AAPL".to_owned(), false), ("BAD".to_owned(), true)]);
    let contracts: i64 =
        client.query_one("SELECT count(*) FROM options_data", &[]).await.expect("read").get(0);
    assert_eq!(contracts, 1);

    // The flag of an incoherent bar can be made again, so that it does not stop the way down.
    let depth = files().len() - TABLES;
    db.rollback(depth).await.expect("rollback over a flagged bar");
    db.migrate().await.expect("migrate again");
    let again: bool = client
        .query_one("SELECT is_suspect FROM price_history WHERE ticker = 'BAD'", &[])
        .await
        .expect("read")
        .get(0);
    assert!(again);
}

#[tokio::test]
async fn migrating_stops_at_data_that_only_its_owner_can_correct() {
    let cases: [(&str, &str, &Changes); 3] = [
        (
            "refuse_nan",
            "price_history",
            &[OTHER_ID, ("ticker", "'BAD'"), ("adjusted_close", "'NaN'")],
        ),
        (
            "add_email_lower_key",
            "users",
            &[OTHER_ID, ("email", "'aDA@example.com'"), ("username", "NULL")],
        ),
        ("add_contract_snapshot_key", "options_data", &[OTHER_ID, ("bid", "1")]),
    ];
    let migrations = files();
    for (stopper, table, changes) in cases {
        let (db, client) = specified().await;
        client
            .batch_execute(&rows::insert(table, changes))
            .await
            .expect("a row that the specification allows");
        let before = contents(&client).await;
        let said = db.migrate().await.expect_err(stopper).to_string();
        assert!(said.contains(stopper), "{said}");
        let pending = db.pending().await.expect("pending");
        assert_eq!(pending, names(&migrations[TABLES..]), "{stopper}: nothing is done");
        assert_eq!(contents(&client).await, before, "{stopper}");
    }
}

#[tokio::test]
async fn a_failed_migration_tells_the_constraint_but_no_data() {
    let (db, client) = specified().await;
    let bad =
        rows::insert("users", &[OTHER_ID, ("email", "'ADA@example.com'"), ("username", "NULL")]);
    client.batch_execute(&bad).await.expect("a second account for one mailbox");
    let error = db.migrate().await.expect_err("two accounts for one mailbox");
    let said = format!("{error} {error:?}");
    assert!(said.contains("users_email_lower_key"), "{said}");
    assert!(!said.to_lowercase().contains("ada@"), "{said}");
}

#[tokio::test]
async fn b7_texts_from_before_their_checks_stay_and_are_named() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let migrations = files();
    let position = migrations.iter().position(|m| m.name == "check_readable_texts");
    let depth = migrations.len() - position.expect("a migration");
    db.rollback(depth).await.expect("rollback");
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    let spoil = "UPDATE price_history SET ticker = 'ÄB';
        UPDATE users SET preferences = repeat('[', 500) || repeat(']', 500)";
    client.batch_execute(spoil).await.expect("what the checks before let through");
    let unvalidated = async || -> Vec<String> {
        let query = "SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND NOT convalidated ORDER BY 1";
        client.query(query, &[]).await.expect("names").iter().map(|row| row.get(0)).collect()
    };
    let named = async || -> Vec<String> {
        let findings = db.doctor().await.expect("examined").findings;
        findings.into_iter().filter(|f| f.what == "rows").map(|f| f.object).collect()
    };
    for _ in 0..2 {
        db.migrate().await.expect("migrated over such rows");
        assert_eq!(
            unvalidated().await,
            ["price_history_ticker_readable", "users_preferences_json"]
        );
        assert_eq!(named().await, ["price_history", "users"]);
        db.rollback(depth).await.expect("rollback over such rows");
        assert_eq!(unvalidated().await, [""; 0]);
    }
    db.migrate().await.expect("migrated");
    let mend = "UPDATE price_history SET ticker = 'AB'; UPDATE users SET preferences = NULL;
        ALTER TABLE price_history VALIDATE CONSTRAINT price_history_ticker_readable;
        ALTER TABLE users VALIDATE CONSTRAINT users_preferences_json";
    client.batch_execute(mend).await.expect("mended");
    assert_eq!((unvalidated().await, named().await), (Vec::new(), Vec::new()));
}
