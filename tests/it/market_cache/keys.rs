//! Which parameters are the same key.

use buffetbot_db::market_cache::{CacheKey, CacheSelector};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::DataType;
use serde_json::{Value, json};

use super::{count, get, key, put, scattered, ticker};
use crate::support::handle::Handle;

conformance! {
    equal_parameters_are_one_key,
    different_parameters_are_different_keys,
    each_part_of_the_key_counts,
    parameters_can_be_large,
    get_many_answers_in_the_order_of_the_keys,
}

/// A key whose parameters are this JSON text, spelled just so.
fn spelled(text: &str) -> CacheKey {
    let parameters = buffetbot_db::types::Document::parse(text).expect("JSON");
    key("AAPL").params(parameters).expect("parameters")
}

async fn equal_parameters_are_one_key(handle: &impl Handle) {
    let spellings = [
        (r#"{"a": 1, "b": [1, 2]}"#, r#"{ "b":[1,2],"a":1 }"#),
        (r#"{"n": 1}"#, r#"{"n": 1.0}"#),
        (r#"{"n": 100}"#, r#"{"n": 1e2}"#),
        (r#"{"s": "\u00e9"}"#, r#"{"s": "é"}"#),
        (r#"{"d": 1, "d": 2}"#, r#"{"d": 2}"#),
    ];
    for (i, (one, other)) in spellings.into_iter().enumerate() {
        let first = put(handle, &spelled(one), json!("first")).await;
        assert_eq!(get(handle, &spelled(other)).await, Some(json!("first")), "{one} {other}");
        let second = put(handle, &spelled(other), json!("second")).await;
        assert_eq!(second.id, first.id, "{one} {other}");
        assert_eq!(get(handle, &spelled(one)).await, Some(json!("second")), "{one} {other}");
        assert_eq!(count(handle).await, i as u64 + 1);
    }
}

async fn different_parameters_are_different_keys(handle: &impl Handle) {
    // Neighbours that a hash of the values alone, or of the text alone, takes for one.
    let all = [
        "{}",
        "[]",
        "null",
        r#"{"a": {"b": 1}, "c": 2}"#,
        r#"{"a": {"b": 1, "c": 2}}"#,
        r#"{"a": 1, "b": 2}"#,
        r#"{"a": 2, "b": 1}"#,
        r#"{"a": 12, "b": 3}"#,
        r#"{"a": 1, "b": 23}"#,
        r#"[[1], 2]"#,
        r#"[[1, 2]]"#,
        r#"{"a": "1"}"#,
        r#"{"a": 1}"#,
        r#"{"a": null}"#,
        r#"{"a": ""}"#,
        r#"{"a": 9007199254740992}"#,
        r#"{"a": 9007199254740993}"#,
        r#"{"A": 1}"#,
        r#"{"a": "é"}"#,
        "{\"a\": \"e\u{301}\"}",
    ];
    put(handle, &key("AAPL"), json!("none")).await;
    for text in all {
        put(handle, &spelled(text), json!(text)).await;
    }
    assert_eq!(count(handle).await, all.len() as u64 + 1);
    assert_eq!(get(handle, &key("AAPL")).await, Some(json!("none")));
    for text in all {
        assert_eq!(get(handle, &spelled(text)).await, Some(json!(text)));
    }
}

async fn each_part_of_the_key_counts(handle: &impl Handle) {
    let aapl = ticker("AAPL");
    let keys = [
        CacheKey::new(&aapl, DataType::NEWS),
        CacheKey::new(&aapl, DataType::PEERS),
        CacheKey::new(&ticker("MSFT"), DataType::NEWS),
        CacheKey::new(&aapl, "earnings transcripts, ünofficial".parse().expect("a type")),
    ];
    for (i, key) in keys.iter().enumerate() {
        put(handle, key, json!(i)).await;
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(get(handle, key).await, Some(json!(i)));
    }
    let spelled = CacheKey::new(&ticker(" aapl "), DataType::NEWS);
    assert_eq!(get(handle, &spelled).await, Some(json!(0)), "tickers have one spelling");
}

async fn parameters_can_be_large(handle: &impl Handle) {
    // Above 2704 bytes, the most that a B-tree holds, and hardly compressible.
    let mut fields: Vec<u64> = (0..200).map(scattered).collect();
    let long = key("AAPL").params(json!({ "fields": fields })).expect("parameters");
    fields[199] += 1;
    let other = key("AAPL").params(json!({ "fields": fields })).expect("parameters");
    put(handle, &long, json!(1)).await;
    put(handle, &other, json!(2)).await;
    assert_eq!(get(handle, &long).await, Some(json!(1)));
    assert_eq!(get(handle, &other).await, Some(json!(2)));
    assert!(long.parameters.expect("parameters").as_str().len() > 3_000);
}

/// With a hash that takes all parameters for one.
#[tokio::test]
async fn a_collision_is_a_miss_and_never_a_wrong_document() {
    let db = TestDatabase::new().await.expect("a database");
    db.sql(
        r"CREATE OR REPLACE FUNCTION cache_parameters_key(parameters JSONB) RETURNS BYTEA
          LANGUAGE SQL IMMUTABLE PARALLEL SAFE RETURN '\x00'::BYTEA",
    )
    .await;
    let cache = db.market_cache();
    let (one, other) = (spelled("[1]"), spelled("[2]"));
    put(&*db, &one, json!("one")).await;
    assert_eq!(get(&*db, &other).await, None);
    assert!(cache.get_stale(&other).await.expect("get").is_none());
    assert_eq!(cache.get_many(&[other.clone(), key("AAPL")]).await.expect("get"), [None, None]);
    assert!(cache.refresh(&other, super::an_hour().ttl).await.is_err());
    assert!(!cache.delete_key(&other).await.expect("delete"));
    put(&*db, &other, json!("other")).await;
    assert_eq!(get(&*db, &other).await, Some(json!("other")), "the older one gives way");
    assert_eq!(get(&*db, &one).await, None);
    assert_eq!(count(&*db).await, 1);
}

async fn get_many_answers_in_the_order_of_the_keys(handle: &impl Handle) {
    let cache = handle.market_cache();
    assert!(cache.get_many(&[]).await.expect("get").is_empty());
    let with = key("AAPL").params(json!({"a": 1, "b": 2})).expect("parameters");
    let same = key("AAPL").params(json!({"b": 2, "a": 1.0})).expect("parameters");
    put(handle, &with, json!("with")).await;
    put(handle, &key("AAPL"), json!("without")).await;
    put(handle, &key("GONE"), json!("expired")).await;
    cache.invalidate(&CacheSelector::ticker(&ticker("GONE"))).await.expect("invalidate");
    let keys =
        [key("NONE"), with.clone(), key("AAPL"), key("GONE"), same, key("AAPL"), spelled("{}")];
    let found = cache.get_many(&keys).await.expect("get");
    let values: Vec<Option<Value>> =
        found.iter().map(|e| e.as_ref().map(|e| e.decode().expect("JSON"))).collect();
    let (with, without) = (Some(json!("with")), Some(json!("without")));
    assert_eq!(values, [None, with.clone(), without.clone(), None, with, without, None]);
    assert_eq!(found[2], cache.get(&key("AAPL")).await.expect("get"));
}
