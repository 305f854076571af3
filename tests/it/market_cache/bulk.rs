//! Many entries at once.

use std::time::Duration;

use buffetbot_db::Error;
use buffetbot_db::market_cache::{CacheKey, CacheSelector, NewCacheEntry, PutOptions};
use buffetbot_db::types::Document;
use serde_json::json;

use super::{an_hour, count, document, get, key, put};
use crate::support::handle::Handle;

conformance! {
    put_many_stores_thousands,
    of_one_key_the_last_wins,
    put_many_is_all_or_nothing_and_names_the_culprit,
    put_many_replaces,
    create_many_answers_in_order,
    create_many_is_all_or_nothing_and_names_the_culprit,
    large_documents_are_chunked_by_weight,
}

fn entry(key: CacheKey, value: serde_json::Value) -> NewCacheEntry {
    NewCacheEntry::new(key, document(value), an_hour())
}

/// Lets the database refuse a document.
async fn refuse_culprits(handle: &impl Handle) -> Document {
    let check =
        "ALTER TABLE market_data_cache ADD CONSTRAINT no_culprit CHECK (data <> '\"culprit\"')";
    handle.sql(check).await;
    document(json!("culprit"))
}

fn page(i: usize) -> CacheKey {
    key(&format!("T{}", i % 700)).params(json!({"page": i / 700})).expect("parameters")
}

async fn put_many_stores_thousands(handle: &impl Handle) {
    let cache = handle.market_cache();
    assert_eq!(cache.put_many(&[]).await.expect("put"), 0);
    let entries: Vec<_> = (0..2_100).map(|i| entry(page(i), json!(i))).collect();
    assert_eq!(cache.put_many(&entries).await.expect("put"), 2_100);
    assert_eq!(count(handle).await, 2_100);
    let keys: Vec<CacheKey> = (0..2_100).map(page).collect();
    let found = cache.get_many(&keys).await.expect("get");
    for (i, entry) in found.into_iter().enumerate() {
        assert_eq!(entry.expect("an entry").decode::<usize>().expect("JSON"), i);
    }
}

async fn of_one_key_the_last_wins(handle: &impl Handle) {
    let cache = handle.market_cache();
    // Within a chunk, spelled differently.
    let spellings = [r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, r#"{"a":1.0,"b":2}"#];
    let same = |i: usize| {
        let parameters = Document::parse(spellings[i % 3]).expect("JSON");
        key("AAPL").params(parameters).expect("parameters")
    };
    let few: Vec<_> = (0..7).map(|i| entry(same(i), json!(i))).collect();
    assert_eq!(cache.put_many(&few).await.expect("put"), 1);
    assert_eq!(get(handle, &same(0)).await, Some(json!(6)));
    // Over several chunks, between others of the same ticker and type.
    let many: Vec<_> = (0..1_800)
        .map(|i| match i % 3 {
            0 => entry(same(i / 3), json!(i)),
            _ => entry(key("AAPL").params(json!({ "page": i })).expect("parameters"), json!(i)),
        })
        .collect();
    cache.put_many(&many).await.expect("put");
    assert_eq!(get(handle, &same(1)).await, Some(json!(1_797)));
    assert_eq!(count(handle).await, 1_201);
}

async fn put_many_is_all_or_nothing_and_names_the_culprit(handle: &impl Handle) {
    let cache = handle.market_cache();
    let refused = refuse_culprits(handle).await;
    for culprit in [0, 3, 1_250] {
        let mut entries: Vec<_> = (0..1_300).map(|i| entry(page(i), json!(i))).collect();
        entries[culprit].data = refused.clone();
        match handle.attempt(cache.put_many(&entries)).await {
            Err(Error::Item { index, source }) => {
                assert_eq!(index, culprit);
                assert!(matches!(*source, Error::Invalid { .. }), "{source:?}");
            }
            other => panic!("{other:?}"),
        }
        entries[culprit] = entry(page(culprit), json!(1));
        entries[culprit].options = PutOptions::ttl(Duration::ZERO);
        match cache.put_many(&entries).await {
            Err(Error::Item { index, source }) => {
                assert_eq!(index, culprit);
                assert!(matches!(*source, Error::Invalid { field, .. } if field == "ttl"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(count(handle).await, 0);
    }
    match handle
        .attempt(cache.put_many(&[
            entry(page(0), json!(0)),
            NewCacheEntry::new(page(1), refused.clone(), an_hour()),
        ]))
        .await
    {
        Err(Error::Item { index: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(count(handle).await, 0, "also of a single chunk");
}

async fn put_many_replaces(handle: &impl Handle) {
    let cache = handle.market_cache();
    let old = put(handle, &key("AAPL"), json!("old")).await;
    cache.invalidate(&CacheSelector::ticker(&old.ticker)).await.expect("invalidate");
    let options = an_hour().source("bulk").quality("0.25".parse().expect("a quality"));
    let new = NewCacheEntry::new(key("AAPL"), document(json!("new")), options);
    assert_eq!(cache.put_many(&[new]).await.expect("put"), 1);
    let read = cache.get(&key("AAPL")).await.expect("get").expect("live again");
    assert_eq!((read.id, read.data_source.as_deref()), (old.id, Some("bulk")));
    assert_eq!(read.data_quality_score, Some("0.25".parse().expect("a quality")));
    assert_eq!(read.decode::<String>().expect("JSON"), "new");
}

async fn create_many_answers_in_order(handle: &impl Handle) {
    let cache = handle.market_cache();
    assert!(cache.create_many(&[]).await.expect("create").is_empty());
    // The order of keys is not the order given.
    let entries: Vec<_> = (0..1_100).rev().map(|i| entry(page(i), json!(i))).collect();
    let stored = cache.create_many(&entries).await.expect("create");
    assert_eq!(stored.len(), 1_100);
    for (new, stored) in entries.iter().zip(&stored) {
        assert_eq!((&stored.id, &stored.key(), &stored.data), (&new.id, &new.key, &new.data));
    }
    assert_eq!(cache.find(stored[700].id).await.expect("find").as_ref(), Some(&stored[700]));
}

async fn create_many_is_all_or_nothing_and_names_the_culprit(handle: &impl Handle) {
    let cache = handle.market_cache();
    put(handle, &page(4), json!("there")).await;
    let entries: Vec<_> = (0..8).map(|i| entry(page(i), json!(i))).collect();
    match handle.attempt(cache.create_many(&entries)).await {
        Err(Error::Item { index: 4, source }) => {
            assert!(matches!(*source, Error::Conflict { .. }), "{source:?}");
        }
        other => panic!("{other:?}"),
    }
    // Two of the batch itself: the later one is the culprit.
    let twice = [entry(page(0), json!(0)), entry(page(1), json!(1)), entry(page(0), json!(2))];
    match handle.attempt(cache.create_many(&twice)).await {
        Err(Error::Item { index: 2, source }) => {
            assert!(matches!(*source, Error::Conflict { .. }), "{source:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(count(handle).await, 1);
}

async fn large_documents_are_chunked_by_weight(handle: &impl Handle) {
    // 12 MB in all: more than one statement takes.
    let entries: Vec<_> = (0..24)
        .map(|i| entry(page(i), json!(char::from(b'a' + i as u8).to_string().repeat(500_000))))
        .collect();
    assert_eq!(handle.market_cache().put_many(&entries).await.expect("put"), 24);
    let size = handle.market_cache().get(&page(23)).await.expect("get").expect("an entry");
    assert_eq!(size.decode::<String>().expect("JSON").len(), 500_000);
}
