//! What the cache's triggers do by themselves, whoever writes: versions, and the log of changed keys.

use buffetbot_db::market_cache::{CacheKey, CacheSelector, NewCacheEntry, PutOptions};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, Document};
use serde_json::json;
use std::time::Duration;
use tokio_postgres::Client;

use crate::catalog::connect;
use crate::rows;
use crate::support::parsed;

const HOUR: Duration = Duration::from_secs(3_600);

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
}

/// Runs statements as one transaction; the keys of the log's new rows, `<space> <ticker> <name>
/// <parameters> <portfolio>`, sorted.
async fn logged(client: &Client, statements: &str) -> Vec<String> {
    let before = number(client, "SELECT COALESCE(max(version), 0) FROM cache_changes").await;
    client.batch_execute(statements).await.unwrap_or_else(|e| panic!("{statements}: {e:?}"));
    changes(client, before).await
}

async fn changes(client: &Client, after: i64) -> Vec<String> {
    let keys = "SELECT concat_ws(' ', space, ticker, name, parameters, portfolio_id)
                FROM cache_changes WHERE version > $1 ORDER BY 1";
    let rows = client.query(keys, &[&after]).await.expect("the log");
    rows.iter().map(|row| row.get(0)).collect()
}

fn entry(symbol: &str, n: usize) -> NewCacheEntry {
    let key = CacheKey::new(&parsed(symbol), DataType::NEWS).params(json!({ "n": n }));
    let document = Document::encode(&n).expect("a document");
    NewCacheEntry::new(key.expect("parameters"), document, PutOptions::ttl(HOUR))
}

#[tokio::test]
async fn versions_move_on_every_update_and_revisions_with_the_document() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    let cache = "SELECT version, revision FROM market_data_cache";
    let analysis = "SELECT version, version FROM analysis_results";
    let of = async |select: &str| {
        let row = client.query_one(select, &[]).await.expect("the row");
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let updates = [
        ("market_data_cache SET data_source = 'other'", false),
        ("market_data_cache SET data_source = data_source", false),
        ("market_data_cache SET expires_at = '2034-01-01Z', tags = '{a}'", false),
        ("market_data_cache SET data = '{\"sector\":  \"Technology\"}'", false),
        ("market_data_cache SET data = '{\"sector\": \"Energy\"}'", true),
        ("market_data_cache SET version = 1, revision = 1", false),
        ("market_data_cache SET data = 'null', version = 1, revision = 1", true),
        ("analysis_results SET summary = 'other'", true),
        ("analysis_results SET summary = summary", true),
        ("analysis_results SET version = 1", true),
    ];
    for (update, moves) in updates {
        let select = if update.starts_with("market") { cache } else { analysis };
        let before = of(select).await;
        client.batch_execute(&format!("UPDATE {update}")).await.expect(update);
        let after = of(select).await;
        assert!(after.0 > before.0, "{update}: {before:?}, {after:?}");
        match moves {
            true => assert!(after.1 > before.1, "{update}: {before:?}, {after:?}"),
            false => assert_eq!(after.1, before.1, "{update}"),
        }
    }
}

