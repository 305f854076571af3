//! Documents of another cache, with the times that they have there.

use buffetbot_db::Error;
use buffetbot_db::market_cache::{Backfill, Backfilled, CacheKey, NewCacheEntry};
use buffetbot_db::testing::TestDatabase;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{HOUR, an_hour, count, document, get, key, put};
use crate::support::handle::Handle;
use crate::support::{ago, parsed};

conformance! {
    times_are_those_of_the_other_cache,
    what_is_newer_stays,
    what_has_expired_is_left_out,
    of_one_key_the_newest_is_stored,
    all_or_nothing_and_the_culprit_is_named,
}

fn backfill(key: CacheKey, value: serde_json::Value, cached_at: DateTime<Utc>) -> Backfill {
    Backfill { entry: NewCacheEntry::new(key, document(value), an_hour()), cached_at }
}

fn filled(written: u64, kept: u64, expired: u64) -> Backfilled {
    Backfilled { written, kept, expired }
}

async fn times_are_those_of_the_other_cache(handle: &impl Handle) {
    let cache = handle.market_cache();
    assert_eq!(cache.backfill_many(&[]).await.expect("nothing"), filled(0, 0, 0));
    let options = an_hour().source("files").quality(parsed("0.5")).stale_for(2 * HOUR);
    let entry = NewCacheEntry::new(key("AAPL"), document(json!(1)), options.tag(parsed("old")));
    let cached_at = ago(20);
    let given = [
        Backfill { entry: entry.clone(), cached_at },
        // Of a clock that is ahead.
        backfill(key("MSFT"), json!(2), ago(-600)),
    ];
    assert_eq!(cache.backfill_many(&given).await.expect("filled"), filled(2, 0, 0));
    let stored = cache.get(&key("AAPL")).await.expect("get").expect("an entry");
    assert_eq!((stored.id, stored.cached_at), (entry.id, cached_at));
    assert_eq!(stored.expires_at, cached_at + TimeDelta::hours(1));
    assert_eq!(stored.stale_until, Some(cached_at + TimeDelta::hours(3)));
    assert_eq!(stored.data_source.as_deref(), Some("files"));
    assert_eq!(
        (stored.data_quality_score, stored.tags),
        (Some(parsed("0.5")), vec![parsed("old")])
    );
    let ahead = cache.get(&key("MSFT")).await.expect("get").expect("an entry");
    assert!(ahead.cached_at <= ago(-1) && ahead.expires_at <= ago(-61), "{ahead:?}");
}

async fn what_is_newer_stays(handle: &impl Handle) {
    let cache = handle.market_cache();
    let first = ago(30);
    let old =
        [backfill(key("OLD"), json!("old"), first), backfill(key("NOW"), json!("old"), first)];
    assert_eq!(cache.backfill_many(&old).await.expect("filled"), filled(2, 0, 0));
    let before = cache.get(&key("OLD")).await.expect("get").expect("an entry");
    put(handle, &key("NOW"), json!("now")).await;
    // The same again, an older one, a newer one.
    assert_eq!(cache.backfill_many(&old).await.expect("filled"), filled(0, 2, 0));
    let older = [backfill(key("OLD"), json!("older"), ago(40))];
    assert_eq!(cache.backfill_many(&older).await.expect("filled"), filled(0, 1, 0));
    assert_eq!(cache.get(&key("OLD")).await.expect("get").as_ref(), Some(&before));
    let newer = [
        backfill(key("OLD"), json!("newer"), ago(10)),
        backfill(key("NOW"), json!("newer"), ago(10)),
    ];
    assert_eq!(cache.backfill_many(&newer).await.expect("filled"), filled(1, 1, 0));
    let after = cache.get(&key("OLD")).await.expect("get").expect("an entry");
    assert_eq!(
        (after.id, after.decode::<String>().expect("JSON")),
        (before.id, "newer".to_owned())
    );
    assert!(after.version > before.version && after.revision > before.revision);
    assert_eq!(get(handle, &key("NOW")).await, Some(json!("now")));
}

async fn what_has_expired_is_left_out(handle: &impl Handle) {
    let cache = handle.market_cache();
    let given = [
        backfill(key("LIVE"), json!(1), ago(59)),
        backfill(key("OVER"), json!(1), ago(61)),
        backfill(key("LONG"), json!(1), DateTime::from_timestamp_millis(0).expect("1970")),
    ];
    assert_eq!(cache.backfill_many(&given).await.expect("filled"), filled(1, 0, 2));
    assert_eq!(count(handle).await, 1);
    // An expired one does not hide a live one of its key.
    let given =
        [backfill(key("BOTH"), json!(1), ago(10)), backfill(key("BOTH"), json!(2), ago(70))];
    assert_eq!(cache.backfill_many(&given).await.expect("filled"), filled(1, 0, 1));
    assert_eq!(get(handle, &key("BOTH")).await, Some(json!(1)));
}

