//! One fetch at a time, and what becomes of one that others have overtaken.

use std::time::Instant;

use buffetbot_db::Repositories;
use buffetbot_db::cache::Origin;
use buffetbot_db::error::Entity;
use buffetbot_db::market_cache::CacheSelector;

use super::*;
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_make_one_fetch() {
    let db = database().await;
    let handles = [process(&db, CacheOptions::default()), process(&db, CacheOptions::default())];
    let provider = Provider::default();
    let tasks: Vec<_> = (0..64)
        .map(|i| {
            let (handle, provider) = (handles[i % 2].clone(), provider.clone());
            let policy = Policy::ttl(HOUR);
            tokio::spawn(async move { provider.next(handle.cache(), &key("AAPL"), &policy).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(*done(task).await.expect("a value").value, 1);
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn what_was_put_during_a_fetch_stays() {
    let db = database().await;
    // With a row before, and without.
    for ticker in ["AAPL", "MSFT"] {
        let [here, there] = forgetful(&db);
        if ticker == "AAPL" {
            put(&there, ticker, 5).await;
            expire(&db, ticker, None).await;
        }
        let (fetch, mut fetching) = held();
        let call = ask(&here, ticker, &Policy::ttl(HOUR), fetch);
        fetching.begun().await;
        put(&there, ticker, 9).await;
        fetching.answer(Ok(1));
        let answer = done(call).await.expect("the caller gets what was fetched");
        assert_eq!((*answer.value, answer.origin), (1, Origin::Fetched));
        assert_eq!(answer.revision(), None, "it was not stored");
        assert_eq!(here.cache().counters().superseded, 1);
        assert_eq!((value(&here, ticker).await, value(&there, ticker).await), (Some(9), Some(9)));
    }
}

#[tokio::test]
async fn what_was_overtaken_by_put_is_not_left_in_memory() {
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default()));
    let (fetch, mut fetching) = held();
    let call = ask(&here, "AAPL", &Policy::ttl(HOUR), fetch);
    fetching.begun().await;
    put(&there, "AAPL", 9).await;
    fetching.answer(Ok(1));
    assert_eq!(*done(call).await.expect("a value").value, 1);
    assert_eq!(value(&here, "AAPL").await, Some(9));
}

#[tokio::test]
async fn a_fetch_that_outlasts_its_lease_keeps_it() {
    const LEASE: Duration = Duration::from_millis(300);
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default().lease(LEASE)));
    let (fetch, mut fetching) = held();
    let first = ask(&here, "AAPL", &Policy::ttl(HOUR), fetch);
    fetching.begun().await;
    let second = ask(&there, "AAPL", &Policy::ttl(HOUR), never());
    let token = count(&db, "SELECT token AS n FROM cache_leases").await;
    let began = Instant::now();
    eventually("the lease was renewed past several lives", async || {
        let held = "SELECT token AS n FROM cache_leases";
        assert_eq!(count(&db, held).await, token, "it is not taken from the one who renews it");
        began.elapsed() > 4 * LEASE
    })
    .await;
    fetching.answer(Ok(1));
    assert_eq!(*done(first).await.expect("a value").value, 1);
    let second = done(second).await.expect("a value");
    assert_eq!((*second.value, second.origin), (1, Origin::Database));
    assert_eq!(count(&db, "SELECT count(*) AS n FROM cache_leases").await, 0, "given up");
}

/// The database's clock was ahead when somebody took the lease, or put the next fetch off, and is right now.
#[tokio::test]
async fn c7_a_lease_that_cannot_be_true_keeps_nobody_away() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    for (ticker, lease) in [
        ("AAPL", "1, now() + INTERVAL '1 hour', now() + INTERVAL '1 hour 5 s'"),
        ("MSFT", "1, now(), now() + INTERVAL '1 hour'"),
        ("NVDA", "NULL, now() + INTERVAL '1 hour', now() + INTERVAL '1 hour 5 s'"),
    ] {
        db.sql(&format!(
            "INSERT INTO cache_leases (space, ticker, name, parameters_key, token, taken_at, expires_at)
             VALUES ('market_data', '{ticker}', 'fundamentals', cache_parameters_key(NULL), {lease})"
        ))
        .await;
        let answer = done(ask(&here, ticker, &Policy::ttl(HOUR), gives(1))).await.expect("a value");
        assert_eq!((*answer.value, answer.origin), (1, Origin::Fetched));
    }
}

#[tokio::test]
async fn c7_a_lease_longer_than_a_minute_is_a_minute_also_of_many_keys() {
    let db = database().await;
    let here = process(&db, CacheOptions::default().lease(HOUR));
    let (begin, begun) = oneshot::channel();
    let begin = std::sync::Mutex::new(Some(begin));
    let many = tokio::spawn(async move {
        let fetch = move |_: Vec<CacheKey>| {
            begin.lock().expect("no panic").take().map(|begin: oneshot::Sender<()>| begin.send(()));
            std::future::pending::<Result<Vec<(CacheKey, u32)>, BoxError>>()
        };
        let keys = [key("AAPL"), key("MSFT")];
        let policy = Policy::ttl(HOUR);
        here.cache().get_many_or_fetch::<u32>(&keys, &policy, fetch).await.map(drop)
    });
    tokio::time::timeout(GENEROUS, begun).await.expect("in time").expect("it fetches");
    let long = "SELECT count(*) AS n FROM cache_leases WHERE expires_at > now() + INTERVAL '1 min'";
    assert_eq!(count(&db, long).await, 0);
    assert_eq!(count(&db, "SELECT count(*) AS n FROM cache_leases").await, 2);
    many.abort();
}

