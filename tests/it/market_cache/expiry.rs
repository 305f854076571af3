//! Expiry, invalidation and sweeping, all by the database's clock.

use std::time::Duration;

use buffetbot_db::Error;
use buffetbot_db::error::Entity;
use buffetbot_db::market_cache::{CacheKey, CacheSelector, PutOptions};
use buffetbot_db::types::DataType;
use serde_json::json;

use super::{HOUR, an_hour, count, document, get, key, put, ticker};
use crate::support::handle::Handle;

conformance! {
    an_expired_entry_is_found_by_stale_reads_only,
    refresh_extends_and_revives,
    a_refresh_moves_the_stale_window_along,
    any_time_to_live_is_stored_or_refused,
    invalidation_follows_a_put_in_one_transaction,
    invalidation_is_by_ticker_and_type,
    a_sweep_is_bounded_and_keeps_what_is_asked_for,
    a_sweep_keeps_what_may_be_served_stale,
    what_is_due_comes_soonest_first,
}

/// Lets an entry be one that was stored two spans ago and expired one ago.
async fn expired_for(handle: &impl Handle, key: &CacheKey, seconds: u64) {
    let entry = put(handle, key, json!(key.ticker.as_str())).await;
    let update = format!(
        "UPDATE market_data_cache SET cached_at = now() - 2 * interval '{seconds} s', \
         expires_at = now() - interval '{seconds} s' WHERE id = '{}'",
        entry.id
    );
    handle.sql(&update).await;
}

async fn an_expired_entry_is_found_by_stale_reads_only(handle: &impl Handle) {
    let cache = handle.market_cache();
    assert!(cache.get_stale(&key("AAPL")).await.expect("get").is_none());
    let live = put(handle, &key("AAPL"), json!("live")).await;
    let read = cache.get_stale(&key("AAPL")).await.expect("get").expect("an entry");
    assert_eq!((&read.value, read.is_expired), (&live, false));
    assert!(read.age < HOUR, "{:?}", read.age);
    assert_eq!(read.fresh(), Some(live));

    expired_for(handle, &key("AAPL"), 3_600).await;
    assert_eq!(get(handle, &key("AAPL")).await, None);
    let read = cache.get_stale(&key("AAPL")).await.expect("get").expect("an entry");
    assert!(read.is_expired);
    assert!(read.age >= 2 * HOUR && read.age < 3 * HOUR, "{:?}", read.age);
    assert_eq!(read.fresh(), None);
}

async fn refresh_extends_and_revives(handle: &impl Handle) {
    let cache = handle.market_cache();
    let key = key("AAPL").params(json!({"a": 1})).expect("parameters");
    let entry = put(handle, &key, json!("kept")).await;
    let longer = cache.refresh(&key, 10 * HOUR).await.expect("refresh");
    assert!(longer >= entry.cached_at + 10 * HOUR);
    let shorter = cache.refresh(&key, Duration::from_secs(1)).await.expect("refresh");
    assert_eq!(shorter, longer, "a life is not shortened");
    let read = cache.get(&key).await.expect("get").expect("an entry");
    assert_eq!((read.expires_at, read.cached_at, read.data), (longer, entry.cached_at, entry.data));

    cache.invalidate(&CacheSelector::ticker(&key.ticker)).await.expect("invalidate");
    assert_eq!(get(handle, &key).await, None);
    cache.refresh(&key, HOUR).await.expect("refresh");
    assert_eq!(get(handle, &key).await, Some(json!("kept")));
    match cache.refresh(&super::key("AAPL"), HOUR).await {
        Err(Error::NotFound { entity, key }) => {
            assert_eq!((entity, key.as_str()), (Entity::CacheEntry, "AAPL fundamentals"));
        }
        other => panic!("{other:?}"),
    }
    match cache.refresh(&key, Duration::ZERO).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "ttl"),
        other => panic!("{other:?}"),
    }
}

