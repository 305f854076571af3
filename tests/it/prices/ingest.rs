//! Taking bars in: streams, policies, floats, and what is written for it.

use buffetbot_db::prices::{
    DeliveredBar, FloatBar, IngestOptions, NewPriceBar, PriceBarFilter, SuspectPolicy,
};
use buffetbot_db::store::UpsertReport;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{Config, Database, Error, Result};
use chrono::Days;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{bar, nth, parsed, series};
use crate::support::eventually;
use crate::support::handle::Handle;

conformance! {
    by_year:
    a_stream_is_stored_in_chunks_and_counted,
    what_is_delivered_again_is_not_written_again,
    a_failing_stream_leaves_nothing,
    suspicious_bars_are_rejected_flagged_or_fatal,
    jumps_are_found_against_both_neighbours,
    jumps_are_judged_within_each_ticker,
    floats_are_quantised_and_counted,
    a_mixed_delivery_changes_only_what_differs,
    few_bars_of_a_long_history_are_looked_up_one_by_one,
}

/// Bars as a stream delivers them.
fn streamed<'a, T: Into<DeliveredBar> + Send + 'a>(
    bars: impl IntoIterator<Item = T, IntoIter: Send + 'a>,
) -> BoxStream<'a, Result<DeliveredBar>> {
    stream::iter(bars.into_iter().map(|bar| Ok(bar.into()))).boxed()
}

fn counts(report: &UpsertReport) -> [u64; 5] {
    let UpsertReport { inserted, updated, unchanged, superseded, .. } = report;
    [*inserted, *updated, *unchanged, *superseded, report.rejected_count()]
}

/// `tickers` times `days` bars in the order of days.
fn market(tickers: u64, days: u64) -> impl Iterator<Item = NewPriceBar> {
    (0..days).flat_map(move |d| {
        (0..tickers).map(move |t| bar(&format!("T{t:03}"), nth(d), &(100 + t + d).to_string()))
    })
}

async fn a_stream_is_stored_in_chunks_and_counted(handle: &impl Handle) {
    let prices = handle.prices();
    let options = IngestOptions::new();
    let report = prices.copy_in(streamed(Vec::<NewPriceBar>::new()), &options).await;
    assert_eq!(report.expect("nothing"), UpsertReport::default());
    // Three chunks; in the second a bar is superseded, in the third one is corrected and one refused.
    let mut bars: Vec<NewPriceBar> = market(50, 900).collect();
    bars.insert(25_000, NewPriceBar { volume: Some(1), ..bars[25_000].clone() });
    bars.push(NewPriceBar { volume: Some(7), ..bars[0].clone() });
    bars.push(bar("T000", nth(0), "1").volume(-1));
    let report = prices.copy_in(streamed(bars), &options).await.expect("stored");
    assert_eq!(counts(&report), [45_000, 1, 0, 1, 1]);
    assert_eq!((report.rejected[0].index, report.total()), (45_002, 45_003));
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("counted"), 45_000);
    let stored = prices.range(&parsed("T049"), nth(0), nth(899)).await.expect("read");
    assert_eq!((stored.len(), &stored[899].close), (900, &parsed("1048")));
    let first = prices.find_by_day(&parsed("T000"), nth(0)).await.expect("read").expect("there");
    assert_eq!(first.volume, Some(7));
}

/// Every row of the table as it lies there: a new version or a lock would show.
async fn written(handle: &impl Handle) -> Vec<String> {
    use diesel::sql_types::Text;
    use diesel_async::RunQueryDsl;
    #[derive(diesel::QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let connection = handle.connection().await;
    let rows: Vec<Version> = diesel::sql_query(
        "SELECT format('%s %s %s', ctid, xmin, xmax) AS version FROM price_history ORDER BY 1",
    )
    .load(&mut connection.as_diesel())
    .await
    .expect("versions");
    rows.into_iter().map(|row| row.version).collect()
}

