//! One call: failures, limits, size.

use std::collections::BTreeMap;

use super::*;
use crate::support::{GENEROUS, eventually};

#[tokio::test]
async fn a_failing_fetch_fails_what_has_no_stale_value() {
    let db = TestDatabase::new().await.expect("a database");
    let provider = Provider::default();
    let policy = an_hour().stale_for(HOUR).soft_timeout(GENEROUS);
    put(&db, &key("T1"), "stale", &policy).await;
    expire(&db).await;
    let other = process(&db, CacheOptions::default());
    let failed = provider.fail(&other, &keys(0..3), &policy).await;
    assert_eq!(errors(&failed), [Some("fetch"), None, Some("fetch")]);
    assert_eq!(values(&failed[1..2]), [("stale", Origin::Stale)]);
    let source = failed[0].as_ref().err().and_then(std::error::Error::source).expect("a cause");
    assert_eq!(source.to_string(), "the provider is down");
    // Nobody asks again during the pause, here or elsewhere.
    for db in [&other, &process(&db, CacheOptions::default())] {
        let backing_off = provider.fail(db, &keys(0..3), &policy).await;
        assert_eq!(errors(&backing_off), [Some("put off"), None, Some("put off")]);
        assert_eq!(values(&backing_off[1..2]), [("stale", Origin::Stale)]);
    }
    assert_eq!(provider.calls().len(), 1);
    let counters = other.cache().counters();
    assert_eq!((counters.fetch_errors, counters.backing_off, counters.stale_served), (3, 3, 2));
    assert_eq!(leases(&db).await, 0);
}

