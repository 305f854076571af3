//! One round trip each, through an index.

use std::time::Duration;

use buffetbot_db::market_cache::{CacheFilter, CacheSelector, NewCacheEntry};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, PageRequest, Tag};
use serde_json::json;

use super::{HOUR, an_hour, document, key, ticker};
use crate::support::handle::Handle;
use crate::support::plan::{Recorder, assert_index, assert_not_read_whole};

const TABLE: &str = "market_data_cache";
const KEY: &str = "market_data_cache_entry_key";
const BY_TICKER: &str = "idx_market_cache_ticker_type";

/// 5,000 tickers with 3 types of 4 parameters each; one in a hundred entries has expired.
async fn seeded() -> (TestDatabase, Recorder) {
    let (db, statements) = Recorder::database().await;
    db.sql(
        "INSERT INTO market_data_cache (ticker, data_type, data, parameters, cached_at, expires_at)
         SELECT 'T' || i, t, jsonb_build_object('i', i), jsonb_build_object('period', p || 'y'),
             now() - interval '1 day' - i * interval '1 s',
             now() + CASE WHEN i % 100 = 0 THEN -1 ELSE 1 END * i * interval '1 s'
         FROM generate_series(1, 5000) i, unnest('{news,peers,fundamentals}'::text[]) t,
             generate_series(1, 4) p;
         ANALYZE market_data_cache",
    )
    .await;
    statements.take();
    (db, statements)
}

#[tokio::test]
async fn hot_statements_take_one_round_trip_and_an_index() {
    let (db, statements) = seeded().await;
    let cache = db.market_cache();
    let key = key("T77").params(json!({"period": "1y"})).expect("parameters");
    let parameters = "'{\"period\": \"1y\"}'";
    let arguments = ["'T77'", "'fundamentals'", parameters, parameters];

    cache.get(&key).await.expect("get").expect("an entry");
    assert_index(&db, &statements.only(), &arguments[..3], TABLE, KEY).await;
    statements.take();

    cache.get_stale(&key).await.expect("get").expect("an entry");
    assert_index(&db, &statements.only(), &arguments, TABLE, KEY).await;
    statements.take();

    let keys = [key.clone(), super::key("T78")];
    assert!(cache.get_many(&keys).await.expect("get")[0].is_some());
    let many = [
        "'{T77,T78}'",
        "'{fundamentals,fundamentals}'",
        "ARRAY['{\"period\": \"1y\"}', NULL]::jsonb[]",
    ];
    assert_index(&db, &statements.only(), &many, TABLE, KEY).await;
    statements.take();

    cache.refresh(&key, HOUR).await.expect("refresh");
    let refresh = ["'T77'", "'fundamentals'", parameters, "'1 h'"];
    assert_index(&db, &statements.only(), &refresh, TABLE, KEY).await;
    statements.take();

    cache.put(&key, &document(json!(1)), &an_hour()).await.expect("put");
    statements.only();
    let entries: Vec<_> = (0..400)
        .map(|i| NewCacheEntry::new(super::key(&format!("T{i}")), document(json!(i)), an_hour()))
        .collect();
    cache.put_many(&entries).await.expect("put");
    statements.only();

    cache.delete_key(&key).await.expect("delete");
    assert_index(&db, &statements.only(), &arguments, TABLE, KEY).await;
}

#[tokio::test]
async fn what_is_read_of_a_ticker_is_read_by_ticker() {
    let (db, statements) = seeded().await;
    let cache = db.market_cache();
    cache.size_of_ticker(&ticker("T5")).await.expect("size");
    assert_index(&db, &statements.only(), &["'T5'"], TABLE, BY_TICKER).await;
}

#[tokio::test]
async fn invalidation_goes_by_the_index_of_what_is_given() {
    let (db, statements) = seeded().await;
    db.sql(
        "UPDATE market_data_cache SET tags = '{rare}' WHERE ticker = 'T5';
         ANALYZE market_data_cache",
    )
    .await;
    let rare: Tag = "rare".parse().expect("a tag");
    let key = key("T77").params(json!({"period": "1y"})).expect("parameters");
    let of_ticker = CacheSelector::ticker(&ticker("T5"));
    let parameters = "'{\"period\": \"1y\"}'";
    let cases: [(CacheSelector, &[&str], &str); 4] = [
        (of_ticker.clone(), &["'T5'"], BY_TICKER),
        (of_ticker.data_type(DataType::NEWS), &["'T5'", "'news'"], BY_TICKER),
        (CacheSelector::key(&key), &["'T77'", "'fundamentals'", parameters], KEY),
        (CacheSelector::tag(&rare), &["'rare'"], "market_data_cache_tags_idx"),
    ];
    for (selector, arguments, index) in cases {
        statements.take();
        db.market_cache().invalidate(&selector).await.expect("invalidate");
        let sent = statements.take();
        let texts: Vec<&String> = sent.iter().filter(|sql| sql.contains("doomed")).collect();
        let [leases, entries] = texts[..] else { panic!("{selector:?}: {sent:?}") };
        assert!(leases.contains("DELETE FROM cache_leases"), "leases first: {sent:?}");
        assert_index(&db, entries, arguments, TABLE, index).await;
        assert_not_read_whole(&db, leases, arguments, TABLE).await;
    }
}

#[tokio::test]
async fn expiry_is_found_by_its_index() {
    let (db, statements) = seeded().await;
    let cache = db.market_cache();
    cache.list_stale(10, Duration::ZERO).await.expect("list");
    let by_expiry = "idx_market_cache_expires_at";
    assert_index(&db, &statements.only(), &["'0 s'", "10"], TABLE, by_expiry).await;
    statements.take();
    assert_eq!(cache.sweep_expired(50, Duration::ZERO).await.expect("sweep").deleted, 50);
    let by_window = "market_data_cache_kept_until_idx";
    assert_index(&db, &statements.only(), &["'0 s'"], TABLE, by_window).await;
    statements.take();
    cache.list(&CacheFilter::default(), &PageRequest::first(20)).await.expect("list");
    assert_index(&db, &statements.only(), &["21"], TABLE, "idx_market_cache_cached_at").await;
}