async fn what_is_delivered_again_is_not_written_again(handle: &impl Handle) {
    let prices = handle.prices();
    let bars: Vec<NewPriceBar> = market(30, 300).collect();
    prices.upsert_many(&bars).await.expect("stored");
    prices.upsert_many(&series("FEW", 10)).await.expect("stored");
    let before = written(handle).await;
    let report = prices.upsert_many(&bars).await.expect("many, chunk by chunk");
    assert_eq!(counts(&report), [0, 0, 9_000, 0, 0]);
    let report = prices.upsert_many(&series("FEW", 10)).await.expect("few, in one statement");
    assert_eq!(counts(&report), [0, 0, 10, 0, 0]);
    let report = prices.copy_in(streamed(bars), &IngestOptions::new()).await.expect("streamed");
    assert_eq!(counts(&report), [0, 0, 9_000, 0, 0]);
    assert_eq!(written(handle).await, before, "no row version is new, no row is locked");
}

#[tokio::test]
async fn the_server_counts_no_write_for_what_is_delivered_again() {
    let db = TestDatabase::new().await.expect("a database");
    let bars: Vec<NewPriceBar> = market(30, 300).collect();
    db.prices().upsert_many(&bars).await.expect("stored");
    let client = crate::catalog::connect(&db).await;
    // The server's sessions report what they did some time after it.
    let counted = async |inserted: i64| -> [i64; 4] {
        let sql = "SELECT n_tup_ins, n_tup_upd, n_tup_del, n_dead_tup FROM pg_stat_user_tables
                   WHERE relname = 'price_history'";
        let read = async || {
            let row = client.query_one(sql, &[]).await.expect("statistics");
            [row.get(0), row.get(1), row.get(2), row.get(3)]
        };
        eventually("the inserted bars are counted", async || read().await[0] >= inserted).await;
        read().await
    };
    assert_eq!(counted(9_000).await, [9_000, 0, 0, 0]);
    for _ in 0..3 {
        let report = db.prices().upsert_many(&bars).await.expect("delivered again");
        assert_eq!(report.unchanged, 9_000);
    }
    // A change of another row is counted after those, so that they are when it is.
    db.prices().create(&bar("LAST", nth(0), "1")).await.expect("stored");
    assert_eq!(counted(9_001).await, [9_001, 0, 0, 0]);
}

/// What a provider's own code may give: an error of any kind.
fn parsed_error() -> Error {
    "?".parse::<buffetbot_db::types::Price>().expect_err("no price")
}