fn listing() -> Entity {
    Entity::Other("listing".into())
}

/// "There is no such thing" is an answer: the next caller may ask again, of something else or later.
#[tokio::test]
async fn b16_what_a_fetch_says_of_the_request_puts_nobody_off() {
    let db = database().await;
    let policy = Policy::ttl(HOUR).retry_after(HOUR);
    let absent =
        || |_| async { Err::<u32, _>(Error::NotFound { entity: listing(), key: "AAPL".into() }) };
    let [here, there] = forgetful(&db);
    for handle in [&here, &here, &there] {
        let answer = done(ask(handle, "AAPL", &policy, absent())).await;
        assert!(
            matches!(&answer, Err(Error::NotFound { entity, .. }) if *entity == listing()),
            "{answer:?}"
        );
    }
    let answer = done(ask(&there, "AAPL", &policy, gives(1))).await.expect("a value");
    assert_eq!((*answer.value, answer.origin), (1, Origin::Fetched));
    assert_eq!(here.cache().counters().fetch_errors, 0);
    // Unless it says so, and then for as long as it says.
    let busy = |_| async { Err::<u32, _>(Error::BackingOff { retry_in: HOUR * 2 }) };
    let answer = done(ask(&here, "MSFT", &policy, busy)).await;
    assert!(
        matches!(&answer, Err(Error::BackingOff { retry_in }) if *retry_in == HOUR * 2),
        "{answer:?}"
    );
    for handle in [&here, &there] {
        let answer = done(ask(handle, "MSFT", &policy, never())).await;
        assert!(
            matches!(&answer, Err(Error::BackingOff { retry_in }) if *retry_in > HOUR),
            "{answer:?}"
        );
    }
    // What fails is still an error of the fetch.
    let failing = |_| async { Err::<u32, _>(Error::Cancelled) };
    let answer = done(ask(&here, "NVDA", &policy, failing)).await;
    assert!(matches!(&answer, Err(Error::Fetch { .. })), "{answer:?}");
}

/// So is what cannot be stored: the provider has answered, and what is wrong is its value or how it is to be kept.
#[tokio::test]
async fn b16_what_is_fetched_and_cannot_be_stored_puts_nobody_off() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let policy = Policy::ttl(HOUR).retry_after(HOUR);
    let zero = Fetched::new(1.0).policy(Policy::ttl(Duration::ZERO));
    let long = Fetched::new(1.0).source("s".repeat(51));
    let wrongs = [Fetched::new(f64::NAN), zero, long, Fetched::unchanged()].into_iter().enumerate();
    for (n, wrong) in wrongs {
        let key = key(&format!("T{n}"));
        for handle in [&here, &here, &there] {
            let wrong = wrong.clone();
            let fetch = move |_| async { Ok::<_, BoxError>(wrong) };
            let answer = handle.cache().get_or_fetch::<f64>(&key, &policy, fetch).await;
            assert!(matches!(&answer, Err(Error::Invalid { .. })), "{n}: {answer:?}");
            let (wanted, wrong) = (key.clone(), Fetched::new(f64::NAN));
            let fetch = move |_| {
                let found = vec![(wanted.clone(), wrong.clone())];
                async move { Ok::<_, BoxError>(found) }
            };
            let keys = [key.clone()];
            let answers = handle.cache().get_many_or_fetch::<f64>(&keys, &policy, fetch).await;
            let answers = answers.expect("answers");
            assert!(matches!(&answers[..], [Err(Error::Invalid { .. })]), "{n}: {answers:?}");
        }
        let fetch = |_| async { Ok::<_, BoxError>(2.0) };
        let answer = there.cache().get_or_fetch::<f64>(&key, &policy, fetch).await;
        let answer = answer.expect("a value");
        assert_eq!((*answer.value, answer.origin), (2.0, Origin::Fetched), "{n}");
    }
    assert_eq!(here.cache().counters().fetch_errors, 0);
    assert_eq!(count(&db, "SELECT count(*) AS n FROM cache_leases").await, 0);
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_caller_leaves() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    let (fetch, mut fetching) = held();
    let first = ask(&here, "AAPL", &Policy::ttl(HOUR), fetch);
    fetching.begun().await;
    let second = ask(&here, "AAPL", &Policy::ttl(HOUR), never());
    eventually("the second waits", async || here.cache().counters().waits == 1).await;
    first.abort();
    assert!(first.await.expect_err("it was stopped").is_cancelled());
    // Joins although the one who began has left.
    let third = ask(&here, "AAPL", &Policy::ttl(HOUR), never());
    eventually("the third waits", async || here.cache().counters().waits == 2).await;
    second.abort();
    third.abort();
    let _ = (second.await, third.await);
    fetching.answer(Ok(7));
    let last = ask(&here, "AAPL", &Policy::ttl(HOUR), never());
    assert_eq!(*done(last).await.expect("a value").value, 7);
    assert_eq!(here.cache().counters().fetches, 1);
}

