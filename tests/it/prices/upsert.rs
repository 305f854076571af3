//! Bringing stored bars to what was delivered.

use buffetbot_db::Error;
use buffetbot_db::prices::{NewPriceBar, PriceBarFilter};
use buffetbot_db::store::UpsertReport;
use buffetbot_db::testing::TestDatabase;
use chrono::NaiveDate;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

use super::{bar, nth, parsed, series};
use crate::support::handle::Handle;
use crate::support::plan::Recorder;

conformance! {
    by_year:
    every_item_is_counted_once,
    the_last_item_of_a_key_counts,
    equal_bars_are_not_written_again,
    a_changed_bar_keeps_its_id,
    what_is_not_delivered_any_more_is_absent,
    what_cannot_be_stored_is_left_out,
    a_batch_may_be_empty,
    thousands_arrive_in_any_order,
    a_failing_batch_leaves_nothing,
}

/// Which version of which row: it changes with every write.
async fn versions(handle: &impl Handle) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let connection = handle.connection().await;
    let rows: Vec<Version> = diesel::sql_query(
        "SELECT format('%s %s %s', id, xmin, ctid) AS version FROM price_history ORDER BY 1",
    )
    .load(&mut connection.as_diesel())
    .await
    .expect("versions");
    rows.into_iter().map(|row| row.version).collect()
}

fn counts(report: &UpsertReport) -> [u64; 5] {
    let UpsertReport { inserted, updated, unchanged, superseded, rejected, .. } = report;
    [*inserted, *updated, *unchanged, *superseded, rejected.len() as u64]
}

async fn every_item_is_counted_once(handle: &impl Handle) {
    let prices = handle.prices();
    let report = prices.upsert_many(&series("A", 10)).await.expect("stored");
    assert_eq!(counts(&report), [10, 0, 0, 0, 0]);

    let mut next = series("A", 15);
    next[2].close = parsed("1");
    next[3].volume = Some(7);
    next[4].volume = Some(-7);
    next.push(next[5].clone());
    let report = prices.upsert_many(&next).await.expect("stored");
    assert_eq!(counts(&report), [5, 2, 7, 1, 1]);
    assert_eq!((report.written(), report.total()), (7, 16));

    // The same objects again: what they are told as does not hang on them.
    next[2].close = parsed("2");
    let report = prices.upsert_many(&next).await.expect("stored");
    assert_eq!(counts(&report), [0, 1, 13, 1, 1]);
    let stored = prices.range(&parsed("A"), nth(0), nth(99)).await.expect("read");
    assert_eq!(stored.len(), 15);
    assert_eq!(stored[2].close, parsed("2"));
    assert_eq!((stored[3].volume, stored[4].volume), (Some(7), None));
}

async fn the_last_item_of_a_key_counts(handle: &impl Handle) {
    let prices = handle.prices();
    let mut new: Vec<NewPriceBar> =
        ["1", "2", "3"].iter().map(|close| bar("A", nth(0), close)).collect();
    new.push(bar("B", nth(0), "9"));
    let report = prices.upsert_many(&new).await.expect("stored");
    assert_eq!(counts(&report), [2, 0, 0, 2, 0]);
    let stored = prices.find_by_day(&parsed("A"), nth(0)).await.expect("read");
    assert_eq!(stored.expect("there").close, parsed("3"));
    // One that cannot be stored replaces nothing.
    new.push(bar("A", nth(0), "4").volume(-1));
    let report = prices.upsert_many(&new).await.expect("stored");
    assert_eq!(counts(&report), [0, 0, 2, 2, 1]);
}

async fn equal_bars_are_not_written_again(handle: &impl Handle) {
    let prices = handle.prices();
    let full = |bar: NewPriceBar| {
        let (open, high, low) = (parsed("100"), parsed("500.5"), parsed("99"));
        bar.ohl(open, high, low).volume(3).adjusted_close(parsed("0.1234567891"))
    };
    let mut new: Vec<NewPriceBar> = series("A", 200).into_iter().map(full).collect();
    // With absent values, too: NULL is no other value than NULL.
    new.extend(series("B", 200));
    new.push(bar("C", nth(0), "1").data_source("other").suspect());
    prices.upsert_many(&new).await.expect("stored");
    let before = versions(handle).await;
    // Another spelling of the same number is the same number.
    new[0].close = parsed("100.0000");
    new.reverse();
    let report = prices.upsert_many(&new).await.expect("stored");
    assert_eq!(counts(&report), [0, 0, 401, 0, 0]);
    assert_eq!(versions(handle).await, before);
}

async fn a_changed_bar_keeps_its_id(handle: &impl Handle) {
    let prices = handle.prices();
    let first = prices.create(&bar("A", nth(0), "1")).await.expect("stored");
    let new = bar("A", nth(0), "2").data_source("other").suspect();
    let report = prices.upsert_many(&[new]).await.expect("stored");
    assert_eq!(counts(&report), [0, 1, 0, 0, 0]);
    let stored = prices.find(first.id).await.expect("read").expect("still there");
    assert_eq!((&stored.close, stored.is_suspect), (&parsed("2"), true));
    assert_eq!(
        (stored.data_source.as_deref(), stored.created_at),
        (Some("other"), first.created_at)
    );
}

