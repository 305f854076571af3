//! Failures of the provider: stale values, pauses, negative results, a pool of one.

use buffetbot_db::cache::Origin;
use buffetbot_db::market_cache::CacheSelector;

use super::*;
use crate::support::{database as pool_of, eventually};

/// A stale window of an hour, and a pause that does not end within a test.
fn patient() -> Policy {
    Policy::ttl(HOUR).stale_for(HOUR).retry_after(HOUR).retry_at_most(HOUR)
}

async fn has_stale(db: &TestDatabase, handle: &Database, ticker: &str, value: u32) {
    put(handle, ticker, value).await;
    expire(db, ticker, Some(HOUR)).await;
}

fn fails() -> impl Fetch<u32> {
    |_| async { Err::<u32, _>("the provider is down") }
}

fn is_put_off(answer: &Asked) -> bool {
    matches!(answer, Err(Error::BackingOff { retry_in }) if !retry_in.is_zero())
}

#[tokio::test]
async fn a_stale_value_is_returned_at_once_while_it_is_fetched() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    has_stale(&db, &here, "AAPL", 1).await;
    let (fetch, mut fetching) = held();
    let answer = done(ask(&here, "AAPL", &patient(), fetch)).await.expect("the stale value");
    assert_eq!((*answer.value, answer.origin, answer.is_stale()), (1, Origin::Stale, true));
    assert!(answer.age >= HOUR - MS, "its age goes on: {:?}", answer.age);
    let previous = fetching.begun().await.expect("the fetch is given what was there");
    assert_eq!((*previous.value, previous.is_stale()), (1, true));
    // All others, too, wherever they are.
    for handle in [&here, &there] {
        let answer = done(ask(handle, "AAPL", &patient(), never())).await.expect("stale");
        assert_eq!((*answer.value, answer.origin), (1, Origin::Stale));
    }
    assert_eq!(value(&here, "AAPL").await, None, "`get` returns fresh values only");
    fetching.answer(Ok(2));
    eventually("the fetch has stored", async || value(&there, "AAPL").await == Some(2)).await;
    let counters = here.cache().counters();
    assert_eq!((counters.stale_served, counters.fetches, counters.refreshes), (2, 1, 1));
}

#[tokio::test]
async fn a_value_that_expires_in_memory_is_served_stale_from_there() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    let policy = Policy { ttl: MS * 100, ..patient() };
    done(ask(&here, "AAPL", &policy, gives(1))).await.expect("a value");
    eventually("it expires", async || value(&here, "AAPL").await.is_none()).await;
    let (fetch, mut fetching) = held();
    let answer = done(ask(&here, "AAPL", &policy, fetch)).await.expect("stale");
    assert_eq!((*answer.value, answer.origin), (1, Origin::Stale));
    fetching.begun().await;
}

#[tokio::test]
async fn the_soft_timeout_is_for_those_who_have_a_stale_value() {
    let db = database().await;
    let [here, _] = forgetful(&db);
    has_stale(&db, &here, "AAPL", 1).await;
    // Fast enough: the fresh value.
    let soft = patient().soft_timeout(GENEROUS).hard_timeout(GENEROUS);
    let (fetch, mut fetching) = held();
    let call = ask(&here, "AAPL", &soft, fetch);
    fetching.begun().await;
    fetching.answer(Ok(2));
    let answer = done(call).await.expect("a value");
    assert_eq!((*answer.value, answer.origin), (2, Origin::Fetched));
    // Too slow: the stale one, and the fetch goes on.
    expire(&db, "AAPL", Some(HOUR)).await;
    let (fetch, mut fetching) = held();
    let call = ask(&here, "AAPL", &patient().soft_timeout(MS * 50), fetch);
    fetching.begun().await;
    let answer = done(call).await.expect("a value");
    assert_eq!((*answer.value, answer.origin), (2, Origin::Stale));
    fetching.answer(Ok(3));
    eventually("the fetch has stored", async || value(&here, "AAPL").await == Some(3)).await;
}