async fn a_failing_stream_leaves_nothing(handle: &impl Handle) {
    let prices = handle.prices();
    let options = IngestOptions::new();
    let broken = market(50, 900).map(|bar| Ok(bar.into())).chain([Err(parsed_error())]);
    let failed = handle.attempt(prices.copy_in(stream::iter(broken).boxed(), &options)).await;
    assert!(matches!(failed, Err(Error::Invalid { field, .. }) if field == "price"));
    // The server refuses a row of the last chunk.
    handle.sql("ALTER TABLE price_history ADD CONSTRAINT cheap CHECK (close_price < 1000)").await;
    let failed = handle.attempt(prices.copy_in(streamed(market(50, 920)), &options)).await;
    match failed {
        // The first close of 1000 in the order of storing, that of the first ticker.
        Err(Error::Item { index: 45_000, source }) => {
            assert!(matches!(&*source, Error::Invalid { field, .. } if field == "cheap"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("counted"), 0);
    let report = prices.copy_in(streamed(market(50, 2)), &options).await.expect("goes on");
    assert_eq!(report.inserted, 100);
}

async fn suspicious_bars_are_rejected_flagged_or_fatal(handle: &impl Handle) {
    let prices = handle.prices();
    let fine = bar("A", nth(0), "10");
    let wrong = bar("A", nth(1), "10").ohl(parsed("9"), parsed("8"), parsed("11"));
    let outside = bar("A", nth(2), "10").ohl(parsed("4"), parsed("5"), parsed("3"));
    let bars = [fine.clone(), wrong, outside];
    let with = |policy| IngestOptions::new().on_suspect(policy);

    let failed = prices.upsert_many_with(&bars, &with(SuspectPolicy::Fail)).await;
    assert!(matches!(failed, Err(Error::Item { index: 1, .. })), "{failed:?}");
    let failed = prices.copy_in(streamed(bars.clone()), &with(SuspectPolicy::Fail)).await;
    assert!(matches!(failed, Err(Error::Item { index: 1, .. })), "{failed:?}");
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("counted"), 0);

    let report = prices.upsert_many_with(&bars, &with(SuspectPolicy::Reject)).await;
    let report = report.expect("stored");
    assert_eq!(counts(&report), [1, 0, 0, 0, 2]);
    let said: Vec<_> = report.rejected.iter().map(|r| (r.index, &*r.field)).collect();
    assert_eq!(said, [(1, "high"), (2, "close")]);

    let report = prices.upsert_many_with(&bars, &with(SuspectPolicy::Flag)).await.expect("stored");
    assert_eq!((counts(&report), report.flagged), ([2, 0, 1, 0, 0], 2));
    let flagged = PriceBarFilter::default().is_suspect(true);
    assert_eq!(prices.count(&flagged).await.expect("counted"), 2);
}

async fn jumps_are_found_against_both_neighbours(handle: &impl Handle) {
    let prices = handle.prices();
    let closes = |closes: &[&str], first: u64| -> Vec<NewPriceBar> {
        let days = closes.iter().enumerate();
        days.map(|(i, close)| bar("A", nth(first + i as u64), close)).collect()
    };
    for bad in [1.0, 0.5, f64::NAN] {
        let refused = prices.upsert_many_with(&[], &IngestOptions::new().max_jump(bad)).await;
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "max_jump"));
    }
    let options = IngestOptions::new().max_jump(5.0);
    // A spike, a misplaced point, and a split that stays.
    let bars = closes(&["100", "101", "10100", "102", "1.03", "104", "15", "15.2"], 0);
    let report = prices.upsert_many_with(&bars, &options).await.expect("stored");
    assert_eq!(counts(&report), [6, 0, 0, 0, 2]);
    let said: Vec<_> = report.rejected.iter().map(|r| (r.index, r.to_string())).collect();
    assert_eq!(said[0], (2, "item 2: invalid close: 100.0000 times the close before".into()));
    assert_eq!(said[1].0, 4);
    // Against the stored close; the latest bar is judged by it alone.
    let report = prices.upsert_many_with(&closes(&["1600"], 8), &options).await.expect("stored");
    assert_eq!(counts(&report), [0, 0, 0, 0, 1]);
    let flag = options.on_suspect(SuspectPolicy::Flag);
    let bars = closes(&["1600"], 8);
    let report = prices.copy_in(streamed(bars), &flag).await.expect("stored");
    assert_eq!((report.inserted, report.flagged), (1, 1));
    // A flagged one is nobody's measure.
    let report = prices.upsert_many_with(&closes(&["15.5"], 9), &flag).await.expect("stored");
    assert_eq!((report.inserted, report.flagged), (1, 0));
}

async fn jumps_are_judged_within_each_ticker(handle: &impl Handle) {
    // Each ticker has four days, one later than the ticker before, and rises for good on the third: whatever
    // day it is, and wherever its bars are stored.
    let closes = ["10", "10", "100", "100"];
    let bars: Vec<_> = (0..600u64)
        .flat_map(|i| {
            let close = move |(day, close): (u64, _)| bar(&format!("J{i:03}"), nth(i + day), close);
            (0u64..).zip(closes).map(close)
        })
        .collect();
    let options = IngestOptions::new().max_jump(5.0);
    let report = handle.prices().upsert_many_with(&bars, &options).await.expect("stored");
    assert_eq!(counts(&report), [2_400, 0, 0, 0, 0]);
}

