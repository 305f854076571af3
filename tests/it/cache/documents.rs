//! What may be cached: documents of any shape and size, under parameters of any spelling.

use serde_json::{Value, json};

use super::*;
use crate::support::eventually;

fn with(parameters: Value) -> CacheKey {
    key("AAPL").params(parameters).expect("parameters")
}

/// Stores with one process, reads with another, from its database and then from its memory.
async fn round_trip(db: &TestDatabase, key: &CacheKey, document: &Value) {
    let [here, there] = [(); 2].map(|()| process(db, CacheOptions::default()));
    here.cache().put(key, document.clone(), &Policy::ttl(HOUR)).await.expect("put");
    for handle in [&here, &there, &there] {
        let found = handle.cache().get::<Value>(key).await.expect("get").expect("a value");
        assert!(*found.value == *document, "not what was put: {}", key.ticker);
    }
}

#[tokio::test]
async fn documents_come_back_as_they_were() {
    let db = database().await;
    let long = "0123456789abcdef".repeat(5 * 1024 * 1024 / 16);
    for (n, document) in [
        json!({"long": long}),
        json!(9_007_199_254_740_993_u64),
        json!({"a": -9_007_199_254_740_993_i64, "max": u64::MAX, "price": 0.1, "none": null}),
        json!({"名前": "株式会社 🦬", "quote\"": "line\nbreak\\ \u{7f}"}),
        json!([]),
        json!({}),
        json!(""),
    ]
    .iter()
    .enumerate()
    {
        round_trip(&db, &key(&format!("T{n}")), document).await;
    }
}

#[tokio::test]
async fn parameters_of_any_size_are_a_key() {
    let db = database().await;
    let long = |end: &str| with(json!({"filter": "f".repeat(3_000), "end": end}));
    round_trip(&db, &long("a"), &json!(1)).await;
    round_trip(&db, &long("b"), &json!(2)).await;
    round_trip(&db, &with(json!({"日": "ö", "n": 9_007_199_254_740_993_u64})), &json!(3)).await;
    assert_eq!(count(&db, "SELECT count(*) AS n FROM market_data_cache").await, 3);
}