async fn a_refresh_moves_the_stale_window_along(handle: &impl Handle) {
    let cache = handle.market_cache();
    // A zone whose days are not all of 24 hours.
    handle.sql("SET TIME ZONE 'Europe/Berlin'").await;
    let options = an_hour().stale_for(400 * 24 * HOUR);
    cache.put(&key("AAPL"), &document(json!(1)), &options).await.expect("put");
    for ttl in [HOUR, 100 * 24 * HOUR, 290 * 24 * HOUR] {
        let expires_at = cache.refresh(&key("AAPL"), ttl).await.expect("refresh");
        let entry = cache.get(&key("AAPL")).await.expect("get").expect("an entry");
        assert_eq!(entry.expires_at, expires_at);
        let window = entry.stale_until.expect("a window") - entry.expires_at;
        assert_eq!(window, chrono::TimeDelta::days(400));
    }
    let selector = CacheSelector::key(&key("AAPL"));
    cache.invalidate(&selector).await.expect("invalidate");
    cache.refresh(&key("AAPL"), HOUR).await.expect("refresh");
    let entry = cache.get(&key("AAPL")).await.expect("get").expect("revived");
    assert_eq!(entry.stale_until, None, "the window is gone for good");
    handle.sql("RESET TIME ZONE").await;
}

async fn any_time_to_live_is_stored_or_refused(handle: &impl Handle) {
    let cache = handle.market_cache();
    for ttl in [Duration::from_nanos(1), Duration::from_micros(1), Duration::MAX] {
        let entry = cache.put(&key("AAPL"), &document(json!(1)), &PutOptions::ttl(ttl)).await;
        let entry = entry.expect("put");
        let lives = (entry.expires_at - entry.cached_at).to_std().expect("later");
        let century = Duration::from_secs(100 * 365 * 86_400);
        assert_eq!(lives, ttl.clamp(Duration::from_micros(1), century));
    }
    cache.refresh(&key("AAPL"), Duration::MAX).await.expect("refresh");
    assert_eq!(get(handle, &key("AAPL")).await, Some(json!(1)));
    assert_eq!(cache.sweep_expired(10, Duration::MAX).await.expect("sweep").deleted, 0);
    assert_eq!(cache.list_stale(10, Duration::MAX).await.expect("list").len(), 1);
}

async fn invalidation_follows_a_put_in_one_transaction(handle: &impl Handle) {
    let cache = handle.market_cache();
    for round in 0..3 {
        put(handle, &key("AAPL"), json!(round)).await;
        assert_eq!(get(handle, &key("AAPL")).await, Some(json!(round)));
        assert_eq!(
            cache.invalidate(&CacheSelector::ticker(&ticker("AAPL"))).await.expect("invalidate"),
            1
        );
        assert_eq!(get(handle, &key("AAPL")).await, None);
        assert_eq!(
            cache.invalidate(&CacheSelector::ticker(&ticker("AAPL"))).await.expect("invalidate"),
            0
        );
        let stale = cache.get_stale(&key("AAPL")).await.expect("get").expect("still there");
        assert!(stale.is_expired);
        assert_eq!(stale.value.decode::<i32>().expect("JSON"), round);
    }
}

async fn invalidation_is_by_ticker_and_type(handle: &impl Handle) {
    let cache = handle.market_cache();
    let aapl = ticker("AAPL");
    let news = CacheKey::new(&aapl, DataType::NEWS);
    let paged = news.clone().params(json!({"page": 2})).expect("parameters");
    let peers = CacheKey::new(&aapl, DataType::PEERS);
    for key in [&news, &paged, &peers, &key("MSFT")] {
        put(handle, key, json!(1)).await;
    }
    let hit = cache
        .invalidate(&CacheSelector::ticker(&aapl).data_type(DataType::NEWS))
        .await
        .expect("invalidate");
    assert_eq!(hit, 2);
    assert_eq!(get(handle, &news).await, None);
    assert_eq!(get(handle, &paged).await, None);
    assert_eq!(get(handle, &peers).await, Some(json!(1)));
    assert_eq!(
        cache.invalidate(&CacheSelector::ticker(&aapl)).await.expect("invalidate"),
        1,
        "the rest of it"
    );
    assert_eq!(get(handle, &peers).await, None);
    assert_eq!(get(handle, &key("MSFT")).await, Some(json!(1)));
}