async fn floats_are_quantised_and_counted(handle: &impl Handle) {
    let float = |ticker: &str, close: f64| FloatBar {
        ticker: parsed(ticker),
        date: nth(0).into(),
        open: None,
        high: None,
        low: None,
        close,
        volume: Some(8_381_600.0),
        adjusted_close: Some(4.186_662_803_811_234),
        data_source: "floats".into(),
    };
    let bars = [
        float("A", 130.31),
        FloatBar { open: Some(f64::NAN), volume: Some(0.5), ..float("B", 1e-10) },
        float("C", 0.0),
        float("D", f64::INFINITY),
    ];
    let prices = handle.prices();
    let report = prices.copy_in(streamed(bars.clone()), &IngestOptions::new()).await;
    let report = report.expect("stored");
    assert_eq!((counts(&report), report.quantised), ([1, 0, 0, 0, 3], 1));
    let flag = IngestOptions::new().on_suspect(SuspectPolicy::Flag);
    let report = prices.copy_in(streamed(bars), &flag).await.expect("stored");
    assert_eq!((counts(&report), report.flagged), ([1, 0, 1, 0, 2], 1));
    assert_eq!(report.quantised, 3);
    let stored = prices.find_by_day(&parsed("B"), nth(0)).await.expect("read").expect("there");
    assert_eq!((stored.open, stored.volume, stored.is_suspect), (None, Some(0), true));
    let stored = prices.find_by_day(&parsed("A"), nth(0)).await.expect("read").expect("there");
    assert_eq!(stored.close, parsed("130.31"));
    assert_eq!(stored.adjusted_close, Some(parsed("4.1866628038")));
}

async fn a_mixed_delivery_changes_only_what_differs(handle: &impl Handle) {
    let prices = handle.prices();
    let mut bars: Vec<NewPriceBar> = market(30, 300).collect();
    prices.upsert_many(&bars).await.expect("stored");
    bars[4_000].close = parsed("1");
    bars[4_001].volume = Some(1);
    bars.extend((0..30).map(|t| bar(&format!("T{t:03}"), nth(300), "9")));
    let report = prices.upsert_many(&bars).await.expect("stored");
    assert_eq!(counts(&report), [30, 2, 8_998, 0, 0]);
    let report = prices.upsert_many(&bars).await.expect("delivered again");
    assert_eq!(counts(&report), [0, 0, 9_030, 0, 0]);
}

async fn few_bars_of_a_long_history_are_looked_up_one_by_one(handle: &impl Handle) {
    let prices = handle.prices();
    // Every fortieth day of each ticker, more than one statement takes.
    let bars: Vec<NewPriceBar> = market(200, 2_000).collect();
    let sparse: Vec<NewPriceBar> = bars
        .iter()
        .filter(|bar| (bar.date.date() - nth(0)).num_days() % 40 == 0)
        .cloned()
        .collect();
    assert!(sparse.len() > 5_000);
    let report = prices.upsert_many(&sparse).await.expect("stored");
    assert_eq!(counts(&report), [sparse.len() as u64, 0, 0, 0, 0]);
    let mut again = sparse.clone();
    again[7].volume = Some(3);
    let report = prices.upsert_many(&again).await.expect("stored");
    assert_eq!(counts(&report), [0, 1, sparse.len() as u64 - 1, 0, 0]);
}

#[tokio::test]
async fn a_bar_stored_meanwhile_by_somebody_else_is_merged() {
    let db = TestDatabase::new().await.expect("a database");
    // Somebody stores a bar of the chunk, and commits while it is being copied.
    let other = db.begin().await.expect("a transaction");
    other.prices().create(&bar("T010", nth(100), "1")).await.expect("stored");
    let prices = db.prices_arc();
    let bars: Vec<NewPriceBar> = market(30, 300).collect();
    let copying = tokio::spawn({
        let bars = bars.clone();
        async move { prices.upsert_many(&bars).await }
    });
    let observer = crate::catalog::connect(&db).await;
    eventually("the copy waits for the other transaction", async || {
        let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database()
                       AND wait_event_type = 'Lock'";
        !observer.query(waiting, &[]).await.expect("activity").is_empty()
    })
    .await;
    other.commit().await.expect("committed");
    let report = copying.await.expect("no panic").expect("stored");
    assert_eq!(counts(&report), [8_999, 1, 0, 0, 0]);
    let report = db.prices().upsert_many(&bars).await.expect("delivered again");
    assert_eq!(report.unchanged, 9_000);
}