#[tokio::test]
async fn spellings_of_equal_parameters_are_one_key_and_others_are_others() {
    let db = database().await;
    let spelled = |text: &str| CacheKey {
        parameters: Some(buffetbot_db::types::Document::parse(text).expect("JSON")),
        ..key("AAPL")
    };
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default()));
    let policy = Policy::ttl(HOUR);
    let first = spelled(r#"{"period": "1y", "limit": 10}"#);
    let second = spelled(r#"{ "limit":10.0,"period":"1y" }"#);
    here.cache().put(&first, 1_u32, &policy).await.expect("put");
    for handle in [&here, &there, &here] {
        let found = handle.cache().get_or_fetch(&second, &policy, never()).await.expect("a value");
        assert_eq!(*found.value, 1);
    }
    // A change under one spelling is told to the copies of the other.
    there.cache().put(&first, 2_u32, &policy).await.expect("put");
    eventually("both spellings change", async || {
        let mut values = Vec::new();
        for handle in [&here, &there] {
            for key in [&first, &second] {
                values.push(handle.cache().get::<u32>(key).await.expect("get").map(|c| *c.value));
            }
        }
        values.iter().all(|value| *value == Some(2))
    })
    .await;
    // None of these is another.
    let apart = [key("AAPL"), with(json!({})), with(json!(null)), with(json!([])), with(json!(""))];
    for (n, key) in (10_u32..).zip(&apart) {
        here.cache().put(key, n, &policy).await.expect("put");
    }
    for handle in [&here, &there] {
        for (n, key) in (10_u32..).zip(&apart) {
            let found = handle.cache().get::<u32>(key).await.expect("get").expect("a value");
            assert_eq!(*found.value, n, "{key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_first_writers_leave_one_row_and_one_value() {
    let db = database().await;
    let handles = [(); 4].map(|()| process(&db, CacheOptions::default()));
    let tasks: Vec<_> = (0..16)
        .map(|i: u32| {
            let handle = handles[i as usize % 4].clone();
            tokio::spawn(async move {
                let (cache, key, policy) = (handle.cache(), key("AAPL"), Policy::ttl(HOUR));
                let written = match i % 8 < 4 {
                    true => cache.put(&key, i, &policy).await,
                    false => cache.get_or_fetch(&key, &policy, gives(i)).await,
                };
                written.map(drop)
            })
        })
        .collect();
    for task in tasks {
        done(task).await.expect("all succeed");
    }
    assert_eq!(count(&db, "SELECT count(*) AS n FROM market_data_cache").await, 1);
    let stored = count(&db, "SELECT data::BIGINT AS n FROM market_data_cache").await;
    for handle in &handles {
        eventually("the one value", async || {
            value(handle, "AAPL").await.map(i64::from) == Some(stored)
        })
        .await;
    }
    assert_eq!(count(&db, "SELECT count(*) AS n FROM cache_leases").await, 0);
}

#[tokio::test]
async fn what_does_not_decode_is_an_error_to_get_and_fetched_anew() {
    let db = database().await;
    let [here, there] = [(); 2].map(|()| process(&db, CacheOptions::default()));
    let policy = Policy::ttl(HOUR);
    let secret = "4111-1111".to_owned();
    there.cache().put(&key("AAPL"), secret.clone(), &policy).await.expect("put");
    let error = here.cache().get::<u32>(&key("AAPL")).await.expect_err("it is a text");
    assert!(
        matches!(&error, Error::Corrupt { table, column, .. }
        if table == "market_data_cache" && column == "data"),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("4111"), "{error:?}");
    assert_eq!(here.cache().counters().corrupt, 1);
    let fetched = done(ask(&here, "AAPL", &policy, gives(5))).await.expect("fetched");
    assert_eq!((*fetched.value, fetched.origin), (5, buffetbot_db::cache::Origin::Fetched));
    assert_eq!(here.cache().counters().corrupt, 2);
    assert_eq!(value(&here, "AAPL").await, Some(5));
    eventually("it was replaced everywhere", async || {
        matches!(there.cache().get::<String>(&key("AAPL")).await, Err(Error::Corrupt { .. }))
    })
    .await;
    // Also where memory holds a value of the other type.
    let text = |text: &'static str| move |_| async move { Ok::<_, BoxError>(text.to_owned()) };
    let fetched = here.cache().get_or_fetch::<String>(&key("AAPL"), &policy, text("new")).await;
    assert_eq!(*fetched.expect("fetched").value, "new");
    // A stale one that is no number is none.
    expire(&db, "AAPL", Some(HOUR)).await;
    let [here, _] = forgetful(&db);
    let failed = |_| async { Err::<u32, _>("down") };
    let error = here.cache().get_or_fetch::<u32>(&key("AAPL"), &policy, failed).await;
    assert!(matches!(error, Err(Error::Fetch { .. })), "{error:?}");
}

#[tokio::test]
async fn two_types_that_both_decode_share_the_document() {
    let db = database().await;
    let here = process(&db, CacheOptions::default());
    put(&here, "AAPL", 5).await;
    let policy = Policy::ttl(HOUR);
    let wide = |_| async { panic!("not fetched") as Result<f64, BoxError> };
    for _ in 0..2 {
        let found =
            here.cache().get_or_fetch::<f64>(&key("AAPL"), &policy, wide).await.expect("ok");
        assert!((*found.value - 5.0).abs() < f64::EPSILON);
        let found = done(ask(&here, "AAPL", &policy, never())).await.expect("a value");
        assert_eq!(*found.value, 5);
    }
    db.sql("UPDATE market_data_cache SET data = '6'").await;
    eventually("both see the change", async || value(&here, "AAPL").await == Some(6)).await;
    let found = here.cache().get::<f64>(&key("AAPL")).await.expect("get").expect("a value");
    assert!((*found.value - 6.0).abs() < f64::EPSILON);
}
