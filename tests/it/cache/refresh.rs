//! When a value is fetched again: eagerly, by its own TTL, unchanged, jittered.

use buffetbot_db::Repositories;
use buffetbot_db::cache::Origin;
use buffetbot_db::market_cache::PutOptions;

use super::*;
use crate::support::eventually;

/// Lets the row be half an hour into its hour.
async fn age(db: &TestDatabase) {
    db.sql(
        "UPDATE market_data_cache SET cached_at = now() - INTERVAL '30 min',
            expires_at = now() + INTERVAL '30 min'",
    )
    .await;
}

/// Seconds that the row is fresh from when it was stored.
async fn ttl(db: &TestDatabase, ticker: &str) -> i64 {
    let sql = format!(
        "SELECT round(extract(epoch FROM expires_at - cached_at))::BIGINT AS n
         FROM market_data_cache WHERE ticker = '{ticker}'"
    );
    count(db, &sql).await
}

#[tokio::test]
async fn an_eager_refresh_keeps_nobody_waiting_and_happens_once() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let policy = Policy::ttl(HOUR).eager(0.25);
    put(&here, "AAPL", 1).await;
    let young = done(ask(&here, "AAPL", &policy, never())).await.expect("a value");
    assert_eq!((*young.value, young.origin), (1, Origin::Database));
    age(&db).await;
    let (fetch, mut fetching) = held();
    let old = done(ask(&here, "AAPL", &policy, fetch)).await.expect("a value");
    assert_eq!((*old.value, old.origin, old.is_stale()), (1, Origin::Database, false));
    let previous = fetching.begun().await.expect("what there was");
    assert_eq!(*previous.value, 1);
    // While it is fetched, here and there: the old value, and no second fetch.
    for handle in [&here, &there, &here, &there] {
        let old = done(ask(handle, "AAPL", &policy, never())).await.expect("a value");
        assert_eq!(*old.value, 1);
    }
    fetching.answer(Ok(2));
    eventually("the new value is there", async || value(&there, "AAPL").await == Some(2)).await;
    // Those who waited for their turn find it done.
    eventually("nobody holds the lease", async || {
        count(&db, "SELECT count(*) AS n FROM cache_leases").await == 0
    })
    .await;
    let after = done(ask(&there, "AAPL", &policy, never())).await.expect("a value");
    assert_eq!(*after.value, 2);
    let fetches = [&here, &there].map(|handle| handle.cache().counters().fetches);
    assert_eq!(fetches, [1, 0]);
}

#[tokio::test]
async fn an_eager_refresh_from_memory_replaces_the_copy() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    let policy = Policy::ttl(HOUR).eager(0.0);
    put(&here, "AAPL", 1).await;
    let (fetch, mut fetching) = held();
    let old = done(ask(&here, "AAPL", &policy, fetch)).await.expect("a value");
    assert_eq!((*old.value, old.origin), (1, Origin::Memory));
    fetching.begun().await;
    fetching.answer(Ok(2));
    eventually("the copy is the new one", async || value(&here, "AAPL").await == Some(2)).await;
}

#[tokio::test]
async fn an_eager_refresh_that_fails_costs_nobody_the_value() {
    let db = database().await;
    let [here, _] = forgetful(&db);
    let policy = Policy::ttl(HOUR).eager(0.25).retry_after(HOUR).retry_at_most(HOUR);
    put(&here, "AAPL", 1).await;
    age(&db).await;
    let provider = Provider::default();
    for _ in 0..2 {
        let old = provider.fail(here.cache(), &key("AAPL"), &policy).await.expect("the old value");
        assert_eq!((*old.value, old.is_stale()), (1, false));
        eventually("it has failed", async || here.cache().counters().fetch_errors == 1).await;
    }
    assert_eq!(provider.asked(), 1, "the second call came during the pause");
}

