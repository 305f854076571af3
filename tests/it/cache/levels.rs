//! Where values come from, and what holds where a level is left out.

use buffetbot_db::cache::Origin;
use buffetbot_db::market_cache::CacheSelector;

use super::*;
use crate::support::eventually;

#[tokio::test]
async fn a_value_is_fetched_once_and_then_found_in_the_nearest_level() {
    let db = database().await;
    let (here, there) =
        (process(&db, CacheOptions::default()), process(&db, CacheOptions::default()));
    let provider = Provider::default();
    let policy = Policy::ttl(HOUR).source("provider").quality("0.75".parse().expect("a share"));
    let first = provider.next(here.cache(), &key("AAPL"), &policy).await.expect("a value");
    assert_eq!((*first.value, first.origin), (1, Origin::Fetched));
    let second = provider.next(here.cache(), &key("AAPL"), &policy).await.expect("a value");
    assert_eq!((*second.value, second.origin), (1, Origin::Memory));
    let other = provider.next(there.cache(), &key("AAPL"), &policy).await.expect("a value");
    assert_eq!((*other.value, other.origin), (1, Origin::Database));
    assert_eq!(provider.asked(), 1);
    for found in [&first, &second, &other] {
        assert_eq!(found.source(), Some("provider"));
        assert_eq!(found.quality().map(ToString::to_string).as_deref(), Some("0.75"));
        assert!(found.revision().is_some() && found.revision() == first.revision());
        assert!(found.age < GENEROUS && !found.is_stale());
    }
    let counters = here.cache().counters();
    assert_eq!((counters.memory_hits, counters.misses, counters.fetches), (1, 1, 1));
    let counters = there.cache().counters();
    assert_eq!((counters.database_hits, counters.misses, counters.fetches), (1, 0, 0));
}

#[tokio::test]
async fn ages_are_counted_from_when_the_value_was_stored() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    put(&here, "AAPL", 1).await;
    db.sql("UPDATE market_data_cache SET cached_at = now() - INTERVAL '20 min'").await;
    let there = process(&db, CacheOptions::default());
    for origin in [Origin::Database, Origin::Memory] {
        let found = there.cache().get::<u32>(&key("AAPL")).await.expect("get").expect("a value");
        assert_eq!(found.origin, origin);
        let minutes = found.age.as_secs_f64() / 60.0;
        assert!((20.0..22.0).contains(&minutes), "{minutes}");
    }
}

#[tokio::test]
async fn without_memory_every_value_comes_from_the_database() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    put(&here, "AAPL", 1).await;
    for handle in [&here, &there, &here] {
        let found = done(ask(handle, "AAPL", &Policy::ttl(HOUR), never())).await.expect("a value");
        assert_eq!((*found.value, found.origin), (1, Origin::Database));
    }
    // Changes are seen at once, and nobody has to listen for them.
    db.sql("UPDATE market_data_cache SET data = '2'").await;
    assert_eq!(value(&here, "AAPL").await, Some(2));
    let listeners = "SELECT count(*) AS n FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    assert_eq!(count(&db, listeners).await, 0);
}

/// A process that shares nothing with others.
fn alone(db: &TestDatabase) -> Database {
    process(db, CacheOptions::default().database(false))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_one_process_is_served_all_the_same() {
    let db = database().await;
    let here = alone(&db);
    let (fetch, mut fetching) = held();
    let mut calls = vec![ask(&here, "AAPL", &Policy::ttl(HOUR), fetch)];
    fetching.begun().await;
    calls.extend((0..63).map(|_| ask(&here, "AAPL", &Policy::ttl(HOUR), never())));
    eventually("all wait", async || here.cache().counters().waits == 63).await;
    fetching.answer(Ok(1));
    for call in calls {
        let found = done(call).await.expect("a value");
        assert_eq!((*found.value, found.revision()), (1, None));
    }
    assert_eq!(value(&here, "AAPL").await, Some(1));
    put(&here, "AAPL", 2).await;
    let found = done(ask(&here, "AAPL", &Policy::ttl(HOUR), never())).await.expect("a value");
    assert_eq!((*found.value, found.origin), (2, Origin::Memory));
    here.cache().invalidate(&CacheSelector::key(&key("AAPL"))).await.expect("invalidated");
    assert_eq!(value(&here, "AAPL").await, None);
    assert_eq!(value(&alone(&db), "AAPL").await, None, "nothing is shared");
    assert_eq!(count(&db, "SELECT count(*) AS n FROM market_data_cache").await, 0);
}

#[tokio::test]
async fn without_the_database_failures_are_hidden_and_paused_as_well() {
    let db = database().await;
    let here = alone(&db);
    let policy = Policy::ttl(MS * 50).stale_for(HOUR).soft_timeout(GENEROUS).retry_after(HOUR);
    let provider = Provider::default();
    provider.next(here.cache(), &key("AAPL"), &policy).await.expect("a value");
    eventually("it expires", async || value(&here, "AAPL").await.is_none()).await;
    for _ in 0..3 {
        let old = provider.fail(here.cache(), &key("AAPL"), &policy).await.expect("stale");
        assert_eq!((*old.value, old.origin), (1, Origin::Stale));
    }
    assert_eq!(provider.asked(), 2, "one fetch failed, then nobody asked");
    let failed = provider.fail(here.cache(), &key("MSFT"), &policy).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
    let refused = provider.fail(here.cache(), &key("MSFT"), &policy).await;
    assert!(matches!(refused, Err(Error::BackingOff { .. })), "{refused:?}");
    // A negative result.
    let nothing = |_| async { Ok::<_, BoxError>(None::<u32>) };
    let policy = Policy::ttl(MS * 50).negative_ttl(HOUR);
    for origin in [Origin::Fetched, Origin::Memory] {
        let found = here.cache().get_or_fetch(&key("NVDA"), &policy, nothing).await.expect("none");
        assert_eq!((*found.value, found.origin), (None, origin));
    }
}

#[tokio::test]
async fn without_any_level_values_are_fetched_and_shared_by_those_who_wait() {
    let db = database().await;
    let here = process(&db, CacheOptions::default().database(false).memory(0));
    let (fetch, mut fetching) = held();
    let first = ask(&here, "AAPL", &Policy::ttl(HOUR), fetch);
    fetching.begun().await;
    let second = ask(&here, "AAPL", &Policy::ttl(HOUR), never());
    eventually("it waits", async || here.cache().counters().waits == 1).await;
    fetching.answer(Ok(1));
    for call in [first, second] {
        assert_eq!(*done(call).await.expect("a value").value, 1);
    }
    assert_eq!(value(&here, "AAPL").await, None);
}