#[tokio::test]
async fn a_fetch_that_hangs_ends_at_the_hard_timeout() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let policy = patient().hard_timeout(MS * 200);
    let (fetch, mut fetching) = held();
    let call = ask(&here, "AAPL", &policy, fetch);
    fetching.begun().await;
    let error = done(call).await.expect_err("nothing to return");
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    eventually("it counts as failed, everywhere", async || {
        is_put_off(&done(ask(&there, "AAPL", &policy, fails())).await)
    })
    .await;
    assert_eq!(here.cache().counters().fetch_errors, 1);
    assert_eq!(there.cache().counters().fetches, 0);
    // With a stale value nobody sees it.
    has_stale(&db, &here, "MSFT", 1).await;
    let (fetch, _fetching) = held();
    let answer = done(ask(&here, "MSFT", &policy.soft_timeout(GENEROUS), fetch)).await;
    assert_eq!(answer.expect("the stale value").origin, Origin::Stale);
}

#[tokio::test]
async fn a_failing_fetch_is_hidden_by_the_stale_value_and_counted() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    has_stale(&db, &here, "AAPL", 1).await;
    let policy = patient().soft_timeout(GENEROUS);
    let answer = done(ask(&here, "AAPL", &policy, fails())).await.expect("the stale value");
    assert_eq!((*answer.value, answer.origin), (1, Origin::Stale));
    assert_eq!(here.cache().counters().fetch_errors, 1);
    // During the pause nobody fetches, in any process; all have the stale value.
    for handle in [&here, &there] {
        let answer = done(ask(handle, "AAPL", &policy, never())).await.expect("the stale value");
        assert_eq!((*answer.value, answer.origin), (1, Origin::Stale));
    }
    assert_eq!(there.cache().counters().fetches, 0);
}

