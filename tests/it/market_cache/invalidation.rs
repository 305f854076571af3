//! Which entries and leases an invalidation takes in, and fetches that are under way meanwhile.

use buffetbot_db::Error;
use buffetbot_db::market_cache::{CacheKey, CacheSelector};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, Tag};
use serde_json::json;

use super::{an_hour, document, get, key, put, ticker};
use crate::support::handle::Handle;
use crate::support::{eventually, number, parsed, raw};

conformance! {
    without_any_part_it_is_refused,
    every_part_that_is_given_must_match,
    it_is_by_tag,
    an_invalidated_entry_is_not_served_stale,
    leases_of_the_same_keys_end,
    leases_of_a_tag_end,
}

async fn without_any_part_it_is_refused(handle: &impl Handle) {
    put(handle, &key("AAPL"), json!(1)).await;
    match handle.market_cache().invalidate(&CacheSelector::default()).await {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, "selector"),
        other => panic!("{other:?}"),
    }
    assert!(get(handle, &key("AAPL")).await.is_some());
}

async fn every_part_that_is_given_must_match(handle: &impl Handle) {
    let cache = handle.market_cache();
    let tag: Tag = parsed("t");
    let with = key("AAPL").params(json!({"a": 1, "b": 2})).expect("parameters");
    let spelled = key("AAPL").params(json!({"b": 2.0, "a": 1})).expect("parameters");
    let news = CacheKey::new(&ticker("AAPL"), DataType::NEWS);
    let all = [&with, &key("AAPL"), &news, &key("MSFT")];
    let of_key = CacheSelector::key(&spelled);
    let (aapl, tagged) = (CacheSelector::ticker(&ticker("AAPL")), CacheSelector::tag(&tag));
    let cases = [
        (of_key.clone(), [false, true, true, true]),
        (CacheSelector::key(&key("AAPL")), [true, false, true, true]),
        (aapl.clone(), [false, false, false, true]),
        (aapl.clone().data_type(DataType::NEWS), [true, true, false, true]),
        (CacheSelector::of_type(DataType::FUNDAMENTALS), [false, false, true, false]),
        (tagged.clone(), [true, true, false, false]),
        (
            CacheSelector { ticker: aapl.ticker.clone(), ..tagged.clone() },
            [true, true, false, true],
        ),
        (tagged.clone().data_type(DataType::FUNDAMENTALS), [true, true, true, false]),
        (of_key.clone().data_type(DataType::NEWS), [true; 4]),
        (CacheSelector { ticker: Some(ticker("MSFT")), ..of_key }, [true; 4]),
        (CacheSelector { key: Some(key("MSFT")), ..tagged }, [true, true, true, false]),
    ];
    for (selector, expected) in cases {
        for key in all {
            let mut options = an_hour();
            if key.data_type == DataType::NEWS || key.ticker.as_str() == "MSFT" {
                options = options.tag(parsed("s")).tag(tag.clone());
            }
            cache.put(key, &document(json!(1)), &options).await.expect("put");
        }
        let hit = cache.invalidate(&selector).await.expect("invalidate");
        let mut live = [false; 4];
        for (live, key) in live.iter_mut().zip(all) {
            *live = get(handle, key).await.is_some();
        }
        assert_eq!(live, expected, "{selector:?}");
        assert_eq!(hit, live.iter().filter(|live| !**live).count() as u64, "{selector:?}");
    }
}

async fn it_is_by_tag(handle: &impl Handle) {
    let cache = handle.market_cache();
    for (symbol, tags) in [("A", "earnings sec"), ("B", "sec"), ("C", "earnings%"), ("D", "")] {
        let options = an_hour().tags(tags.split_whitespace().map(parsed::<Tag>));
        cache.put(&key(symbol), &document(json!(1)), &options).await.expect("put");
    }
    let by = async |name| {
        cache.invalidate(&CacheSelector::tag(&parsed(name))).await.expect("invalidate")
    };
    assert_eq!(by("%").await, 0);
    assert_eq!(by("earnings").await, 1);
    assert_eq!(by("sec").await, 1, "the other one of two");
    assert_eq!(get(handle, &key("C")).await, Some(json!(1)));
    assert_eq!(get(handle, &key("D")).await, Some(json!(1)));
}

async fn an_invalidated_entry_is_not_served_stale(handle: &impl Handle) {
    let cache = handle.market_cache();
    let options = an_hour().stale_for(an_hour().ttl);
    // Live, and expired within its window.
    for expired in [false, true] {
        let entry = cache.put(&key("AAPL"), &document(json!(1)), &options).await.expect("put");
        if expired {
            let update = "UPDATE market_data_cache SET cached_at = now() - interval '2 h', \
                          expires_at = now() - interval '1 h', stale_until = now() + interval '1 h'";
            handle.sql(update).await;
        }
        let selector = CacheSelector::key(&key("AAPL"));
        assert_eq!(cache.invalidate(&selector).await.expect("invalidate"), 1);
        assert_eq!(cache.invalidate(&selector).await.expect("invalidate"), 0);
        let stale = cache.get_stale(&key("AAPL")).await.expect("get").expect("not swept yet");
        assert!(stale.is_expired);
        assert_eq!(stale.value.stale_until, None);
        assert!(stale.value.version > entry.version);
        assert_eq!(stale.value.revision, entry.revision);
    }
}

