//! What was changed is not served from Redis.

use buffetbot_db::Repositories;
use buffetbot_db::analyses::{AnalysisKey, NewAnalysis};
use buffetbot_db::cache::Cached;
use buffetbot_db::market_cache::{CacheSelector, PutOptions};
use buffetbot_db::types::{AnalysisType, Document, Tag};
use chrono::{DateTime, Utc};

use super::*;
use crate::support::batch;

fn tagged() -> Policy {
    an_hour().tag(parsed::<Tag>("us-equities"))
}

/// What changes a value, and what is found of it then.
const CHANGES: [(&str, Option<u32>); 9] = [
    ("put", Some(2)),
    ("invalidate key", None),
    ("invalidate ticker", None),
    ("invalidate tag", None),
    ("repository put", Some(2)),
    ("repository delete", None),
    ("UPDATE market_data_cache SET data = '2'", Some(2)),
    ("DELETE FROM market_data_cache", None),
    ("TRUNCATE market_data_cache", None),
];

async fn change(db: &Database, key: &CacheKey, change: &str) {
    let two = || Document::encode(&2).expect("JSON");
    let selector = match change {
        "put" => return drop(db.cache().put(key, 2_u32, &an_hour()).await.expect("put")),
        "repository put" => {
            let options = PutOptions::ttl(HOUR);
            return drop(db.market_cache().put(key, &two(), &options).await.expect("put"));
        }
        "repository delete" => {
            return assert!(db.market_cache().delete_key(key).await.expect("deleted"));
        }
        "invalidate key" => CacheSelector::key(key),
        "invalidate ticker" => CacheSelector::ticker(&key.ticker),
        "invalidate tag" => CacheSelector::tag(&parsed("us-equities")),
        sql => {
            let connection = db.connection().await.expect("a connection");
            return batch(&connection, sql).await.expect("a statement");
        }
    };
    assert_eq!(db.cache().invalidate(&selector).await.expect("invalidated"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_changes_no_other_serves() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let (first, second) = (process(&db, every_level(&redis)), process(&db, every_level(&redis)));
    let bare = process(&db, every_level(&redis).memory(0));
    for (i, (what, after)) in CHANGES.into_iter().enumerate() {
        let key = key(&format!("T{i}"));
        first.cache().put(&key, 1_u32, &tagged()).await.expect("put");
        assert_eq!(ask(&second, &key, 0).await, (1, Origin::Redis), "{what}");
        assert_eq!(ask(&bare, &key, 0).await, (1, Origin::Redis), "{what}");
        change(&first, &key, what).await;
        if !what.contains("market_data_cache") {
            assert_eq!(
                found(&first, &key).await,
                after,
                "one's own change is seen at once: {what}"
            );
            assert_eq!(found(&bare, &key).await, after, "and in Redis: {what}");
        }
        for db in [&first, &second, &bare] {
            comes_to_find(db, &key, after).await;
        }
        change(&first, &key, "DELETE FROM market_data_cache").await;
        comes_to_find(&first, &key, None).await;
    }
}

/// Readers that look all the time, with and without memory, while the value counts up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn busy_readers_do_not_hold_on_to_what_was_replaced() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let readers = [
        process(&db, every_level(&redis)),
        process(&db, every_level(&redis)),
        process(&db, every_level(&redis).memory(0)),
    ];
    let aapl = key("AAPL");
    let writer = db.connection().await.expect("a connection");
    for round in 1..=60_u32 {
        if round == 1 {
            readers[0].cache().put(&aapl, round, &an_hour()).await.expect("put");
        } else {
            let sql = format!("UPDATE market_data_cache SET data = '{round}'");
            batch(&writer, &sql).await.expect("updated");
        }
        let looking = readers.iter().flat_map(|db| [db, db]).map(|db| {
            let (db, aapl) = (db.clone(), aapl.clone());
            tokio::spawn(async move { comes_to_find(&db, &aapl, Some(round)).await })
        });
        for reader in looking.collect::<Vec<_>>() {
            reader.await.expect("the last value is found, and stays");
        }
    }
}

#[tokio::test]
async fn what_was_changed_while_nobody_watched_is_not_served() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    for round in 1..4 {
        let earlier = process(&db, every_level(&redis));
        earlier.cache().put(&key("AAPL"), round, &an_hour()).await.expect("put");
        assert_eq!(found(&earlier, &key("AAPL")).await, Some(round));
        // Its reader of the log ends with it.
        drop(earlier);
        eventually("nobody listens", async || {
            let listening = "SELECT count(*) AS n FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE 'LISTEN%'";
            let connection = db.connection().await.expect("a connection");
            crate::support::number(&connection, listening).await.expect("a number") == 0
        })
        .await;
        change(&db, &key("AAPL"), &format!("UPDATE market_data_cache SET data = '{}'", round + 10))
            .await;
        let later = process(&db, every_level(&redis).memory(0));
        assert_eq!(found(&later, &key("AAPL")).await, Some(round + 10));
        comes_to_find(&later, &key("AAPL"), Some(round + 10)).await;
    }
}

#[tokio::test]
async fn a_process_that_starts_leaves_redis_as_it_is() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let first = process(&db, every_level(&redis).memory(0));
    assert_eq!(ask(&first, &key("AAPL"), 1).await, (1, Origin::Fetched));
    eventually("a value outlives the start of others", async || {
        let later = process(&db, every_level(&redis).memory(0));
        ask(&later, &key("AAPL"), 0).await == (1, Origin::Redis)
    })
    .await;
}

#[tokio::test]
async fn without_a_database_an_invalidation_empties_redis() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let options = || every_level(&redis).database(false);
    let (first, bare) = (process(&db, options()), process(&db, options().memory(0)));
    ask(&first, &key("AAPL"), 1).await;
    assert_eq!(ask(&bare, &key("AAPL"), 0).await, (1, Origin::Redis));
    first.cache().invalidate(&CacheSelector::key(&key("AAPL"))).await.expect("invalidated");
    assert_eq!(found(&bare, &key("AAPL")).await, None);
    assert_eq!(found(&first, &key("AAPL")).await, None);
}

/// Of two results that are stored at once, the one that was computed last may have the lesser version
/// and be committed last.
#[tokio::test]
async fn a_result_that_is_committed_late_replaces_one_of_a_greater_version() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let process = || process(&db, every_level(&redis).memory(0));
    let (first, second) = (process(), process());
    let key = AnalysisKey::new(&parsed("AAPL"), AnalysisType::Value);
    let at = |time: &str| {
        let new = NewAnalysis::new(key.ticker.clone(), key.analysis_type);
        NewAnalysis { calculated_at: Some(parsed::<DateTime<Utc>>(time)), ..new }
    };
    let latest = async |db: &Database| -> Cached<buffetbot_db::analyses::AnalysisResult> {
        let never = |_| async { Err::<NewAnalysis, _>("computed") };
        db.get_or_compute(&key, &an_hour(), never).await.expect("a result")
    };
    let late = first.begin().await.expect("a transaction");
    let late_row = late.analyses().create(&at("2024-01-02T00:00:00Z")).await.expect("a result");
    let early = first.analyses().create(&at("2024-01-01T00:00:00Z")).await.expect("a result");
    assert!(early.version > late_row.version);
    assert_eq!(latest(&second).await.value.id, early.id);
    eventually("it is in Redis", async || latest(&second).await.origin == Origin::Redis).await;
    late.commit().await.expect("committed");
    eventually("the last one is found", async || latest(&second).await.value.id == late_row.id)
        .await;
    for db in [&first, &second, &first, &second] {
        assert_eq!(latest(db).await.value.id, late_row.id);
    }
}
