//! What is found in Redis, by whom, and as what.

use buffetbot_db::analyses::{AnalysisKey, NewAnalysis};
use buffetbot_db::cache::Fetched;
use buffetbot_db::types::AnalysisType;
use buffetbot_db::{Error, Repositories};
use serde_json::{Value, json};

use super::*;
use crate::support::{batch, number};

#[tokio::test]
async fn a_value_is_found_in_redis_by_another_process() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let (first, second) = (process(&db, every_level(&redis)), process(&db, every_level(&redis)));
    let bare = process(&db, every_level(&redis).memory(0));
    let aapl = key("AAPL").params(json!({"b": 1.0, "a": [null]})).expect("parameters");
    let new = Fetched::new(7).source("Alpha \"Ω\"").quality(parsed("0.75"));
    let fetch = move |_| async move { Ok::<_, BoxError>(new) };
    let stored = first.cache().get_or_fetch::<u32>(&aapl, &an_hour(), fetch).await.expect("stored");
    assert_eq!(stored.origin, Origin::Fetched);

    let there = second.cache().get::<u32>(&aapl).await.expect("an answer").expect("a value");
    assert_eq!((*there.value, there.origin), (7, Origin::Redis));
    assert_eq!((there.source(), there.quality()), (Some("Alpha \"Ω\""), Some(&parsed("0.75"))));
    assert!(there.revision().is_some() && there.revision() == stored.revision());
    assert!(there.age < GENEROUS);
    assert_eq!(ask(&second, &aapl, 0).await, (7, Origin::Memory));
    let respelled = key("AAPL").params(json!({"a": [null], "b": 1})).expect("parameters");
    for key in [&aapl, &respelled, &aapl] {
        assert_eq!(ask(&bare, key, 0).await, (7, Origin::Redis), "there is no memory");
    }
    let counters = bare.cache().counters();
    assert_eq!((counters.redis_hits, counters.database_hits, counters.misses), (3, 0, 0));
    assert_eq!((counters.memory_hits, counters.redis_errors), (0, 0));
    let report = bare.cache().report(0).await.expect("a report");
    assert_eq!((report.redis_is_up, report.memory_entries), (Some(true), 0));
}

#[tokio::test]
async fn what_the_database_has_is_taken_into_redis() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let without = process(&db, CacheOptions::default());
    ask(&without, &key("AAPL"), 7).await;
    let bare = || process(&db, every_level(&redis).memory(0));
    assert_eq!(ask(&bare(), &key("AAPL"), 0).await, (7, Origin::Database));
    assert_eq!(ask(&bare(), &key("AAPL"), 0).await, (7, Origin::Redis));
    assert_eq!(without.cache().report(0).await.expect("a report").redis_is_up, None);
}

#[tokio::test]
async fn without_a_database_processes_share_through_redis() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let options = || every_level(&redis).database(false);
    let (first, second) = (process(&db, options()), process(&db, options().memory(0)));
    assert_eq!(ask(&first, &key("AAPL"), 1).await, (1, Origin::Fetched));
    assert_eq!(ask(&first, &key("AAPL"), 2).await, (1, Origin::Memory));
    assert_eq!(ask(&second, &key("AAPL"), 2).await, (1, Origin::Redis));
    second.cache().put(&key("AAPL"), 3, &an_hour()).await.expect("put");
    assert_eq!(ask(&second, &key("AAPL"), 0).await, (3, Origin::Redis));
    let found = second.cache().get::<u32>(&key("AAPL")).await.expect("an answer").expect("a value");
    assert_eq!(found.revision(), None, "there is no row");
    assert!(db.market_cache().get_stale(&key("AAPL")).await.expect("an answer").is_none());
    assert_eq!(
        second.cache().get::<String>(&key("AAPL")).await.expect("an answer").map(drop),
        None
    );
}

#[tokio::test]
async fn an_expired_value_in_redis_stands_in_for_one_that_cannot_be_fetched() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let options = || every_level(&redis).database(false);
    let (first, second) = (process(&db, options()), process(&db, options()));
    let brief = Policy::ttl(Duration::from_millis(20)).jitter(0.0).stale_for(HOUR);
    first.cache().put(&key("AAPL"), 7, &brief).await.expect("put");
    let gone = async || found(&second, &key("AAPL")).await.is_none();
    eventually("the value expires", gone).await;
    let fail = |previous: Option<buffetbot_db::cache::Cached<u32>>| async move {
        assert_eq!(previous.map(|p| *p.value), None, "only a row is given to a fetch");
        Err::<u32, _>("the provider is down")
    };
    let policy = brief.soft_timeout(GENEROUS);
    let stale = second.cache().get_or_fetch::<u32>(&key("AAPL"), &policy, fail).await;
    let stale = stale.expect("a stale value");
    assert_eq!((*stale.value, stale.origin), (7, Origin::Stale));
    assert!(stale.age >= Duration::from_millis(20));
    // Without a window nobody is served it.
    let strict = an_hour();
    let strict = second.cache().get_or_fetch::<u32>(&key("AAPL"), &strict, fail).await;
    assert!(matches!(strict, Err(Error::BackingOff { .. })), "{strict:?}");
}