/// Takes a lease of a document; without a token it is a pause after a failure.
async fn lease(handle: &impl Handle, symbol: &str, name: &str, parameters: &str, token: &str) {
    let insert = format!(
        "INSERT INTO cache_leases (space, ticker, name, parameters_key, token, taken_at, expires_at)
         VALUES ('market_data', '{symbol}', '{name}', cache_parameters_key({parameters}), {token},
             now(), now() + interval '1 min')"
    );
    handle.sql(&insert).await;
}

/// How many are left, of documents and analyses.
async fn leases(handle: &impl Handle) -> i64 {
    let connection = handle.connection().await;
    number(&connection, "SELECT count(*) AS n FROM cache_leases").await.expect("count")
}

async fn leases_of_the_same_keys_end(handle: &impl Handle) {
    let cache = handle.market_cache();
    let with = key("AAPL").params(json!({"a": 1})).expect("parameters");
    let aapl = CacheSelector::ticker(&ticker("AAPL"));
    for (selector, left) in [
        (CacheSelector::key(&with), 4),
        (CacheSelector::key(&key("AAPL")), 4),
        (aapl.clone().data_type(DataType::NEWS), 4),
        (aapl, 2),
        (CacheSelector::of_type(DataType::FUNDAMENTALS), 2),
    ] {
        handle.sql("DELETE FROM cache_leases").await;
        lease(handle, "AAPL", "fundamentals", "'{\"a\": 1.0}'", "1").await;
        lease(handle, "AAPL", "fundamentals", "NULL", "2").await;
        lease(handle, "AAPL", "news", "NULL", "NULL").await;
        lease(handle, "MSFT", "fundamentals", "NULL", "3").await;
        handle
            .sql(
                "INSERT INTO cache_leases (space, ticker, name, parameters_key, taken_at, expires_at)
                 VALUES ('analyses', 'AAPL', 'fundamentals', '', now(), now())",
            )
            .await;
        assert_eq!(cache.invalidate(&selector).await.expect("no entry, no error"), 0);
        assert_eq!(leases(handle).await, left, "{selector:?}");
    }
}

async fn leases_of_a_tag_end(handle: &impl Handle) {
    let cache = handle.market_cache();
    let tag: Tag = parsed("earnings");
    cache.put(&key("HAS"), &document(json!(1)), &an_hour().tag(tag.clone())).await.expect("put");
    put(handle, &key("NOT"), json!(1)).await;
    lease(handle, "HAS", "fundamentals", "NULL", "1").await;
    lease(handle, "NOT", "fundamentals", "NULL", "2").await;
    lease(handle, "NEW", "fundamentals", "NULL", "3").await;
    lease(handle, "FAILED", "fundamentals", "NULL", "NULL").await;
    assert_eq!(cache.invalidate(&CacheSelector::tag(&tag)).await.expect("invalidate"), 1);
    handle.sql("DELETE FROM cache_leases WHERE ticker IN ('NOT', 'FAILED')").await;
    assert_eq!(leases(handle).await, 0, "of the tag's entry, and of what has no entry yet");
    lease(handle, "NOT", "fundamentals", "NULL", "2").await;
    lease(handle, "FAILED", "fundamentals", "NULL", "NULL").await;
    cache.invalidate(&CacheSelector::tag(&tag)).await.expect("invalidate");
    assert_eq!(leases(handle).await, 2, "of other entries, and pauses");
}

/// The holder of a lease gives it up and stores in one transaction, for whose end the invalidation waits.
#[tokio::test]
async fn what_a_fetch_stores_meanwhile_is_invalidated_too() {
    let db = TestDatabase::new().await.expect("a database");
    lease(&*db, "AAPL", "fundamentals", "NULL", "1").await;
    let mut holder = raw(db.url()).await;
    let storing = holder.transaction().await.expect("begin");
    storing
        .batch_execute(
            "DELETE FROM cache_leases WHERE token = 1;
             INSERT INTO market_data_cache (ticker, data_type, data, expires_at)
             VALUES ('AAPL', 'fundamentals', '\"old\"', now() + interval '1 h')",
        )
        .await
        .expect("store");
    let (other, selector) = (db.clone(), CacheSelector::ticker(&ticker("AAPL")));
    let invalidation =
        tokio::spawn(async move { other.market_cache().invalidate(&selector).await });
    let observer = raw(db.url()).await;
    let waiting = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        observer.query_one(sql, &[]).await.expect("activity").get::<_, i64>(0) == 1
    };
    eventually("the invalidation waits", waiting).await;
    storing.commit().await.expect("commit");
    assert_eq!(invalidation.await.expect("no panic").expect("invalidate"), 1);
    assert_eq!(get(&*db, &key("AAPL")).await, None);
}
