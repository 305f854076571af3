//! Bars as a stream.

use buffetbot_db::Error;
use buffetbot_db::testing::TestDatabase;
use chrono::NaiveDate;
use diesel_async::SimpleAsyncConnection;
use futures_util::{StreamExt, TryStreamExt};

use super::{brief, nth, parsed, series};
use crate::support::handle::Handle;
use crate::support::plan::{Recorder, assert_index};

const FIRST: NaiveDate = NaiveDate::MIN;
const LAST: NaiveDate = NaiveDate::MAX;

conformance! {
    by_year:
    a_stream_is_the_range,
}

async fn a_stream_is_the_range(handle: &impl Handle) {
    let prices = handle.prices();
    for ticker in ["b", "A", "A.B", "^Z"] {
        prices.upsert_many(&series(ticker, 40)).await.expect("stored");
    }
    // Out of order, unknown ones, and one twice.
    let tickers: Vec<_> = ["^Z", "B", "A.B", "NONE", "B"].into_iter().map(parsed).collect();
    for (from, to) in [(FIRST, LAST), (nth(3), nth(5)), (nth(5), nth(3))] {
        let streamed = prices.stream_range(&tickers, from, to).try_collect::<Vec<_>>().await;
        let ranged = prices.range_many(&tickers, from, to).await.expect("read");
        assert_eq!(ranged, streamed.expect("read"));
    }
    let none: Vec<_> = prices.stream_range(&[], FIRST, LAST).try_collect().await.expect("read");
    assert_eq!(brief(&none), []);
    let all = prices.stream_range(&tickers, FIRST, LAST).try_collect::<Vec<_>>().await;
    assert_eq!(all.expect("read").len(), 120);
}

#[tokio::test]
async fn a_stream_may_be_left_early() {
    let db = TestDatabase::with(|config| config.pool_size(1).pool_max_overflow(0)).await;
    let db = db.expect("a database");
    db.prices().upsert_many(&series("A", 1_000)).await.expect("stored");
    let tickers = [parsed("A")];
    for _ in 0..3 {
        let prices = db.prices();
        let mut some = prices.stream_range(&tickers, FIRST, LAST);
        some.next().await.expect("a bar").expect("read");
        drop(some);
        assert_eq!(prices.range(&tickers[0], nth(3), nth(5)).await.expect("read").len(), 3);
    }
}

#[tokio::test]
async fn what_is_in_the_way_of_a_stream_is_its_last_item() {
    let db = TestDatabase::with(|config| config.pool_size(1).pool_max_overflow(0)).await;
    let db = db.expect("a database");
    db.prices().upsert_many(&series("A", 2)).await.expect("stored");
    let connection = db.connection().await.expect("the only connection");
    let sql = "ALTER TABLE price_history RENAME TO other";
    connection.as_diesel().batch_execute(sql).await.expect("renamed");
    drop(connection);
    let prices = db.prices();
    let items: Vec<_> = prices.stream_range(&[parsed("A")], FIRST, LAST).collect().await;
    assert!(matches!(&items[..], [Err(Error::Database { sqlstate, .. })] if sqlstate == "42P01"));
}

#[tokio::test]
async fn nothing_is_sorted_on_the_way() {
    let (db, recorder) = Recorder::database().await;
    for ticker in ["A", "B", "C"] {
        db.prices().upsert_many(&series(ticker, 300)).await.expect("stored");
    }
    let connection = db.connection().await.expect("a connection");
    connection.as_diesel().batch_execute("ANALYZE").await.expect("analyzed");
    drop(connection);
    recorder.take();
    let tickers = [parsed("A"), parsed("C")];
    let read: Vec<_> =
        db.prices().stream_range(&tickers, nth(0), nth(9)).try_collect().await.expect("read");
    assert_eq!(read.len(), 20);
    let (sql, arguments) = (recorder.only(), ["'{A,C}'", "'2024-01-01Z'", "'2024-01-11Z'"]);
    assert_index(&db, &sql, &arguments, "price_history", "price_history_ticker_date_key").await;
}