#[tokio::test]
async fn the_pause_doubles_with_every_failure_wherever_it_was() {
    let db = TestDatabase::new().await.expect("a database");
    let provider = Provider::default();
    let policy = an_hour().retry_after(HOUR).retry_at_most(HOUR * 24);
    for failures in 0..3 {
        let handle = process(&db, CacheOptions::default());
        provider.fail(&handle, &keys(0..2), &policy).await;
        let backing_off = provider.fail(&handle, &keys(0..2), &policy).await;
        for answer in backing_off {
            match answer {
                Err(Error::BackingOff { retry_in }) => {
                    let pause = HOUR * (1 << failures);
                    assert!(retry_in <= pause && retry_in > pause - GENEROUS, "{retry_in:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        sql(&db, "UPDATE cache_leases SET expires_at = now()").await;
    }
    assert_eq!(provider.calls().len(), 3);
    // What works ends it.
    let handle = process(&db, CacheOptions::default());
    assert_eq!(errors(&provider.get(&handle, &keys(0..2)).await), [None, None]);
    assert_eq!(provider.calls().len(), 4);
}

#[tokio::test]
async fn a_fetch_that_panics_is_a_failure_of_all_its_keys() {
    let db = TestDatabase::new().await.expect("a database");
    for is_early in [true, false] {
        let handle = process(&db, CacheOptions::default());
        let fetch = move |_: Vec<CacheKey>| {
            assert!(!is_early, "a defect in the making of the future");
            async { panic!("a defect") as Result<Vec<(CacheKey, String)>, BoxError> }
        };
        let policy = an_hour().retry_after(Duration::from_millis(1));
        let answers = handle.cache().get_many_or_fetch::<String>(&keys(0..2), &policy, fetch).await;
        assert_eq!(errors(&answers.expect("answers")), [Some("fetch"); 2]);
        assert_eq!(leases(&db).await, 0, "the leases are given up");
        let provider = Provider::default();
        eventually("the next call fetches", async || {
            errors(&provider.get(&handle, &keys(0..2)).await) == [None; 2]
        })
        .await;
        sql(&db, "DELETE FROM market_data_cache").await;
    }
}

#[tokio::test]
async fn a_hanging_fetch_costs_callers_their_limits() {
    let db = TestDatabase::new().await.expect("a database");
    let (gate, provider) = (Gate::new(), Provider::default());
    let stale = an_hour().stale_for(HOUR);
    put(&db, &key("T0"), "stale", &stale).await;
    expire(&db).await;
    let handle = process(&db, CacheOptions::default());
    // Not at all for what is stale, until the hard limit for what is missing.
    let policy = stale.hard_timeout(Duration::from_millis(300));
    let answers = behind(&gate, &provider, &handle, &keys(0..2), &policy).await.expect("no panic");
    assert_eq!(errors(&answers), [None, Some("timeout")]);
    assert_eq!(values(&answers[..1]), [("stale", Origin::Stale)]);
    // The fetch ends at its own limit, and gives its leases up.
    eventually("the leases are given up", async || leases(&db).await == 0).await;
    eventually("it is counted", async || handle.cache().counters().fetch_errors == 2).await;
}

#[tokio::test]
async fn stale_values_are_returned_at_once_and_replaced_when_the_fetch_is_done() {
    let db = TestDatabase::new().await.expect("a database");
    let (gate, provider) = (Gate::new(), Provider::default());
    let policy = an_hour().stale_for(HOUR).hard_timeout(GENEROUS);
    for key in keys(0..3) {
        put(&db, &key, "stale", &policy).await;
    }
    expire(&db).await;
    let handle = process(&db, CacheOptions::default());
    let answers = behind(&gate, &provider, &handle, &keys(0..3), &policy).await.expect("no panic");
    assert_eq!(values(&answers), [("stale", Origin::Stale); 3]);
    // The caller has left; the fetch goes on.
    gate.begun().await;
    gate.open();
    eventually("the values are fresh again", async || {
        let answers = provider.get_by(&handle, &keys(0..3), &policy).await;
        values(&answers).iter().all(|(value, _)| value.ends_with(" 1"))
    })
    .await;
    assert_eq!(provider.calls(), [keys(0..3)]);
    assert_eq!(handle.cache().counters().refreshes, 3);
}

/// No connection is held while fetching, and many keys need no more than one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_one_is_enough() {
    let db = crate::support::database(1).await;
    let (gate, provider) = (Gate::new(), Provider::default());
    let handle = process(&db, CacheOptions::default());
    let asked = keys(0..20);
    let calls: Vec<_> =
        (0..5).map(|_| behind(&gate, &provider, &handle, &asked, &an_hour())).collect();
    gate.begun().await;
    sql(&db, "SELECT 1").await;
    gate.open();
    for call in calls {
        assert_eq!(errors(&call.await.expect("no panic")), [None; 20]);
    }
    // In one request or, where callers interleave, in several; each key once.
    let mut fetched = provider.calls().concat();
    fetched.sort_by_key(|key| asked.iter().position(|other| other == key));
    assert_eq!(fetched, asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_keys_cost_a_statement_to_read_and_two_each_to_fetch() {
    let counts = Arc::new(Mutex::new(BTreeMap::<&str, usize>::new()));
    let counted = counts.clone();
    let observer: buffetbot_db::config::QueryObserver = Arc::new(move |report| {
        let (sql, mut counts) = (report.sql, counted.lock().expect("no panic"));
        let kind = match sql {
            _ if sql.contains("INSERT INTO market_data_cache") => "store",
            _ if sql.contains("FROM unnest") => "read",
            _ if sql.contains("INSERT INTO cache_leases") => "lease",
            // Of the log, of notifications, and renewals, by time and not by key.
            _ if sql.contains("cache_changes") || sql.contains("pg_current_snapshot") => return,
            _ if sql.contains("UPDATE cache_leases") || sql.starts_with("NOTIFY") => return,
            _ => sql.split_whitespace().next().map_or("", |_| "other"),
        };
        *counts.entry(kind).or_default() += 1;
    });
    let db = TestDatabase::with(|config| config.observer(observer)).await.expect("a database");
    // Nobody waits so long for 1,000 writes, on any machine.
    let options = || CacheOptions::default().lease(GENEROUS * 10).database_timeout(GENEROUS);
    let (here, there) = (process(&db, options()), process(&db, options()));
    let provider = Provider::default();
    let policy = an_hour().hard_timeout(GENEROUS * 5);
    let asked = keys(0..1_000);
    // The readers of the log begin.
    provider.get(&here, &keys([5_000])).await;
    provider.get(&there, &keys([5_000])).await;
    let during = async |work: &dyn Fn() -> futures_util::future::BoxFuture<'static, usize>| {
        counts.lock().expect("no panic").clear();
        assert_eq!(work().await, 1_000);
        counts.lock().expect("no panic").clone().into_iter().collect::<Vec<_>>()
    };
    let ask = |db: &Database, origin: Origin| {
        let (provider, db, asked, policy) =
            (provider.clone(), db.clone(), asked.clone(), policy.clone());
        move || -> futures_util::future::BoxFuture<'static, usize> {
            let (provider, db, asked, policy) =
                (provider.clone(), db.clone(), asked.clone(), policy.clone());
            Box::pin(async move {
                let answers = provider.get_by(&db, &asked, &policy).await;
                values(&answers).iter().filter(|(_, from)| *from == origin).count()
            })
        }
    };
    let fetching = during(&ask(&here, Origin::Fetched)).await;
    assert_eq!(fetching, [("lease", 1_000), ("read", 2), ("store", 1_000)]);
    assert_eq!(during(&ask(&there, Origin::Database)).await, [("read", 1)]);
    assert_eq!(during(&ask(&there, Origin::Memory)).await, []);
    assert_eq!(provider.calls().len(), 2);
    assert_eq!(leases(&db).await, 0);
}