#[tokio::test]
async fn nothing_is_served_past_its_stale_window() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    // Past the row's window, whatever the caller would accept.
    put(&here, "AAPL", 1).await;
    expire(&db, "AAPL", Some(Duration::ZERO)).await;
    let failed = done(ask(&there, "AAPL", &patient().soft_timeout(GENEROUS), fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
    // Without a window.
    put(&here, "MSFT", 1).await;
    expire(&db, "MSFT", None).await;
    let failed = done(ask(&there, "MSFT", &patient().soft_timeout(GENEROUS), fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
    // The window ends while the process holds a copy.
    let holder = process(&db, CacheOptions::default());
    let policy = Policy { ttl: MS * 50, stale_for: MS * 50, ..patient() }.jitter(0.0);
    done(ask(&holder, "NVDA", &policy, gives(1))).await.expect("a value");
    eventually("the window ends", async || {
        count(&db, "SELECT count(*) AS n FROM market_data_cache WHERE ticker = 'NVDA' AND stale_until < now()")
            .await
            == 1
    })
    .await;
    let failed = done(ask(&holder, "NVDA", &patient().soft_timeout(GENEROUS), fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
}

#[tokio::test]
async fn pauses_double_and_are_shared_and_end_with_a_success() {
    let db = database().await;
    let policy = Policy::ttl(HOUR).retry_after(HOUR).retry_at_most(HOUR * 3);
    let pause = "SELECT round(extract(epoch FROM expires_at - now()) / 3600)::BIGINT AS n
                 FROM cache_leases WHERE token IS NULL";
    for hours in 1..=3 {
        // Each failure in another process than the last: they count together.
        let [failing, other] = forgetful(&db);
        let failed = done(ask(&failing, "AAPL", &policy, fails())).await;
        assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
        assert_eq!(count(&db, pause).await, hours);
        for handle in [&failing, &other] {
            let refused = done(ask(handle, "AAPL", &policy, never())).await;
            assert!(is_put_off(&refused), "{refused:?}");
        }
        assert_eq!(failing.cache().counters().backing_off, 1);
        db.sql("UPDATE cache_leases SET expires_at = now()").await;
    }
    let [here, _] = forgetful(&db);
    let answer = done(ask(&here, "AAPL", &policy, gives(5))).await.expect("a value");
    assert_eq!((*answer.value, answer.origin), (5, Origin::Fetched));
    assert_eq!(count(&db, "SELECT count(*) AS n FROM cache_leases").await, 0, "all is forgotten");
}

#[tokio::test]
async fn after_the_pause_the_same_process_fetches_again() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let policy = Policy::ttl(HOUR).retry_after(MS * 200);
    let failed = done(ask(&here, "AAPL", &policy, fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
    let provider = Provider::default();
    eventually("the pause ends", async || {
        provider.next(here.cache(), &key("AAPL"), &policy).await.is_ok()
    })
    .await;
    assert_eq!(provider.asked(), 1);
    assert_eq!(value(&there, "AAPL").await, Some(1));
}

#[tokio::test]
async fn what_is_put_ends_the_pause() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let policy = patient();
    let failed = done(ask(&here, "AAPL", &policy, fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
    put(&there, "AAPL", 4).await;
    let answer = done(ask(&here, "AAPL", &policy, never())).await.expect("the value that was put");
    assert_eq!((*answer.value, answer.origin), (4, Origin::Database));
}

#[tokio::test]
async fn that_there_is_nothing_is_kept_for_a_while() {
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default()));
    let policy = Policy::ttl(HOUR).jitter(0.0).negative_ttl(MS * 60_000).stale_for(HOUR);
    let ask = async |handle: &Database, nothing: Option<u32>| {
        let fetch = move |_| async move { Ok::<_, BoxError>(nothing) };
        handle.cache().get_or_fetch::<Option<u32>>(&key("AAPL"), &policy, fetch).await.expect("ok")
    };
    assert_eq!(*ask(&here, None).await.value, None);
    let kept = "SELECT round(extract(epoch FROM expires_at - cached_at))::BIGINT AS n
                FROM market_data_cache WHERE stale_until IS NULL";
    assert_eq!(count(&db, kept).await, 60, "no stale window either");
    for handle in [&here, &there] {
        assert_eq!(*ask(handle, Some(1)).await.value, None, "it is not fetched again");
    }
    assert_eq!(ask(&here, Some(1)).await.origin, Origin::Memory);
    expire(&db, "AAPL", None).await;
    eventually("it is fetched again", async || *ask(&here, Some(1)).await.value == Some(1)).await;
    assert_eq!(count(&db, "SELECT count(*) AS n FROM market_data_cache WHERE data = '1'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_one_stays_usable_while_many_wait_for_a_fetch() {
    let db = pool_of(1).await;
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default()));
    let (fetch, mut fetching) = held();
    let mut calls = vec![ask(&here, "AAPL", &Policy::ttl(HOUR), fetch)];
    fetching.begun().await;
    for i in 0..20 {
        calls.push(ask([&here, &there][i % 2], "AAPL", &Policy::ttl(HOUR), never()));
    }
    eventually("all wait", async || {
        here.cache().counters().waits == 10 && there.cache().counters().waits == 10
    })
    .await;
    for n in 0..10 {
        assert_eq!(count(&db, &format!("SELECT {n}::BIGINT AS n")).await, n);
    }
    // Another key of the same cache, too.
    let other = done(ask(&there, "MSFT", &Policy::ttl(HOUR), gives(2))).await.expect("a value");
    assert_eq!(*other.value, 2);
    fetching.answer(Ok(1));
    for call in calls {
        assert_eq!(*done(call).await.expect("a value").value, 1);
    }
}

#[tokio::test]
async fn what_was_invalidated_is_not_served_stale() {
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default()));
    let policy = patient().soft_timeout(GENEROUS);
    for handle in [&here, &there] {
        done(ask(handle, "AAPL", &policy, gives(1))).await.expect("a value");
    }
    let selector = CacheSelector::key(&key("AAPL"));
    assert_eq!(here.cache().invalidate(&selector).await.expect("invalidated"), 1);
    let failed = done(ask(&here, "AAPL", &policy, fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
    eventually("nor by another", async || {
        match done(ask(&there, "AAPL", &policy, fails())).await {
            Ok(old) => {
                assert_eq!(old.origin, Origin::Memory, "until it is told");
                false
            }
            Err(error) => {
                assert!(is_put_off(&Err(error)), "one of the two has failed");
                true
            }
        }
    })
    .await;
    // Neither is one that had expired before.
    has_stale(&db, &here, "MSFT", 1).await;
    let selector = CacheSelector::key(&key("MSFT"));
    there.cache().invalidate(&selector).await.expect("invalidated");
    let failed = done(ask(&there, "MSFT", &policy, fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
}

#[tokio::test]
async fn invalidation_ends_the_pause() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let failed = done(ask(&here, "AAPL", &patient(), fails())).await;
    assert!(matches!(failed, Err(Error::Fetch { .. })), "{failed:?}");
    here.cache().invalidate(&CacheSelector::key(&key("AAPL"))).await.expect("invalidated");
    let answer = done(ask(&here, "AAPL", &patient(), gives(1))).await.expect("a value");
    assert_eq!((*answer.value, answer.origin), (1, Origin::Fetched));
    assert_eq!(value(&there, "AAPL").await, Some(1));
}
