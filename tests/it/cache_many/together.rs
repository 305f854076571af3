//! Several calls and processes at once.

use buffetbot_db::market_cache::CacheSelector;

use super::*;
use crate::support::{GENEROUS, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_sets_are_fetched_once_each_in_all_processes() {
    let db = crate::support::database(10).await;
    let processes = [process(&db, CacheOptions::default()), process(&db, CacheOptions::default())];
    for round in 0..5 {
        let provider = Provider::default();
        let all = keys(round * 100..round * 100 + 40);
        let tasks: Vec<_> = (0..12)
            .map(|i| {
                let (db, provider) = (processes[i % 2].clone(), provider.clone());
                let mut asked: Vec<_> = all.iter().cycle().skip(i * 7).take(25).cloned().collect();
                if i % 3 == 0 {
                    asked.reverse();
                }
                tokio::spawn(async move {
                    let answers = provider.get(&db, &asked).await;
                    for (key, (value, _)) in asked.iter().zip(values(&answers)) {
                        assert!(value.starts_with(&format!("{} ", key.ticker)), "{key:?}: {value}");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("answers");
        }
        let mut fetched: Vec<_> =
            provider.calls().concat().iter().map(|key| key.ticker.to_string()).collect();
        fetched.sort();
        let mut expected: Vec<_> = all.iter().map(|key| key.ticker.to_string()).collect();
        expected.sort();
        assert_eq!(fetched, expected, "each exactly once");
    }
    assert_eq!(leases(&db).await, 0);
}

#[tokio::test]
async fn a_key_that_is_being_fetched_alone_is_waited_for() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) =
        (process(&db, CacheOptions::default()), process(&db, CacheOptions::default()));
    let (gate, provider) = (Gate::new(), Provider::default());
    let alone = {
        let (gate, here) = (gate.clone(), here.clone());
        tokio::spawn(async move {
            let fetch = move |_| async move {
                gate.pass().await;
                Ok::<_, BoxError>("alone".to_owned())
            };
            here.cache().get_or_fetch::<String>(&key("T1"), &an_hour(), fetch).await
        })
    };
    gate.begun().await;
    let (first, last) = (keys(0..2), keys(1..3));
    let both = async { tokio::join!(provider.get(&here, &first), provider.get(&there, &last)) };
    let open = async {
        eventually("the others are fetched", async || provider.calls().len() == 2).await;
        gate.open();
    };
    let ((mine, theirs), ()) = tokio::join!(both, open);
    assert_eq!(values(&mine)[1], ("alone", Origin::Fetched));
    assert_eq!(values(&theirs)[0], ("alone", Origin::Database));
    let mut fetched = provider.calls().concat();
    fetched.sort_by(|a, b| a.ticker.as_str().cmp(b.ticker.as_str()));
    assert_eq!(fetched, keys([0, 2]));
    assert_eq!(*alone.await.expect("no panic").expect("a value").value, "alone");
    assert!(here.cache().counters().waits >= 1 && there.cache().counters().waits >= 1);
}

#[tokio::test]
async fn a_key_of_many_that_is_being_fetched_is_waited_for_alone() {
    let db = TestDatabase::new().await.expect("a database");
    let handle = process(&db, CacheOptions::default());
    let (gate, provider) = (Gate::new(), Provider::default());
    let many = behind(&gate, &provider, &handle, &keys(0..2), &an_hour());
    gate.begun().await;
    let alone = async {
        let never = |_| async { Err::<String, _>("fetched twice") };
        handle.cache().get_or_fetch::<String>(&key("T1"), &an_hour(), never).await
    };
    let open = async {
        eventually("it waits", async || handle.cache().counters().waits == 1).await;
        gate.open();
    };
    let (alone, ()) = tokio::join!(alone, open);
    assert_eq!(*alone.expect("a value").value, "T1 1");
    assert_eq!(errors(&many.await.expect("no panic")), [None, None]);
}

/// A process that has died: its lease is there, and nobody renews it.
#[tokio::test]
async fn a_holder_that_died_is_replaced_key_by_key() {
    let db = TestDatabase::new().await.expect("a database");
    sql(
        &db,
        "INSERT INTO cache_leases
            (space, ticker, name, parameters_key, token, taken_at, expires_at)
        VALUES ('market_data', 'T1', 'fundamentals', cache_parameters_key(NULL),
            nextval('cache_version'), now(), now() + interval '700 ms')",
    )
    .await;
    let provider = Provider::default();
    let answers = provider.get(&db, &keys(0..3)).await;
    assert_eq!(errors(&answers), [None; 3]);
    let mut calls = provider.calls();
    calls.sort_by_key(Vec::len);
    assert_eq!(
        calls,
        [keys([1]), keys([0, 2])],
        "the dead holder's key by itself, after its lease"
    );
    assert_eq!(leases(&db).await, 0);
}

/// A fetch for one key alone may return more than that.
#[tokio::test]
async fn the_value_of_another_key_is_not_taken_for_ones_own() {
    let db = TestDatabase::new().await.expect("a database");
    sql(
        &db,
        "INSERT INTO cache_leases
            (space, ticker, name, parameters_key, token, taken_at, expires_at)
        VALUES ('market_data', 'T1', 'fundamentals', cache_parameters_key(NULL),
            nextval('cache_version'), now(), now() + interval '300 ms')",
    )
    .await;
    let fetch = |_: Vec<CacheKey>| async {
        let every = keys(0..5).into_iter().map(|key| (key.clone(), key.ticker.to_string()));
        Ok::<Vec<_>, BoxError>(every.collect())
    };
    let answers = db.cache().get_many_or_fetch::<String>(&keys(0..3), &an_hour(), fetch).await;
    let answers = answers.expect("answers");
    assert_eq!(values(&answers), ["T0", "T1", "T2"].map(|value| (value, Origin::Fetched)));
}

#[tokio::test]
async fn what_is_invalidated_meanwhile_is_returned_and_not_stored() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) =
        (process(&db, CacheOptions::default()), process(&db, CacheOptions::default()));
    let (gate, provider) = (Gate::new(), Provider::default());
    let call = behind(&gate, &provider, &here, &keys(0..3), &an_hour());
    gate.begun().await;
    there.cache().invalidate(&CacheSelector::key(&key("T1"))).await.expect("invalidated");
    put(&there, &key("T2"), "put", &an_hour()).await;
    gate.open();
    let answers = call.await.expect("no panic");
    assert_eq!(values(&answers), ["T0 1", "T1 1", "T2 1"].map(|value| (value, Origin::Fetched)));
    assert_eq!(here.cache().counters().superseded, 2);
    for db in [&here, &there] {
        let found = async |n| db.cache().get::<String>(&keys([n])[0]).await.expect("an answer");
        let found = [found(0).await, found(1).await, found(2).await];
        let found = found.map(|f| f.map(|f| f.value.to_string()));
        assert_eq!(found, [Some("T0 1".into()), None, Some("put".into())]);
    }
}

#[tokio::test]
async fn what_is_invalidated_is_not_served_stale_when_the_fetch_fails() {
    let db = TestDatabase::new().await.expect("a database");
    let policy = an_hour().stale_for(HOUR).soft_timeout(GENEROUS);
    for key in keys(0..2) {
        put(&db, &key, "old", &policy).await;
    }
    db.cache().invalidate(&CacheSelector::key(&key("T0"))).await.expect("invalidated");
    sql(
        &db,
        "UPDATE market_data_cache SET cached_at = now() - interval '2 h',
        expires_at = now() - interval '1 h' WHERE ticker = 'T1'",
    )
    .await;
    let other = process(&db, CacheOptions::default());
    let answers = Provider::default().fail(&other, &keys(0..2), &policy).await;
    assert_eq!(errors(&answers), [Some("fetch"), None]);
    assert_eq!(values(&answers[1..]), [("old", Origin::Stale)]);
}