#[tokio::test]
async fn the_row_decides_whether_a_stale_value_may_be_served() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let (first, second) = (process(&db, every_level(&redis)), process(&db, every_level(&redis)));
    let brief = Policy::ttl(Duration::from_millis(20)).jitter(0.0).stale_for(HOUR);
    first.cache().put(&key("AAPL"), 7, &brief).await.expect("put");
    let gone = async || found(&second, &key("AAPL")).await.is_none();
    eventually("the value expires", gone).await;
    let fail = |_| async { Err::<u32, _>("the provider is down") };
    let policy = brief.soft_timeout(GENEROUS);
    let stale = second.cache().get_or_fetch::<u32>(&key("AAPL"), &policy, fail).await;
    assert_eq!(stale.expect("a stale value").origin, Origin::Stale);
    assert_eq!(
        first.market_cache().sweep_expired(9, Duration::ZERO).await.expect("swept").deleted,
        0
    );
    assert!(first.market_cache().delete_key(&key("AAPL")).await.expect("deleted"));
    eventually("nothing stands in for a row that is gone", async || {
        second.cache().get_or_fetch::<u32>(&key("AAPL"), &policy, fail).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn results_of_analyses_come_back_as_they_are() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let (first, second) = (process(&db, every_level(&redis)), process(&db, every_level(&redis)));
    let key = AnalysisKey::new(&parsed("AAPL"), AnalysisType::Value)
        .parameters(json!({"years": 10, "growth": 0.1}))
        .expect("parameters");
    let new = NewAnalysis::new(key.ticker.clone(), key.analysis_type)
        .strategy("discounted cash flow")
        .score(parsed("87.25"))
        .metadata(json!({"fair": 192.50, "exact": 9_007_199_254_740_993_i64}))
        .expect("metadata")
        .summary("Cheap, ünless not. 🦀")
        .confidence(parsed("0.80"))
        .quality(parsed("1"));
    let compute = move |_| async move { Ok::<_, BoxError>(new) };
    let stored = first.get_or_compute(&key, &an_hour(), compute).await.expect("stored");
    let never = |_| async { Err::<NewAnalysis, _>("computed again") };
    let there = second.get_or_compute(&key, &an_hour(), never).await.expect("found");
    assert_eq!(there.origin, Origin::Redis);
    assert_eq!(there.value, stored.value);
    let row = db.analyses().find(stored.value.id).await.expect("an answer").expect("a row");
    assert_eq!(*there.value, row);
    assert_eq!(there.quality(), row.data_quality_score.as_ref());
    let again = second.get_or_compute(&key, &an_hour(), never).await.expect("found");
    assert_eq!(again.origin, Origin::Memory);
}

#[tokio::test]
async fn a_document_of_five_megabytes_goes_through_redis() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let bare = || process(&db, every_level(&redis).memory(0));
    let text = json!({"text": "é\u{1F980}\"\\".repeat(600_000)});
    assert!(text.to_string().len() > 5 << 20);
    bare().cache().put(&key("AAPL"), text.clone(), &an_hour()).await.expect("put");
    let found =
        bare().cache().get::<Value>(&key("AAPL")).await.expect("an answer").expect("a value");
    assert_eq!(found.origin, Origin::Redis);
    assert!(*found.value == text);
}

#[tokio::test]
async fn two_databases_on_one_redis_do_not_mix() {
    let redis = RedisServer::start().await;
    let (one, two) =
        (TestDatabase::new().await.expect("one"), TestDatabase::new().await.expect("two"));
    let bare = |db| process(db, every_level(&redis).memory(0));
    assert_eq!(ask(&bare(&one), &key("AAPL"), 1).await, (1, Origin::Fetched));
    assert_eq!(ask(&bare(&two), &key("AAPL"), 2).await, (2, Origin::Fetched));
    assert_eq!(ask(&bare(&one), &key("AAPL"), 0).await, (1, Origin::Redis));
    assert_eq!(ask(&bare(&two), &key("AAPL"), 0).await, (2, Origin::Redis));
    // What empties the one leaves the other.
    let emptied = bare(&one);
    found(&emptied, &key("AAPL")).await;
    batch(&one.connection().await.expect("a connection"), "TRUNCATE market_data_cache")
        .await
        .expect("emptied");
    comes_to_find(&emptied, &key("AAPL"), None).await;
    assert_eq!(ask(&bare(&two), &key("AAPL"), 0).await, (2, Origin::Redis));
    // Nor do two programs on one database, by their prefix.
    let prefixed = every_level(&redis).memory(0).redis(patient(&redis).prefix("other"));
    assert_eq!(ask(&process(&two, prefixed), &key("AAPL"), 0).await, (2, Origin::Database));
}

#[tokio::test]
async fn a_value_of_another_type_is_a_miss() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let bare = process(&db, every_level(&redis).memory(0));
    bare.cache().put(&key("AAPL"), String::from("seven"), &an_hour()).await.expect("put");
    let corrupt = bare.cache().get::<u32>(&key("AAPL")).await;
    match &corrupt {
        Err(error @ Error::Corrupt { .. }) => assert!(!error.to_string().contains("seven")),
        other => panic!("{other:?}"),
    }
    assert_eq!(ask(&bare, &key("AAPL"), 7).await, (7, Origin::Fetched));
    assert_eq!(ask(&bare, &key("AAPL"), 0).await, (7, Origin::Redis));
    let rows = "SELECT count(*) AS n FROM market_data_cache";
    let connection = bare.connection().await.expect("a connection");
    assert_eq!(number(&connection, rows).await.expect("rows"), 1);
}