#[tokio::test]
async fn the_log_has_what_repositories_change() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    let cache = db.market_cache();
    let latest = async || number(&client, "SELECT last_value FROM cache_version").await;

    let (aapl, options) = (entry("AAPL", 0), PutOptions::ttl(HOUR));
    let key = "market_data AAPL news {\"n\": 0}";
    let start = latest().await;
    cache.put(&aapl.key, &aapl.data, &options).await.expect("put");
    let many: Vec<_> = (0..1_000).map(|n| entry("BULK", n)).collect();
    cache.put_many(&many).await.expect("put");
    assert!(changes(&client, start).await.is_empty(), "nobody has a copy of what is new");

    cache.put(&aapl.key, &aapl.data, &options).await.expect("put");
    assert_eq!(changes(&client, start).await, [key]);
    let of_row = "SELECT version FROM market_data_cache WHERE ticker = 'AAPL'";
    let of_change = "SELECT max(version) FROM cache_changes";
    assert_eq!(number(&client, of_change).await, number(&client, of_row).await);

    let start = latest().await;
    cache.put_many(&many).await.expect("put");
    let found = changes(&client, start).await;
    assert_eq!(found.len(), 1_000);
    assert!(found.iter().all(|key| key.starts_with("market_data BULK news")));
    assert!(found.windows(2).all(|keys| keys[0] != keys[1]), "each once");

    let start = latest().await;
    cache.refresh(&aapl.key, 2 * HOUR).await.expect("refresh");
    assert_eq!(changes(&client, start).await, [key]);
    let start = latest().await;
    cache.invalidate(&CacheSelector::key(&aapl.key)).await.expect("invalidate");
    assert_eq!(changes(&client, start).await, [key]);
    let start = latest().await;
    cache.invalidate(&CacheSelector::key(&aapl.key)).await.expect("invalidate");
    assert_eq!(cache.sweep_expired(10, Duration::ZERO).await.expect("sweep").deleted, 1);
    assert!(changes(&client, start).await.is_empty(), "already told");
    cache.delete_key(&many[7].key).await.expect("delete");
    assert_eq!(changes(&client, start).await, ["market_data BULK news {\"n\": 7}"]);

    let start = latest().await;
    let uow = db.begin().await.expect("begin");
    uow.market_cache().put_many(&many).await.expect("put");
    uow.market_cache().delete_key(&many[8].key).await.expect("delete");
    uow.rollback().await.expect("rollback");
    assert!(changes(&client, start).await.is_empty(), "nothing of what is rolled back");
}

#[tokio::test]
async fn the_log_has_both_keys_of_a_row_that_moves_and_the_table_that_is_emptied() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    let document = |ticker| format!("market_data {ticker} fundamentals {{\"period\": \"1y\"}}");
    assert_eq!(
        logged(&client, "UPDATE market_data_cache SET ticker = 'MSFT'").await,
        [document("AAPL"), document("MSFT")]
    );
    assert_eq!(
        logged(&client, "UPDATE market_data_cache SET id = gen_random_uuid()").await,
        [document("MSFT")]
    );
    assert_eq!(
        logged(&client, "UPDATE market_data_cache SET parameters = '{\"period\": \"2y\"}'").await,
        [document("MSFT"), "market_data MSFT fundamentals {\"period\": \"2y\"}".to_owned()]
    );
    assert_eq!(logged(&client, "TRUNCATE market_data_cache").await, ["market_data"]);
    // Refused by default, and logged where the owner lets it through.
    let permit = "ALTER TABLE analysis_results DISABLE TRIGGER analysis_results_refuse_truncate";
    client.batch_execute(permit).await.expect("permitted");
    assert_eq!(logged(&client, "TRUNCATE analysis_results").await, ["analyses"]);
}

#[tokio::test]
async fn the_log_has_analyses_that_come_change_and_go() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client.batch_execute(&rows::insert_all()).await.expect("the sample rows");
    client.batch_execute("DELETE FROM analysis_results").await.expect("delete");
    let private =
        "analyses AAPL value_analysis {\"years\": 5} 00000000-0000-4000-8000-000000000002";
    let public = "analyses AAPL value_analysis {\"years\": 5}";
    let insert = rows::insert("analysis_results", &[]);
    assert_eq!(logged(&client, &insert).await, [private], "a new one stands before an older one");
    assert_eq!(
        logged(&client, "UPDATE analysis_results SET expires_at = now()").await,
        [private],
        "a change"
    );
    assert!(logged(&client, "DELETE FROM analysis_results").await.is_empty(), "it had expired");
    let past = rows::insert("analysis_results", &[("expires_at", "'2024-01-03Z'")]);
    assert!(logged(&client, &past).await.is_empty(), "never to be served");
    let open = "UPDATE analysis_results SET stale_until = now() + interval '1 h'";
    assert_eq!(logged(&client, open).await, [private]);
    assert_eq!(
        logged(&client, "UPDATE analysis_results SET portfolio_id = NULL").await,
        [public, private]
    );
    assert_eq!(logged(&client, "DELETE FROM analysis_results").await, [public], "in its window");
    let forever = rows::insert("analysis_results", &[("expires_at", "NULL")]);
    assert_eq!(logged(&client, &forever).await, [private]);
    let forgotten = "analyses 00000000-0000-4000-8000-000000000002";
    let deleted = logged(&client, "DELETE FROM portfolios").await;
    assert_eq!(deleted, [forgotten], "with its portfolio, whose keys are gone");
    assert!(
        logged(
            &client,
            &format!(
                "BEGIN; {}; ROLLBACK",
                rows::insert(
                    "users",
                    &[
                        ("id", "gen_random_uuid()"),
                        ("email", "'b@example.com'"),
                        ("username", "NULL"),
                    ]
                )
            )
        )
        .await
        .is_empty()
    );
}

