//! The cache of market data: what callers of its repository see, on the pool and in a transaction.

mod backfill;
mod bulk;
mod concurrency;
mod expiry;
mod invalidation;
mod keys;
mod plans;
mod sweeping;

use std::time::Duration;

use buffetbot_db::error::Entity;
use buffetbot_db::market_cache::{
    CacheEntry, CacheEntryPatch, CacheFilter, CacheKey, CacheSelector, MarketCacheExt,
    NewCacheEntry, PutOptions,
};
use buffetbot_db::types::{CacheEntryId, DataType, Document, Tag, Ticker};
use buffetbot_db::{Error, Repositories};
use serde_json::{Value, json};

use crate::support::handle::Handle;
use crate::support::{every_page, parsed};

pub const HOUR: Duration = Duration::from_secs(3_600);

pub fn ticker(symbol: &str) -> Ticker {
    parsed(symbol)
}

/// The key of a ticker's fundamentals, without parameters.
pub fn key(symbol: &str) -> CacheKey {
    CacheKey::new(&ticker(symbol), DataType::FUNDAMENTALS)
}

pub fn document(value: Value) -> Document {
    Document::encode(&value).expect("a document")
}

pub fn an_hour() -> PutOptions {
    PutOptions::ttl(HOUR)
}

/// A number of 20 digits or so, unlike its neighbours.
pub fn scattered(i: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

pub async fn put(repos: &impl Repositories, key: &CacheKey, value: Value) -> CacheEntry {
    repos.market_cache().put(key, &document(value), &an_hour()).await.expect("put")
}

pub async fn get(repos: &impl Repositories, key: &CacheKey) -> Option<Value> {
    let entry = repos.market_cache().get(key).await.expect("get");
    entry.map(|entry| entry.decode().expect("JSON"))
}

pub async fn count(repos: &impl Repositories) -> u64 {
    repos.market_cache().count(&CacheFilter::default()).await.expect("count")
}

conformance! {
    what_is_put_is_read,
    put_replaces_the_document_and_keeps_the_id,
    windows_and_tags_are_stored_with_every_kind_of_write,
    versions_and_revisions_move,
    create_refuses_a_key_that_has_an_entry,
    documents_come_back_as_they_were,
    c6_what_is_stored_is_not_too_deep_to_be_read,
    any_type_goes_in_and_out,
    invalid_fields_are_refused_by_name,
    a_patch_changes_what_it_says,
    deleting_twice_is_true_then_false,
    filters_and_pages_reach_every_row,
    statistics_are_exact,
}

async fn what_is_put_is_read(handle: &impl Handle) {
    let cache = handle.market_cache();
    let key = key("AAPL").params(json!({"period": "1y"})).expect("parameters");
    let options = an_hour().source("yahoo").quality(parsed("0.95"));
    let entry = cache.put(&key, &document(json!({"pe": 31.5})), &options).await.expect("put");
    assert_eq!(entry.key(), key);
    assert_eq!(entry.data_source.as_deref(), Some("yahoo"));
    assert_eq!(entry.data_quality_score, Some(parsed("0.95")));
    assert_eq!(entry.expires_at - entry.cached_at, chrono::TimeDelta::hours(1));
    assert_eq!(cache.get(&key).await.expect("get").as_ref(), Some(&entry));
    assert_eq!(cache.find(entry.id).await.expect("find").as_ref(), Some(&entry));
    assert!(cache.exists(entry.id).await.expect("exists"));
    let unknown = CacheEntryId::generate();
    assert_eq!(cache.find(unknown).await.expect("find"), None);
    assert!(!cache.exists(unknown).await.expect("exists"));
}

async fn put_replaces_the_document_and_keeps_the_id(handle: &impl Handle) {
    let cache = handle.market_cache();
    let options = an_hour().source("yahoo").quality(parsed("0.5"));
    let first = cache.put(&key("IBM"), &document(json!(1)), &options).await.expect("put");
    let second = put(handle, &key("IBM"), json!(2)).await;
    assert_eq!(second.id, first.id);
    assert_eq!((second.data_source.as_deref(), &second.data_quality_score), (None, &None));
    assert_eq!(cache.get(&key("IBM")).await.expect("get"), Some(second));
    assert_eq!(count(handle).await, 1);
}

async fn windows_and_tags_are_stored_with_every_kind_of_write(handle: &impl Handle) {
    let cache = handle.market_cache();
    let given = ["b", "a", "b", r#"q"uo\te, {ü}"#, "NULL"].map(parsed::<Tag>);
    let stored = ["NULL", "a", "b", r#"q"uo\te, {ü}"#].map(parsed::<Tag>);
    let options = an_hour().stale_for(HOUR / 2).tag(given[0].clone()).tags(given[1..].to_vec());
    let new = |symbol| NewCacheEntry::new(key(symbol), document(json!(1)), options.clone());
    let put = cache.put(&key("PUT"), &document(json!(1)), &options).await.expect("put");
    let created = cache.create(&new("CREATE")).await.expect("create");
    let many = cache.create_many(&[new("MANY"), new("MORE")]).await.expect("create");
    cache.put_many(&[new("BULK")]).await.expect("put");
    let bulk = cache.get(&key("BULK")).await.expect("get").expect("an entry");
    for entry in [&put, &created, &many[0], &many[1], &bulk] {
        assert_eq!(entry.tags, stored);
        let stale_until = entry.stale_until.expect("a window");
        assert_eq!(stale_until - entry.expires_at, chrono::TimeDelta::minutes(30));
        assert_eq!(cache.get(&entry.key()).await.expect("get").as_ref(), Some(entry));
        let stale = cache.get_stale(&entry.key()).await.expect("get").expect("an entry");
        assert_eq!(&stale.value, entry);
    }
    // The new put's options count, with one statement for one and for many.
    let plain = NewCacheEntry::new(key("PUT"), document(json!(1)), an_hour());
    cache.put_many(&[plain]).await.expect("put");
    let bulk = cache.put(&bulk.key(), &bulk.data, &an_hour()).await.expect("put");
    let put = cache.get(&key("PUT")).await.expect("get").expect("an entry");
    for entry in [bulk, put] {
        assert_eq!((entry.stale_until, entry.tags), (None, Vec::new()));
    }
    let longest = an_hour().stale_for(Duration::MAX);
    let entry = cache.put(&key("AAPL"), &document(json!(1)), &longest).await.expect("put");
    assert!(entry.stale_until.expect("a window") > entry.expires_at);
}

async fn versions_and_revisions_move(handle: &impl Handle) {
    let cache = handle.market_cache();
    let first = put(handle, &key("AAPL"), json!({"a": 1, "b": 2})).await;
    let same = Document::parse(r#"{"b": 2.0, "a": 1}"#).expect("JSON");
    let same = cache.put(&key("AAPL"), &same, &an_hour()).await.expect("put");
    assert!(same.version > first.version);
    assert_eq!(same.revision, first.revision, "equal as a JSON value");
    let other = put(handle, &key("AAPL"), json!({"a": 2, "b": 2})).await;
    assert!(other.version > same.version);
    assert!(other.revision > same.revision);
    let patch = CacheEntryPatch::default().data(document(json!(3)));
    let patched = cache.update(other.id, &patch).await.expect("update");
    assert!(patched.version > other.version && patched.revision > other.revision);
    cache.refresh(&key("AAPL"), 2 * HOUR).await.expect("refresh");
    let refreshed = cache.get(&key("AAPL")).await.expect("get").expect("an entry");
    assert!(refreshed.version > patched.version);
    assert_eq!(refreshed.revision, patched.revision);
}

async fn create_refuses_a_key_that_has_an_entry(handle: &impl Handle) {
    let cache = handle.market_cache();
    let new = NewCacheEntry::new(key("IBM"), document(json!({"a": 1})), an_hour());
    let entry = cache.create(&new).await.expect("create");
    assert_eq!(entry.id, new.id);
    assert_eq!(cache.get(&new.key).await.expect("get").as_ref(), Some(&entry));
    // Expired entries count, too.
    cache.invalidate(&CacheSelector::ticker(&new.key.ticker)).await.expect("invalidate");
    let again = NewCacheEntry::new(key("IBM"), document(json!({"a": 2})), an_hour());
    match handle.attempt(cache.create(&again)).await {
        Err(Error::Conflict { constraint, .. }) => {
            assert_eq!(constraint, "market_data_cache_entry_key");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(count(handle).await, 1);
}

async fn documents_come_back_as_they_were(handle: &impl Handle) {
    let documents = [
        json!({"exact": 9_007_199_254_740_993_i64, "most": u64::MAX, "least": i64::MIN}),
        json!({"Ünïcødé": "日本語 🦀 \u{1f9ea} \u{7f} \" \\ \n", "": "empty key"}),
        json!({"float": 0.1, "small": 1e-300, "zero": 0, "null": null, "list": [[], {}, [1]]}),
        json!("text"),
        json!(null),
    ];
    for sent in documents {
        put(handle, &key("AAPL"), sent.clone()).await;
        assert_eq!(get(handle, &key("AAPL")).await, Some(sent));
    }
    // 5 MB, hardly compressible.
    let numbers: Vec<u64> = (0..280_000).map(scattered).collect();
    let large = document(json!({ "numbers": numbers }));
    assert!(large.as_str().len() > 5_000_000);
    handle.market_cache().put(&key("AAPL"), &large, &an_hour()).await.expect("put");
    let read = handle.market_cache().get(&key("AAPL")).await.expect("get").expect("an entry");
    assert!(read.data == large);
}

async fn c6_what_is_stored_is_not_too_deep_to_be_read(handle: &impl Handle) {
    let deep = |levels: usize| (0..levels).fold(json!("bottom"), |inner, _| json!([inner]));
    put(handle, &key("AAPL"), deep(120)).await;
    assert_eq!(get(handle, &key("AAPL")).await, Some(deep(120)));
    for levels in [121, 127] {
        let document = Document::encode(&deep(levels)).expect("a document");
        assert_eq!(document.decode::<Value>().expect("read"), deep(levels));
        let refused = handle.market_cache().put(&key("AAPL"), &document, &an_hour()).await;
        let error = refused.expect_err("what holds it could not be read");
        assert!(matches!(&error, Error::Invalid { field, .. } if *field == "data"), "{error:?}");
    }
    let deeper = Document::encode(&deep(128)).expect_err("too deep");
    assert!(matches!(&deeper, Error::Invalid { .. }), "{deeper:?}");
    for levels in [128, 500, 1_000] {
        let text = "[".repeat(levels) + &"]".repeat(levels);
        let error = Document::parse(text).expect_err("too deep");
        assert!(matches!(&error, Error::Invalid { .. }), "{error:?}");
    }
}

async fn any_type_goes_in_and_out(handle: &impl Handle) {
    let cache = handle.market_cache();
    let sent = (String::from("AAPL"), vec![1.5, 2.5], Some(7_u8));
    cache.put_as(&key("AAPL"), &sent, &an_hour()).await.expect("put");
    assert_eq!(cache.get_as(&key("AAPL")).await.expect("get"), Some(sent));
    assert_eq!(cache.get_as::<Value>(&key("MSFT")).await.expect("get"), None);
    match cache.get_as::<Vec<u32>>(&key("AAPL")).await {
        Err(error @ Error::Corrupt { .. }) => {
            let text = error.to_string();
            assert!(text.contains("market_data_cache.data"), "{text}");
            assert!(!text.contains("AAPL"), "shows the document: {text}");
        }
        other => panic!("{other:?}"),
    }
    match cache.put_as(&key("AAPL"), &f64::NAN, &an_hour()).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "json"),
        other => panic!("{other:?}"),
    }
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let cache = handle.market_cache();
    let long = an_hour().source("s".repeat(51));
    let nul = an_hour().source("a\0b");
    for (options, name) in
        [(PutOptions::ttl(Duration::ZERO), "ttl"), (long, "data_source"), (nul, "data_source")]
    {
        match cache.put(&key("AAPL"), &document(json!(1)), &options).await {
            Err(Error::Invalid { field, .. }) => assert_eq!(field, name),
            other => panic!("{other:?}"),
        }
    }
    let longest = an_hour().source("ß".repeat(50));
    cache.put(&key("AAPL"), &document(json!(1)), &longest).await.expect("put");
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let cache = handle.market_cache();
    let options = an_hour().source("yahoo").quality(parsed("0.5"));
    let entry = cache.put(&key("AAPL"), &document(json!(1)), &options).await.expect("put");
    let unchanged = cache.update(entry.id, &CacheEntryPatch::default()).await.expect("update");
    assert_eq!(unchanged, entry);
    // In JSON, null clears and an absent field leaves.
    let patch: CacheEntryPatch =
        serde_json::from_value(json!({"data": {"b": 2}, "data_source": null})).expect("a patch");
    let changed = cache.update(entry.id, &patch).await.expect("update");
    let (data, version, revision) = (document(json!({"b": 2})), changed.version, changed.revision);
    let expected = CacheEntry { data, data_source: None, version, revision, ..entry.clone() };
    assert_eq!(changed, expected);
    assert_eq!(cache.find(entry.id).await.expect("find"), Some(changed));
    let early = CacheEntryPatch::default().expires_at(entry.cached_at);
    match handle.attempt(cache.update(entry.id, &early)).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "market_data_cache_check"),
        other => panic!("{other:?}"),
    }
    for patch in [CacheEntryPatch::default(), patch] {
        match cache.update(CacheEntryId::generate(), &patch).await {
            Err(Error::NotFound { entity, .. }) => assert_eq!(entity, Entity::CacheEntry),
            other => panic!("{other:?}"),
        }
    }
}

async fn deleting_twice_is_true_then_false(handle: &impl Handle) {
    let cache = handle.market_cache();
    let entry = put(handle, &key("AAPL"), json!(1)).await;
    assert!(cache.delete(entry.id).await.expect("delete"));
    assert!(!cache.delete(entry.id).await.expect("delete"));
    let with = key("AAPL").params(json!({"a": 1})).expect("parameters");
    put(handle, &with, json!(2)).await;
    put(handle, &key("AAPL"), json!(1)).await;
    assert!(cache.delete_key(&with).await.expect("delete"));
    assert!(!cache.delete_key(&with).await.expect("delete"));
    assert_eq!(get(handle, &key("AAPL")).await, Some(json!(1)), "only that key's entry");
}

async fn filters_and_pages_reach_every_row(handle: &impl Handle) {
    let cache = handle.market_cache();
    // One statement: all of them with one `cached_at`.
    let entries: Vec<NewCacheEntry> = (0..25)
        .map(|i| {
            let data_type = if i % 2 == 0 { DataType::NEWS } else { DataType::PEERS };
            let key = CacheKey::new(&ticker(&format!("T{i}")), data_type);
            NewCacheEntry::new(key, document(json!(i)), an_hour().source(format!("s{}", i % 5)))
        })
        .collect();
    assert_eq!(cache.put_many(&entries).await.expect("put"), 25);
    let all = CacheFilter::default();
    for size in [1, 4, 25, 26] {
        let rows = every_page(size, async |page| cache.list(&all, &page).await).await;
        let mut ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        assert!(rows.is_sorted_by(|a, b| (a.cached_at, a.id) > (b.cached_at, b.id)));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 25, "pages of {size}");
    }
    cache.invalidate(&CacheSelector::ticker(&ticker("T3"))).await.expect("invalidate");
    let filters = [
        (all.clone().tickers(vec![ticker("T1"), ticker("T2")]), 2),
        (all.clone().tickers(Vec::new()), 0),
        (all.clone().data_types(vec![DataType::NEWS]), 13),
        (all.clone().data_types(Vec::new()), 0),
        (all.clone().data_source("s3"), 5),
        (all.clone().data_source("s%"), 0),
        (all.clone().is_live(true), 24),
        (all.clone().is_live(false), 1),
    ];
    for (filter, expected) in filters {
        assert_eq!(cache.count(&filter).await.expect("count"), expected, "{filter:?}");
        let rows = every_page(3, async |page| cache.list(&filter, &page).await).await;
        assert_eq!(rows.len() as u64, expected, "{filter:?}");
    }
}

async fn statistics_are_exact(handle: &impl Handle) {
    let cache = handle.market_cache();
    assert_eq!(cache.statistics(5).await.expect("statistics"), Default::default());
    for (symbol, data_type, length) in [
        ("BIG", DataType::NEWS, 300),
        ("BIG", DataType::PEERS, 200),
        ("MID", DataType::NEWS, 100),
        ("LOW", DataType::NEWS, 1),
    ] {
        // Text that does not compress to the size of another.
        let text: String = (0..length).map(|i: u64| scattered(i).to_string()).collect();
        put(handle, &CacheKey::new(&ticker(symbol), data_type), json!(text)).await;
    }
    cache.invalidate(&CacheSelector::ticker(&ticker("MID"))).await.expect("invalidate");
    let statistics = cache.statistics(2).await.expect("statistics");
    let total = statistics.total;
    assert_eq!((total.entries, total.live, total.expired()), (4, 3, 1));
    let types: Vec<_> = statistics.by_type.iter().map(|t| (t.data_type.as_str(), t.size)).collect();
    assert_eq!(types.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["news", "peers"]);
    assert_eq!(types.iter().map(|(_, size)| size.entries).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(types.iter().map(|(_, size)| size.bytes).sum::<u64>(), total.bytes);
    let top: Vec<_> = statistics.top_tickers.iter().map(|t| t.ticker.as_str()).collect();
    assert_eq!(top, ["BIG", "MID"]);
    for of in &statistics.top_tickers {
        assert_eq!(cache.size_of_ticker(&of.ticker).await.expect("size"), of.size);
    }
    assert!(statistics.top_tickers[0].size.bytes > statistics.top_tickers[1].size.bytes);
    let nothing = cache.size_of_ticker(&ticker("NONE")).await.expect("size");
    assert_eq!((nothing.entries, nothing.live, nothing.bytes), (0, 0, 0));
}
