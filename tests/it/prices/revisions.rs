//! What was known before a correction.

use std::time::Duration;

use buffetbot_db::prices::{PriceBar, PriceBarPatch};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::Ticker;
use buffetbot_db::{Database, Error};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Timestamptz};
use diesel_async::RunQueryDsl;

use super::{bar, nth, parsed, series};
use crate::support::handle::Handle;

/// The database's time.
pub(super) async fn now(db: &Database) -> DateTime<Utc> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = Timestamptz)]
        now: DateTime<Utc>,
    }
    let connection = db.connection().await.expect("a connection");
    let query = diesel::sql_query("SELECT clock_timestamp() AS now");
    query.get_result::<Now>(&mut connection.as_diesel()).await.expect("the time").now
}

async fn kept(db: &Database) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let connection = db.connection().await.expect("a connection");
    let query = diesel::sql_query("SELECT count(*) FROM price_revisions");
    query.get_result::<Count>(&mut connection.as_diesel()).await.expect("counted").count
}

/// The closes of A's first five days as known at a time.
async fn closes(db: &Database, at: DateTime<Utc>) -> Vec<String> {
    let tickers = [parsed("A")];
    let bars = db.prices().range_as_of(&tickers, nth(0), nth(4), at).await.expect("read");
    bars.iter().map(|bar: &PriceBar| bar.close.to_string()).collect()
}

#[tokio::test]
async fn a_correction_keeps_what_was_known_before() {
    let db = TestDatabase::new().await.expect("a database");
    let prices = db.prices();
    let before = now(&db).await;
    prices.upsert_many(&series("A", 3)).await.expect("stored");
    let first = now(&db).await;
    let restated = [bar("A", nth(1), "7").data_source("other"), bar("A", nth(3), "103")];
    prices.upsert_many(&restated).await.expect("corrected");
    let second = now(&db).await;
    prices.delete_range(&parsed("A"), nth(0), nth(0)).await.expect("deleted");
    let third = now(&db).await;
    let stored = prices.range(&parsed("A"), nth(1), nth(1)).await.expect("read").remove(0);
    let patch = PriceBarPatch::default().close(parsed("8"));
    prices.update(stored.id, &patch).await.expect("patched");
    prices.create(&bar("A", nth(0), "99")).await.expect("stored anew");
    let last = now(&db).await;

    assert_eq!(closes(&db, before).await, [""; 0]);
    assert_eq!(closes(&db, first).await, ["100", "101", "102"]);
    assert_eq!(closes(&db, second).await, ["100", "7", "102", "103"]);
    assert_eq!(closes(&db, third).await, ["7", "102", "103"]);
    assert_eq!(closes(&db, last).await, ["99", "8", "102", "103"]);
    assert_eq!(closes(&db, DateTime::<Utc>::MAX_UTC).await, ["99", "8", "102", "103"]);
    assert_eq!(closes(&db, DateTime::<Utc>::MIN_UTC).await, [""; 0]);

    let known = prices.revisions(&parsed("A"), nth(1)).await.expect("read");
    let said: Vec<_> = known.iter().map(|r| r.bar.close.to_string()).collect();
    assert_eq!(said, ["101", "7", "8"]);
    let sources: Vec<_> = known.iter().filter_map(|r| r.bar.data_source.as_deref()).collect();
    assert_eq!(sources, ["yfinance", "other", "other"]);
    // One period follows the other.
    for pair in known.windows(2) {
        assert_eq!(pair[0].replaced_at, Some(pair[1].bar.known_from()));
    }
    assert_eq!(known[2].replaced_at, None);
    assert_eq!(prices.range(&parsed("A"), nth(1), nth(1)).await.expect("read")[0], known[2].bar);
    let unknown: Ticker = parsed("B");
    assert!(prices.revisions(&unknown, nth(1)).await.expect("read").is_empty());
}

#[tokio::test]
async fn nothing_is_kept_of_what_changes_nothing_or_was_never_known() {
    let db = TestDatabase::new().await.expect("a database");
    let prices = db.prices();
    prices.upsert_many(&series("A", 3)).await.expect("stored");
    prices.upsert_many(&series("A", 3)).await.expect("delivered again");
    db.sql("UPDATE price_history SET close_price = close_price").await;
    assert_eq!(kept(&db).await, 0);
    // Within a transaction values come and go.
    let uow = db.begin().await.expect("a transaction");
    uow.prices().upsert_many(&series("B", 3)).await.expect("stored");
    uow.prices().upsert_many(&[bar("B", nth(0), "1")]).await.expect("corrected");
    uow.prices().delete_range(&parsed("B"), nth(1), nth(1)).await.expect("deleted");
    uow.prices().upsert_many(&[bar("A", nth(0), "1")]).await.expect("corrected");
    uow.prices().upsert_many(&[bar("A", nth(0), "2")]).await.expect("corrected once more");
    uow.commit().await.expect("committed");
    assert_eq!(kept(&db).await, 1, "the close of A that others have seen");
    let known = prices.revisions(&parsed("A"), nth(0)).await.expect("read");
    let said: Vec<_> = known.iter().map(|r| r.bar.close.to_string()).collect();
    assert_eq!(said, ["100", "2"]);
}

#[tokio::test]
async fn of_two_writers_the_one_that_began_first_may_come_last() {
    let db = TestDatabase::new().await.expect("a database");
    db.prices().upsert_many(&series("A", 1)).await.expect("stored");
    let early = db.begin().await.expect("a transaction");
    early.prices().find_by_day(&parsed("A"), nth(0)).await.expect("it has begun");
    db.prices().upsert_many(&[bar("A", nth(0), "2")]).await.expect("corrected");
    early.prices().upsert_many(&[bar("A", nth(0), "3")]).await.expect("corrected");
    early.commit().await.expect("committed");
    let known = db.prices().revisions(&parsed("A"), nth(0)).await.expect("read");
    let said: Vec<_> = known.iter().map(|r| r.bar.close.to_string()).collect();
    assert_eq!(said, ["100", "2", "3"]);
    for revision in &known[..2] {
        assert!(Some(revision.bar.known_from()) < revision.replaced_at);
    }
}

#[tokio::test]
async fn b5_reads_as_of_a_time_that_was_swept_are_refused() {
    let db = TestDatabase::new().await.expect("a database");
    let prices = db.prices();
    let read = async |at| prices.range_as_of(&[parsed("A")], nth(0), nth(4), at).await;
    prices.upsert_many(&series("A", 30)).await.expect("stored");
    prices.delete_range(&parsed("A"), nth(0), nth(24)).await.expect("deleted");
    db.sql("UPDATE price_revisions SET replaced_at = replaced_at - interval '1 year', removed_by = NULL WHERE date < '2024-01-21'")
        .await;
    let half_a_year = Duration::from_secs(183 * 86_400);
    let swept = prices.sweep_revisions(15, half_a_year).await.expect("swept");
    assert_eq!((swept.deleted, swept.more_left), (15, true));
    let known_from = match read(now(&db).await - TimeDelta::days(400)).await {
        Err(Error::HistorySwept { known_from }) => known_from,
        other => panic!("{other:?}"),
    };
    assert!(known_from < now(&db).await - TimeDelta::days(364), "{known_from}");
    let swept = prices.sweep_revisions(15, half_a_year).await.expect("swept");
    assert_eq!((swept.deleted, swept.more_left), (5, false));
    assert_eq!(kept(&db).await, 5);
}