#[tokio::test]
async fn writers_of_the_same_bars_wait_for_each_other() {
    let db = TestDatabase::new().await.expect("a database");
    let writers = (0..4u64).map(|writer| {
        let prices = db.prices_arc();
        tokio::spawn(async move {
            // Each begins elsewhere, and gives some days other values.
            let mut bars: Vec<NewPriceBar> = market(30, 300).collect();
            bars.rotate_left(1_000 * writer as usize);
            for bar in bars.iter_mut().step_by(3 + writer as usize) {
                bar.volume = Some(writer as i64);
            }
            prices.upsert_many(&bars).await
        })
    });
    for report in futures_util::future::join_all(writers).await {
        assert_eq!(report.expect("no panic").expect("no deadlock").total(), 9_000);
    }
    assert_eq!(db.prices().count(&PriceBarFilter::default()).await.expect("counted"), 9_000);
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_nothing_and_frees_its_connection() {
    let db = TestDatabase::with(|config: Config| config.pool_size(1).pool_max_overflow(0));
    let db = db.await.expect("a database");
    let endless = stream::iter(market(50, 450).map(|bar| Ok(DeliveredBar::from(bar))))
        .chain(stream::pending());
    let options = IngestOptions::new();
    let copying = db.prices().copy_in(endless.boxed(), &options);
    let dropped = tokio::time::timeout(std::time::Duration::from_secs(5), copying).await;
    assert!(dropped.is_err(), "it waits for more");
    assert_eq!(db.prices().count(&PriceBarFilter::default()).await.expect("a connection"), 0);
}

/// A few tickers and days, so that deliveries overlap.
fn deliveries() -> impl Strategy<Value = Vec<Vec<(u8, u8, u8)>>> {
    let one = proptest::collection::vec((0..4u8, 0..12u8, 1..4u8), 0..40);
    proptest::collection::vec(one, 1..4)
}

fn as_bars(items: &[(u8, u8, u8)]) -> Vec<NewPriceBar> {
    let as_bar = |(ticker, day, close): &(u8, u8, u8)| {
        bar(&format!("P{ticker}"), nth(0) + Days::new((*day).into()), &close.to_string())
    };
    items.iter().map(as_bar).collect()
}

async fn stored(db: &Database) -> Vec<(String, String, String)> {
    let tickers: Vec<_> = (0..4).map(|t| parsed(&format!("P{t}"))).collect();
    super::brief(&db.prices().range_many(&tickers, nth(0), nth(99)).await.expect("read"))
}

#[test]
fn the_merge_is_idempotent_and_independent_of_order() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let db = runtime.block_on(TestDatabase::new()).expect("a database");
    let cases = ProptestConfig { cases: 24, ..ProptestConfig::default() };
    let cut = (deliveries(), any::<prop::sample::Index>());
    proptest!(cases, |((deliveries, at) in cut, picked in subsequence((0..12).collect::<Vec<u8>>(), 6))| {
        runtime.block_on(async {
            db.sql("DELETE FROM price_history").await;
            let mut expected = std::collections::BTreeMap::new();
            for delivery in &deliveries {
                let bars = as_bars(delivery);
                for bar in &bars {
                    let key = (bar.ticker.to_string(), bar.date.to_string());
                    expected.insert(key, bar.close.to_string());
                }
                // In one piece, or cut in two streams: the same table.
                let (head, tail) = bars.split_at(at.index(bars.len() + 1));
                for part in [head, tail] {
                    let options = IngestOptions::new();
                    db.prices().copy_in(streamed(part.to_vec()), &options).await.expect("stored");
                }
            }
            let expected: Vec<_> =
                expected.into_iter().map(|((ticker, day), close)| (ticker, day, close)).collect();
            assert_eq!(stored(&db).await, expected);
            // The last delivery again, and some days of it backwards: nothing to do.
            let last = as_bars(deliveries.last().expect("one"));
            let mut once: Vec<NewPriceBar> = Vec::new();
            for bar in last.iter().rev() {
                if !once.iter().any(|b| (&b.ticker, b.date) == (&bar.ticker, bar.date)) {
                    once.push(bar.clone());
                }
            }
            once.retain(|bar| picked.contains(&((bar.date.date() - nth(0)).num_days() as u8)));
            for again in [&last, &once] {
                let report = db.prices().upsert_many(again).await.expect("stored");
                assert_eq!(report.written(), 0);
            }
            assert_eq!(stored(&db).await, expected);
        });
    });
}