#[tokio::test]
async fn a_fetch_decides_how_long_its_value_is_fresh() {
    let db = database().await;
    let [here, _] = forgetful(&db);
    let policy = Policy::ttl(HOUR).jitter(0.0).source("call");
    let market_closed = Fetched::new(1).ttl(HOUR * 60).source("fetch");
    let closed = done(ask(&here, "AAPL", &policy, gives(market_closed))).await.expect("a value");
    assert_eq!((ttl(&db, "AAPL").await, closed.source()), (60 * 3600, Some("fetch")));
    let other = Policy::ttl(MS * 5000).jitter(0.0).stale_for(MS * 9000);
    let own = done(ask(&here, "MSFT", &policy, gives(Fetched::new(1).policy(other)))).await;
    assert_eq!((ttl(&db, "MSFT").await, own.expect("a value").source()), (5, None));
    let window = "SELECT round(extract(epoch FROM stale_until - expires_at))::BIGINT AS n
                  FROM market_data_cache WHERE ticker = 'MSFT'";
    assert_eq!(count(&db, window).await, 9);
    let plain = done(ask(&here, "NVDA", &policy, gives(1))).await.expect("a value");
    assert_eq!((ttl(&db, "NVDA").await, plain.source()), (3600, Some("call")));
}

#[tokio::test]
async fn an_unchanged_value_is_fresh_again_and_not_rewritten() {
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default()));
    let policy = Policy::ttl(HOUR).jitter(0.0).stale_for(HOUR);
    let first = Fetched::new(1).source("provider").quality("0.8".parse().expect("a share"));
    let first = done(ask(&here, "AAPL", &policy, gives(first))).await.expect("a value");
    expire(&db, "AAPL", None).await;
    let other = process(&db, CacheOptions::default());
    let again = done(ask(&other, "AAPL", &policy, gives(Fetched::unchanged()))).await;
    let again = again.expect("the same value");
    assert_eq!((*again.value, again.origin), (1, Origin::Fetched));
    assert_eq!(again.revision(), first.revision());
    assert_eq!((again.source(), again.quality()), (first.source(), first.quality()));
    assert_eq!(ttl(&db, "AAPL").await, 3600);
    let found = there.cache().get::<u32>(&key("AAPL")).await.expect("get").expect("fresh");
    assert_eq!((*found.value, found.source()), (1, Some("provider")));
    assert_eq!(found.revision(), first.revision());
    assert!(found.age < HOUR / 2, "its age begins anew: {:?}", found.age);
    // A new document moves it, one that is equal does not.
    for (value, moves) in [(1, false), (2, true)] {
        let before = other.cache().get::<u32>(&key("AAPL")).await.expect("get").expect("fresh");
        let after = other.cache().put(&key("AAPL"), value, &policy).await.expect("put");
        assert_eq!(after.revision() > before.revision(), moves, "{value}");
    }
}

#[tokio::test]
async fn nothing_cannot_be_unchanged() {
    let db = database().await;
    let [here, _] = forgetful(&db);
    let error = done(ask(&here, "AAPL", &Policy::ttl(HOUR), gives(Fetched::unchanged()))).await;
    let error = error.expect_err("there was nothing");
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "fetched"), "{error:?}");
    assert_eq!(count(&db, "SELECT count(*) AS n FROM market_data_cache").await, 0);
    let unchanged = Fetched::unchanged();
    let put = here.cache().put::<u32>(&key("AAPL"), unchanged, &Policy::ttl(HOUR)).await;
    assert!(matches!(put, Err(Error::Invalid { .. })), "{put:?}");
}

#[tokio::test]
async fn values_stored_together_expire_apart() {
    let db = database().await;
    let [here, _] = forgetful(&db);
    let policy = Policy::ttl(Duration::from_secs(100_000)).jitter(0.2);
    for i in 0..40 {
        let ticker = format!("T{i}");
        here.cache().put(&key(&ticker), i, &policy).await.expect("put");
    }
    let within = "SELECT count(*) AS n FROM market_data_cache
        WHERE expires_at - cached_at BETWEEN INTERVAL '80000 s' AND INTERVAL '100001 s'";
    assert_eq!(count(&db, within).await, 40);
    let spread =
        "SELECT extract(epoch FROM max(expires_at - cached_at) - min(expires_at - cached_at))
        ::BIGINT AS n FROM market_data_cache";
    assert!(count(&db, spread).await > 5_000);
}

#[tokio::test]
async fn what_the_repository_stored_is_found_by_the_cache() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    let document = buffetbot_db::types::Document::encode(&7).expect("JSON");
    let options = PutOptions { source: Some("by hand".into()), ..PutOptions::ttl(HOUR) };
    db.market_cache().put(&key("AAPL"), &document, &options).await.expect("put");
    let found = done(ask(&here, "AAPL", &Policy::ttl(HOUR), never())).await.expect("a value");
    assert_eq!(
        (*found.value, found.origin, found.source()),
        (7, Origin::Database, Some("by hand"))
    );
}