async fn of_one_key_the_newest_is_stored(handle: &impl Handle) {
    let cache = handle.market_cache();
    // In one statement and in several, whatever the order; the parameters spelled differently.
    for (name, number) in [("FEW", 5), ("MANY", 1_300)] {
        let same = |i: i64| {
            let period =
                if i % 2 == 0 { json!({"a": 1, "b": 2}) } else { json!({"b": 2.0, "a": 1.0}) };
            key(name).params(period).expect("parameters")
        };
        let given: Vec<_> =
            (0..number).map(|i| backfill(same(i), json!(i), ago(1 + (i * 7 + 3) % 50))).collect();
        let newest = given.iter().rev().max_by_key(|g| g.cached_at).expect("some").cached_at;
        let newest = given.iter().rfind(|g| g.cached_at == newest).expect("it");
        let filled = cache.backfill_many(&given).await.expect("filled");
        assert_eq!((filled.written >= 1, filled.expired), (true, 0));
        assert_eq!(filled.written + filled.kept, number as u64);
        let stored = cache.get(&same(0)).await.expect("get").expect("an entry");
        assert_eq!(stored.cached_at, newest.cached_at);
    }
    assert_eq!(count(handle).await, 2);
}

async fn all_or_nothing_and_the_culprit_is_named(handle: &impl Handle) {
    let cache = handle.market_cache();
    let no =
        "ALTER TABLE market_data_cache ADD CONSTRAINT no_culprit CHECK (data <> '\"culprit\"')";
    handle.sql(no).await;
    for culprit in [0, 700] {
        let symbol = |i: usize| key(&format!("T{i:04}"));
        let mut given: Vec<_> = (0..900).map(|i| backfill(symbol(i), json!(i), ago(5))).collect();
        let mut tried = given.clone();
        tried[culprit] = backfill(symbol(culprit), json!("culprit"), ago(5));
        match handle.attempt(cache.backfill_many(&tried)).await {
            Err(Error::Item { index, source }) => {
                assert_eq!(index, culprit);
                assert!(matches!(*source, Error::Invalid { .. }), "{source:?}");
            }
            other => panic!("{other:?}"),
        }
        given[culprit].entry.options.ttl = std::time::Duration::ZERO;
        match cache.backfill_many(&given).await {
            Err(Error::Item { index, source }) => {
                assert_eq!(index, culprit);
                assert!(matches!(*source, Error::Invalid { field, .. } if field == "ttl"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(count(handle).await, 0);
    }
    // A year that PostgreSQL does not know.
    let given = [
        backfill(key("A"), json!(1), ago(5)),
        backfill(key("B"), json!(1), DateTime::<Utc>::MIN_UTC),
    ];
    let refused = handle.attempt(cache.backfill_many(&given)).await;
    assert!(matches!(&refused, Err(Error::Item { index: 1, .. })), "{refused:?}");
}

/// A document that is put while an older one is on its way stays.
#[tokio::test]
async fn what_is_put_meanwhile_stays() {
    let db = TestDatabase::new().await.expect("a database");
    let uow = db.begin().await.expect("a transaction");
    put(&uow, &key("AAPL"), json!("fetched")).await;
    let filling = tokio::spawn({
        let db = db.clone();
        async move {
            db.market_cache().backfill_many(&[backfill(key("AAPL"), json!("old"), ago(5))]).await
        }
    });
    crate::support::eventually("it waits", async || {
        let waits = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                     AND datname = current_database()";
        crate::support::number(&db.connection().await.expect("a connection"), waits)
            .await
            .expect("counted")
            == 1
    })
    .await;
    uow.commit().await.expect("committed");
    assert_eq!(filling.await.expect("no panic").expect("filled"), filled(0, 1, 0));
    assert_eq!(get(&*db, &key("AAPL")).await, Some(json!("fetched")));
}

/// A document that a program holds in memory gives way to a newer one.
#[tokio::test]
async fn a_program_sees_it_at_once() {
    let db = TestDatabase::new().await.expect("a database");
    db.market_cache()
        .backfill_many(&[backfill(key("AAPL"), json!("old"), ago(30))])
        .await
        .expect("filled");
    let served = async || {
        let served = db.cache().get::<String>(&key("AAPL")).await.expect("served");
        served.map(|cached| cached.value.to_string())
    };
    assert_eq!(served().await.as_deref(), Some("old"));
    db.market_cache()
        .backfill_many(&[backfill(key("AAPL"), json!("new"), ago(20))])
        .await
        .expect("filled");
    assert_eq!(served().await.as_deref(), Some("new"));
}