async fn a_sweep_is_bounded_and_keeps_what_is_asked_for(handle: &impl Handle) {
    let cache = handle.market_cache();
    for hours in 1..=5_u64 {
        expired_for(handle, &key(&format!("OLD{hours}")), hours * 3_600).await;
    }
    put(handle, &key("LIVE"), json!(1)).await;
    assert_eq!(cache.sweep_expired(0, Duration::ZERO).await.expect("sweep").deleted, 0);
    assert!(!cache.sweep_expired(0, Duration::ZERO).await.expect("sweep").more_left);

    let kept = cache.sweep_expired(10, 4 * HOUR).await.expect("sweep");
    assert_eq!((kept.deleted, kept.more_left), (2, false), "expired 4 and 5 hours ago");
    let first = cache.sweep_expired(2, Duration::ZERO).await.expect("sweep");
    assert_eq!((first.deleted, first.more_left), (2, true));
    let left = cache.get_stale(&key("OLD1")).await.expect("get");
    assert!(left.is_some(), "longest expired goes first");
    let last = cache.sweep_expired(2, Duration::ZERO).await.expect("sweep");
    assert_eq!((last.deleted, last.more_left), (1, false));
    assert_eq!(count(handle).await, 1);
    assert_eq!(get(handle, &key("LIVE")).await, Some(json!(1)));
}

async fn a_sweep_keeps_what_may_be_served_stale(handle: &impl Handle) {
    let cache = handle.market_cache();
    for (symbol, window) in [("NONE", "NULL"), ("PAST", "- '1 h'"), ("OPEN", "+ '1 h'")] {
        expired_for(handle, &key(symbol), 7_200).await;
        if window != "NULL" {
            let update = "UPDATE market_data_cache SET stale_until = now()";
            handle.sql(&format!("{update} {window}::interval WHERE ticker = '{symbol}'")).await;
        }
    }
    assert_eq!(cache.sweep_expired(10, 2 * HOUR).await.expect("sweep").deleted, 1);
    assert!(cache.get_stale(&key("NONE")).await.expect("get").is_none());
    assert_eq!(cache.sweep_expired(10, Duration::ZERO).await.expect("sweep").deleted, 1);
    assert!(cache.get_stale(&key("PAST")).await.expect("get").is_none());
    let due = cache.list_stale(10, Duration::ZERO).await.expect("list");
    assert_eq!(due.len(), 1, "due to be fetched as before");
    let open = CacheSelector::ticker(&ticker("OPEN"));
    assert_eq!(cache.invalidate(&open).await.expect("invalidate"), 1);
    assert_eq!(cache.sweep_expired(10, Duration::ZERO).await.expect("sweep").deleted, 1);
}

async fn what_is_due_comes_soonest_first(handle: &impl Handle) {
    let cache = handle.market_cache();
    let with = key("OLD").params(json!({"a": 1})).expect("parameters");
    expired_for(handle, &with, 60).await;
    expired_for(handle, &key("OLDER"), 120).await;
    put(handle, &key("HOUR"), json!(1)).await;
    cache.put(&key("DAY"), &document(json!(1)), &PutOptions::ttl(24 * HOUR)).await.expect("put");
    let due = async |within, limit| {
        let due = cache.list_stale(limit, within).await.expect("list");
        due.into_iter().map(|e| e.key.ticker.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(due(Duration::ZERO, 10).await, ["OLDER", "OLD"]);
    assert_eq!(due(2 * HOUR, 10).await, ["OLDER", "OLD", "HOUR"]);
    assert_eq!(due(48 * HOUR, 3).await, ["OLDER", "OLD", "HOUR"]);
    assert!(due(HOUR, 0).await.is_empty());
    let listed = cache.list_stale(2, Duration::ZERO).await.expect("list").remove(1);
    let stored = cache.find(listed.id).await.expect("find").expect("an entry");
    assert_eq!(listed.key, with);
    assert_eq!((listed.cached_at, listed.expires_at), (stored.cached_at, stored.expires_at));
}
