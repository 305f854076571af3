//! Several writers and sweepers at once.

use std::sync::Arc;
use std::time::Duration;

use buffetbot_db::market_cache::{CacheSelector, NewCacheEntry};
use buffetbot_db::testing::TestDatabase;
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use tokio::sync::Barrier;

use super::{an_hour, count, document, get, key, ticker};
use crate::support::handle::Handle;

#[tokio::test]
async fn sixteen_first_writers_all_succeed() {
    let db = TestDatabase::new().await.expect("a database");
    for round in 0..5 {
        let key = key("AAPL").params(json!({ "round": round })).expect("parameters");
        let start = Arc::new(Barrier::new(16));
        let writers = (0..16).map(|i| {
            let (db, key, start) = (db.clone(), key.clone(), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                db.market_cache().put(&key, &document(json!(i)), &an_hour()).await
            })
        });
        let written = join_all(writers).await;
        let ids: Vec<_> =
            written.into_iter().map(|w| w.expect("no panic").expect("put").id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "one row");
        assert_eq!(count(&*db).await, round + 1);
        assert!(get(&*db, &key).await.is_some());
    }
}

#[tokio::test]
async fn two_sweepers_share_the_work_exactly() {
    let db = TestDatabase::new().await.expect("a database");
    db.sql(
        "INSERT INTO market_data_cache (ticker, data_type, data, cached_at, expires_at)
         SELECT 'T' || i, 'news', '{}', now() - interval '2 h', now() - interval '1 h' * (i % 2 * 2 - 1)
         FROM generate_series(1, 5000) i",
    )
    .await;
    let sweep = async || {
        let mut deleted = 0;
        loop {
            let swept = db.market_cache().sweep_expired(100, Duration::ZERO).await.expect("sweep");
            deleted += swept.deleted;
            if !swept.more_left {
                return deleted;
            }
        }
    };
    let (a, b) = tokio::join!(sweep(), sweep());
    assert_eq!(a + b, 2_500);
    assert!(a > 0 && b > 0, "{a} and {b}");
    assert_eq!(count(&*db).await, 2_500);
}

#[tokio::test]
async fn a_sweeper_passes_over_what_another_holds() {
    let db = TestDatabase::new().await.expect("a database");
    db.sql(
        "INSERT INTO market_data_cache (ticker, data_type, data, cached_at, expires_at)
         SELECT 'T' || i, 'news', '{}', now() - interval '2 d', now() - i * interval '1 h'
         FROM generate_series(1, 4) i",
    )
    .await;
    let other = db.begin().await.expect("a transaction");
    other.sql("SELECT 1 FROM market_data_cache ORDER BY expires_at LIMIT 2 FOR UPDATE").await;
    let cache = db.market_cache();
    let swept = cache.sweep_expired(10, Duration::ZERO).await.expect("no wait for a lock");
    assert_eq!((swept.deleted, swept.more_left), (2, false));
    other.rollback().await.expect("rollback");
    assert_eq!(cache.sweep_expired(10, Duration::ZERO).await.expect("sweep").deleted, 2);
}

#[tokio::test]
async fn batches_in_any_order_do_not_deadlock() {
    let db = TestDatabase::new().await.expect("a database");
    // Several chunks of one ticker and type: only their parameters order them.
    let entries = |shift: usize| -> Vec<NewCacheEntry> {
        (0..1_200)
            .map(|i| {
                let page = (i * 7 + shift * 331) % 1_200;
                let key = key("AAPL").params(json!({ "page": page })).expect("parameters");
                NewCacheEntry::new(key, document(json!({ "by": shift })), an_hour())
            })
            .collect()
    };
    let writers = (0..4).map(|shift| {
        let (db, batch) = (db.clone(), entries(shift));
        async move {
            for _ in 0..2 {
                db.market_cache().put_many(&batch).await?;
                db.market_cache().invalidate(&CacheSelector::ticker(&ticker("AAPL"))).await?;
            }
            Ok::<_, buffetbot_db::Error>(())
        }
    });
    try_join_all(writers).await.expect("no deadlock");
    assert_eq!(count(&*db).await, 1_200);
}