async fn what_is_not_delivered_any_more_is_absent(handle: &impl Handle) {
    let prices = handle.prices();
    let full = bar("A", nth(0), "1").volume(5).ohl(parsed("1"), parsed("1"), parsed("1"));
    prices.upsert_many(&[full]).await.expect("stored");
    prices.upsert_many(&[bar("A", nth(0), "1")]).await.expect("stored");
    let stored = prices.find_by_day(&parsed("A"), nth(0)).await.expect("read").expect("there");
    assert_eq!((stored.volume, stored.open, stored.high), (None, None, None));
}

async fn what_cannot_be_stored_is_left_out(handle: &impl Handle) {
    let prices = handle.prices();
    let mut new = series("A", 6);
    new[1] = new[1].clone().ohl(parsed("1"), parsed("1"), parsed("2"));
    new[3].data_source = "x".repeat(51).into();
    new[4] = bar("A", NaiveDate::MAX, "1");
    let report = prices.upsert_many(&new).await.expect("stored");
    assert_eq!(report.inserted, 3);
    let rejected: Vec<_> = report.rejected.iter().map(|r| (r.index, &*r.field)).collect();
    assert_eq!(rejected, [(1, "high"), (3, "data_source"), (4, "date")]);
    assert!(report.rejected[0].to_string().starts_with("item 1: invalid high: below the low"));
}

async fn a_batch_may_be_empty(handle: &impl Handle) {
    let prices = handle.prices();
    assert_eq!(prices.upsert_many(&[]).await.expect("nothing"), UpsertReport::default());
    let report = prices.upsert_many(&[bar("A", nth(0), "1").volume(-1)]).await.expect("nothing");
    assert_eq!(counts(&report), [0, 0, 0, 0, 1]);
}

async fn thousands_arrive_in_any_order(handle: &impl Handle) {
    let prices = handle.prices();
    let mut new: Vec<NewPriceBar> = (0..13).flat_map(|n| series(&format!("T{n}"), 1_000)).collect();
    // A fixed shuffle: 7,919 has no divisor in common with 13,000.
    let shuffled = (0..new.len()).map(|i| new[i * 7_919 % new.len()].clone()).collect();
    new = shuffled;
    let report = prices.upsert_many(&new).await.expect("stored");
    assert_eq!(counts(&report), [13_000, 0, 0, 0, 0]);
    for changed in new.iter_mut().step_by(100) {
        changed.volume = Some(1);
    }
    new.truncate(12_000);
    new.extend(series("NEW", 500));
    let report = prices.upsert_many(&new).await.expect("stored");
    assert_eq!(counts(&report), [500, 120, 11_880, 0, 0]);
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("read"), 13_500);
}

async fn a_failing_batch_leaves_nothing(handle: &impl Handle) {
    let prices = handle.prices();
    handle.sql("ALTER TABLE price_history ADD CONSTRAINT not_z CHECK (ticker <> 'Z')").await;
    let mut new: Vec<NewPriceBar> = (0..12).flat_map(|n| series(&format!("T{n}"), 1_000)).collect();
    new.push(bar("Z", nth(0), "1"));
    match handle.attempt(prices.upsert_many(&new)).await {
        Err(Error::Item { index: 12_000, source }) => {
            assert!(matches!(&*source, Error::Invalid { field, .. } if field == "not_z"));
        }
        other => panic!("expected an error: {other:?}"),
    }
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("read"), 0);
    // The connection (in a unit of work, the transaction) goes on.
    new.pop();
    let report = prices.upsert_many(&new).await.expect("stored");
    assert_eq!(counts(&report), [12_000, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_batch_that_fits_is_one_round_trip() {
    let (db, recorder) = Recorder::database().await;
    db.prices().upsert_many(&series("A", 5_000)).await.expect("stored");
    assert!(recorder.only().contains("ON CONFLICT (ticker, date)"));
    db.prices().upsert_many(&[]).await.expect("nothing");
    assert_eq!(recorder.take(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_the_same_bars_neither_deadlock_nor_miscount() {
    let db = TestDatabase::new().await.expect("a database");
    let bars: Vec<NewPriceBar> = (0..7).flat_map(|n| series(&format!("T{n}"), 1_000)).collect();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (prices, mut bars) = (db.prices_arc(), bars.clone());
            // Each in another order, and half of them with another volume.
            bars.rotate_left(writer * 1_700);
            for bar in &mut bars {
                bar.volume = Some((writer % 2) as i64);
            }
            tokio::spawn(async move { prices.upsert_many(&bars).await })
        })
        .collect();
    let mut total = UpsertReport::default();
    for writer in writers {
        let report = writer.await.expect("no panic").expect("no deadlock");
        assert_eq!(report.total(), 7_000);
        total.inserted += report.inserted;
    }
    assert_eq!(total.inserted, 7_000);
    assert_eq!(db.prices().count(&PriceBarFilter::default()).await.expect("read"), 7_000);
}
