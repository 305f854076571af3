//! What is answered, and from where.

use buffetbot_db::Repositories;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn each_key_is_answered_by_its_nearest_level_in_the_order_asked() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) =
        (process(&db, CacheOptions::default()), process(&db, CacheOptions::default()));
    let provider = Provider::default();
    put(&here, &key("T1"), "memory", &an_hour()).await;
    put(&there, &key("T2"), "database", &an_hour()).await;
    put(&there, &key("T3"), "expired", &an_hour().stale_for(HOUR)).await;
    sql(
        &db,
        "UPDATE market_data_cache SET cached_at = now() - interval '2 h',
        expires_at = now() - interval '1 h' WHERE ticker = 'T3'",
    )
    .await;
    let asked = keys([4, 2, 0, 1, 3, 4, 2]);
    let policy = an_hour().stale_for(HOUR).soft_timeout(HOUR);
    let answers = provider.get_by(&here, &asked, &policy).await;
    let (database, fetched) = (Origin::Database, Origin::Fetched);
    let expected = [
        ("T4 1", fetched),
        ("database", database),
        ("T0 1", fetched),
        ("memory", Origin::Memory),
        ("T3 1", fetched),
        ("T4 1", fetched),
        ("database", database),
    ];
    assert_eq!(values(&answers), expected);
    assert_eq!(provider.calls(), [keys([4, 0, 3])], "one fetch, of each missing key once");
    let again = provider.get(&here, &asked).await;
    assert!(again.iter().all(|a| a.as_ref().expect("a value").origin == Origin::Memory));
    let elsewhere = provider.get(&there, &keys([0, 4])).await;
    assert_eq!(values(&elsewhere), [("T0 1", database), ("T4 1", database)]);
    assert_eq!(provider.calls().len(), 1);
    let counters = here.cache().counters();
    assert_eq!((counters.fetches, counters.refreshes, counters.misses), (1, 1, 4));
    assert_eq!((counters.database_hits, counters.memory_hits), (2, 8));
    assert_eq!(leases(&db).await, 0);
}