/// A session plans a trigger's statements once, for the few rows of its first change.
#[tokio::test]
async fn a_large_change_is_logged_in_linear_time_also_after_a_small_one() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client
        .batch_execute(
            "INSERT INTO market_data_cache (ticker, data_type, data, expires_at)
             SELECT 'T' || i, 'news', '{}', now() + interval '1 h' FROM generate_series(1, 40000) i;
             UPDATE market_data_cache SET data_source = 'a' WHERE ticker = 'T1';
             SET statement_timeout = '30 s'",
        )
        .await
        .expect("rows");
    let all = "UPDATE market_data_cache SET data_source = 'b'";
    assert_eq!(logged(&client, all).await.len(), 40_000);
}

/// What a reader asks, with its last snapshot.
const UNSEEN: &str = "
    SELECT ticker FROM cache_changes
    WHERE transaction >= pg_snapshot_xmin($1::TEXT::PG_SNAPSHOT)
        AND NOT pg_visible_in_snapshot(transaction, $1::TEXT::PG_SNAPSHOT)
    ORDER BY ticker";

#[tokio::test]
async fn a_snapshot_reader_misses_nothing_when_commits_are_out_of_order() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let (reader, mut one, mut two) = (connect(&db).await, connect(&db).await, connect(&db).await);
    reader
        .batch_execute(
            "INSERT INTO market_data_cache (ticker, data_type, data, expires_at)
             SELECT t, 'news', '{}', now() + interval '1 h' FROM unnest('{A,B,C,D}'::TEXT[]) t",
        )
        .await
        .expect("rows");
    let change =
        |ticker| format!("UPDATE market_data_cache SET data = '[]' WHERE ticker = '{ticker}'");
    let mut snapshot = String::from("1:1:");
    // Reads the log and the next snapshot in one statement's view.
    let mut unseen = async || {
        let text = "SELECT pg_current_snapshot()::TEXT";
        let view = reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
        view.await.expect("begin");
        let rows = reader.query(UNSEEN, &[&snapshot]).await.expect("the log");
        snapshot = reader.query_one(text, &[]).await.expect("a snapshot").get(0);
        reader.batch_execute("COMMIT").await.expect("commit");
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    assert!(unseen().await.is_empty());

    let first = one.transaction().await.expect("begin");
    first.batch_execute(&change("A")).await.expect("the lower number and transaction");
    let second = two.transaction().await.expect("begin");
    second.batch_execute(&change("B")).await.expect("the greater ones");
    // Neither a subtransaction nor one that is rolled back confuses it.
    second.batch_execute("SAVEPOINT s").await.expect("savepoint");
    second.batch_execute(&change("C")).await.expect("within");
    second.batch_execute("RELEASE s; SAVEPOINT s").await.expect("savepoint");
    second.batch_execute(&change("D")).await.expect("within");
    second.batch_execute("ROLLBACK TO s").await.expect("rollback");
    assert!(unseen().await.is_empty());
    second.commit().await.expect("commit");
    assert_eq!(unseen().await, ["B", "C"]);
    assert!(unseen().await.is_empty(), "each once");
    first.commit().await.expect("commit");
    assert_eq!(unseen().await, ["A"], "though later ones were read before");
    assert!(unseen().await.is_empty());
}

#[tokio::test]
async fn the_reader_goes_by_the_index() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let client = connect(&db).await;
    client
        .batch_execute(
            "INSERT INTO cache_changes (version, transaction, space)
             SELECT i, i::TEXT::XID8, 'market_data' FROM generate_series(1, 20000) i;
             ANALYZE cache_changes",
        )
        .await
        .expect("a log");
    let explain = format!("EXPLAIN {}", UNSEEN.replace("$1::TEXT", "'19990:19995:19992'"));
    let plan = client.query(&explain, &[]).await.expect("explain");
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("cache_changes_transaction_idx")), "{plan:#?}");
}