#[tokio::test]
async fn a_fetch_that_panics_is_a_failed_one() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let policy = Policy::ttl(HOUR).retry_after(MS * 300);
    let (release, released) = oneshot::channel::<()>();
    let first = ask(&here, "AAPL", &policy, |_| async move {
        let _ = released.await;
        panic!("as told") as Result<u32, BoxError>
    });
    eventually("it fetches", async || here.cache().counters().fetches == 1).await;
    let second = ask(&here, "AAPL", &policy, never());
    eventually("the second waits", async || here.cache().counters().waits == 1).await;
    release.send(()).expect("it waits");
    for call in [first, second] {
        let error = done(call).await.expect_err("it panicked");
        assert!(matches!(&error, Error::Fetch { .. }), "{error:?}");
        assert_eq!(format!("{error:#}"), "the fetch failed: the fetch panicked");
    }
    assert_eq!(here.cache().counters().fetch_errors, 1);
    let backing_off = ask(&there, "AAPL", &policy, never());
    assert!(matches!(done(backing_off).await, Err(Error::BackingOff { .. })), "in every process");
    eventually("the lease was given up, and the pause ends", async || {
        match done(ask(&there, "AAPL", &policy, gives(3))).await {
            Ok(cached) => *cached.value == 3,
            Err(Error::BackingOff { .. }) => false,
            Err(error) => panic!("{error:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn two_types_of_one_key_are_two_fetches_and_the_later_stays() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    let (fetch, mut fetching) = held();
    let number = ask(&here, "AAPL", &Policy::ttl(HOUR), fetch);
    fetching.begun().await;
    let (cache, key) = (here.cache().clone(), key("AAPL"));
    let text = tokio::spawn(async move {
        let fetch = |_| async { Ok::<_, BoxError>("text".to_owned()) };
        cache.get_or_fetch::<String>(&key, &Policy::ttl(HOUR), fetch).await
    });
    eventually("the second waits for the lease", async || here.cache().counters().waits == 1).await;
    fetching.answer(Ok(1));
    assert_eq!(*done(number).await.expect("a number").value, 1);
    assert_eq!(*done(text).await.expect("a text").value, "text");
    assert_eq!(here.cache().counters().fetches, 2);
}

#[tokio::test]
async fn what_was_invalidated_during_a_fetch_is_not_brought_back() {
    let db = database().await;
    let aapl = key("AAPL").ticker;
    for round in 0..3 {
        let [here, there] = forgetful(&db);
        if round > 0 {
            put(&there, "AAPL", 5).await;
            expire(&db, "AAPL", Some(HOUR)).await;
        }
        let (fetch, mut fetching) = held();
        let call = ask(&here, "AAPL", &Policy::ttl(HOUR), fetch);
        fetching.begun().await;
        match round {
            0 | 1 => drop(there.cache().invalidate(&CacheSelector::ticker(&aapl)).await),
            _ => drop(there.market_cache().invalidate(&CacheSelector::ticker(&aapl)).await),
        }
        fetching.answer(Ok(1));
        assert_eq!(*done(call).await.expect("the caller gets what was fetched").value, 1);
        assert_eq!(here.cache().counters().superseded, 1, "{round}");
        for handle in [&here, &there] {
            assert_eq!(value(handle, "AAPL").await, None, "{round}");
        }
        // Nor is there a lease in the way of the next fetch.
        let next = done(ask(&there, "AAPL", &Policy::ttl(HOUR), gives(2))).await.expect("a value");
        assert_eq!((*next.value, next.origin), (2, Origin::Fetched));
        db.sql("DELETE FROM market_data_cache").await;
    }
}

#[tokio::test]
async fn those_who_wait_for_an_invalidated_fetch_fetch_again() {
    let db = database().await;
    let [here, there] = forgetful(&db);
    let (fetch, mut fetching) = held();
    let first = ask(&here, "AAPL", &Policy::ttl(HOUR), fetch);
    fetching.begun().await;
    let (fetch, mut again) = held();
    let second = ask(&there, "AAPL", &Policy::ttl(HOUR), fetch);
    eventually("it waits", async || there.cache().counters().waits == 1).await;
    let selector = CacheSelector::key(&key("AAPL"));
    there.cache().invalidate(&selector).await.expect("invalidated");
    again.begun().await;
    again.answer(Ok(2));
    assert_eq!(*done(second).await.expect("a value").value, 2);
    fetching.answer(Ok(1));
    assert_eq!(*done(first).await.expect("what it fetched").value, 1);
    for handle in [&here, &there] {
        assert_eq!(value(handle, "AAPL").await, Some(2));
    }
}