#[tokio::test]
async fn of_nothing_nothing_is_asked() {
    let db = TestDatabase::new().await.expect("a database");
    let provider = Provider::default();
    assert!(provider.get(&db, &[]).await.is_empty());
    assert_eq!(provider.calls().len(), 0);
    let policy = Policy::ttl(Duration::ZERO);
    let fetch = |_: Vec<CacheKey>| async { Ok::<Vec<(CacheKey, u32)>, BoxError>(Vec::new()) };
    let refused = db.cache().get_many_or_fetch::<u32>(&[], &policy, fetch).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_the_fetch_leaves_out_is_an_error_of_its_key_only() {
    let db = TestDatabase::new().await.expect("a database");
    let provider = Provider::default();
    let ask = async |asked: &[CacheKey]| {
        let provider = provider.clone();
        let fetch = move |keys: Vec<CacheKey>| {
            provider.note(&keys);
            // Of what it was not asked for nothing is stored.
            let extra = [(key("EXTRA"), "extra".to_owned())];
            let known = keys.into_iter().filter(|k| k.ticker.as_str() != "T1");
            let known = known.map(|k| (k, "known".to_owned())).chain(extra).collect();
            async move { Ok::<Vec<_>, BoxError>(known) }
        };
        db.cache().get_many_or_fetch::<String>(asked, &an_hour(), fetch).await.expect("answers")
    };
    let answers = ask(&keys([0, 1, 2])).await;
    assert_eq!(errors(&answers), [None, Some("fetch"), None]);
    let again = ask(&keys([1, 2, 0])).await;
    assert_eq!(errors(&again), [Some("put off"), None, None], "there is a pause after a failure");
    assert_eq!(provider.calls().len(), 1);
    assert!(db.market_cache().get_stale(&key("EXTRA")).await.expect("an answer").is_none());
    assert_eq!(db.cache().counters().fetch_errors, 1);
}

#[tokio::test]
async fn each_value_is_kept_as_it_says() {
    let db = TestDatabase::new().await.expect("a database");
    let fetch = |keys: Vec<CacheKey>| async move {
        let kept = keys.into_iter().enumerate().map(|(i, key)| {
            let new = Fetched::new(json!(i)).ttl(HOUR * (i as u32 + 1));
            let new = if i == 1 { new.source("other").quality(parsed("0.5")) } else { new };
            (key, new)
        });
        Ok::<_, BoxError>(kept.collect::<Vec<_>>())
    };
    let policy = an_hour().source("usual");
    let answers =
        db.cache().get_many_or_fetch::<Value>(&keys(0..3), &policy, fetch).await.expect("answers");
    let answers: Vec<_> = answers.into_iter().map(|a| a.expect("a value")).collect();
    assert_eq!(
        answers.iter().map(|a| a.source()).collect::<Vec<_>>(),
        [Some("usual"), Some("other"), Some("usual")]
    );
    assert_eq!(answers[1].quality(), Some(&parsed("0.5")));
    for (i, key) in keys(0..3).iter().enumerate() {
        let stored = db.market_cache().get(key).await.expect("an answer").expect("an entry");
        assert_eq!(stored.data_source.as_deref(), answers[i].source());
        assert_eq!((stored.expires_at - stored.cached_at).num_hours(), i as i64 + 1);
        assert_eq!(Some(stored.revision), answers[i].revision());
    }
}

#[tokio::test]
async fn negative_results_are_kept_for_their_own_span() {
    let db = TestDatabase::new().await.expect("a database");
    let fetch = |keys: Vec<CacheKey>| async move {
        let some = |key: CacheKey| (key.clone(), (key.ticker.as_str() == "T1").then_some(1));
        Ok::<Vec<(CacheKey, Option<u32>)>, BoxError>(keys.into_iter().map(some).collect())
    };
    let policy = an_hour().negative_ttl(HOUR / 2).stale_for(HOUR);
    let ask = async || {
        let answers =
            db.cache().get_many_or_fetch::<Option<u32>>(&keys(0..2), &policy, fetch).await;
        let answers = answers.expect("answers").into_iter().map(|a| *a.expect("a value").value);
        answers.collect::<Vec<_>>()
    };
    assert_eq!(ask().await, [None, Some(1)]);
    assert_eq!(ask().await, [None, Some(1)]);
    assert_eq!(db.cache().counters().fetches, 1);
    for (key, minutes, has_window) in [(key("T0"), 30, false), (key("T1"), 60, true)] {
        let stored = db.market_cache().get(&key).await.expect("an answer").expect("an entry");
        assert_eq!((stored.expires_at - stored.cached_at).num_minutes(), minutes);
        assert_eq!(stored.stale_until.is_some(), has_window);
    }
}

#[tokio::test]
async fn parameters_of_another_spelling_are_the_same_key() {
    let db = TestDatabase::new().await.expect("a database");
    let provider = Provider::default();
    let spelled = [json!({"a": 1, "b": 2.0}), json!({"b": 2, "a": 1.0}), json!({"b": 3, "a": 1})];
    let asked = spelled.map(|p| key("T0").params(p).expect("parameters"));
    let answers = provider.get(&db, &asked).await;
    let found: Vec<_> = values(&answers).into_iter().map(|(value, _)| value).collect();
    assert_eq!(found, ["T0 1"; 3]);
    assert_eq!(provider.calls(), [[asked[0].clone(), asked[2].clone()]]);
}

#[tokio::test]
async fn a_document_of_another_type_is_fetched_again() {
    let db = TestDatabase::new().await.expect("a database");
    db.cache().put(&key("T0"), 7_u32, &an_hour()).await.expect("put");
    put(&db, &key("T1"), "text", &an_hour()).await;
    let provider = Provider::default();
    let answers = provider.get(&db, &keys(0..2)).await;
    assert_eq!(values(&answers), [("T0 1", Origin::Fetched), ("text", Origin::Memory)]);
    assert_eq!(provider.calls(), [keys([0])]);
    assert_eq!(db.cache().counters().corrupt, 1);
}

#[tokio::test]
async fn every_level_may_be_absent() {
    let db = TestDatabase::new().await.expect("a database");
    let asked = keys(0..3);
    for options in [
        CacheOptions::default().memory(0),
        CacheOptions::default().database(false),
        CacheOptions::default().database(false).memory(0),
    ] {
        sql(&db, "DELETE FROM market_data_cache").await;
        let (handle, provider) = (process(&db, options.clone()), Provider::default());
        let first = provider.get(&handle, &asked).await;
        assert_eq!(values(&first), ["T0 1", "T1 1", "T2 1"].map(|v| (v, Origin::Fetched)));
        let second = provider.get(&handle, &asked).await;
        let (value, origin) = values(&second)[2];
        let rows = db.market_cache().count(&Default::default()).await.expect("a count");
        let found = (value, origin, provider.calls().len(), rows);
        let expected = match format!("{options:?}") {
            o if o.contains("database: true") => ("T2 1", Origin::Database, 1, 3),
            o if o.contains("memory: 0") => ("T2 2", Origin::Fetched, 2, 0),
            _ => ("T2 1", Origin::Memory, 1, 0),
        };
        assert_eq!(found, expected, "{options:?}");
    }
}
