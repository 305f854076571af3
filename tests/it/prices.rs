//! Price bars: every verb, on the pool and in a unit of work.

mod columns;
mod digest;
mod ingest;
mod kept_plans;
mod knowledge;
mod plans;
mod reading;
mod revisions;
mod streaming;
mod upsert;

use std::sync::Arc;

use buffetbot_db::Error;
use buffetbot_db::error::Entity;
use buffetbot_db::prices::{
    NewPriceBar, PriceBar, PriceBarFilter, PriceBarPatch, PriceRepository, Series,
};
use buffetbot_db::types::{BarId, PageRequest, Price, Ticker};
use chrono::{DateTime, Days, FixedOffset, NaiveDate};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::handle::Handle;
use crate::support::{every_page, parsed};

/// Days that only a plain table takes.
mod extremes {
    use super::extremes_are_exact;

    conformance! {
        extremes_are_exact,
    }
}

conformance! {
    by_year:
    what_is_written_is_read,
    a_bar_may_be_no_more_than_its_close,
    every_offset_of_a_midnight_is_one_day,
    invalid_fields_are_refused_by_name,
    bars_that_contradict_themselves_need_the_flag,
    a_day_has_one_bar,
    an_unknown_bar_is_told_as_such,
    a_patch_changes_what_it_says,
    what_is_there_of_one_ticker_and_of_all,
    many_are_created_in_order,
    many_or_none,
    ranges_include_both_ends,
    ranges_of_several_tickers_come_by_ticker,
    the_latest_come_with_the_close_before,
    lists_reach_every_row_once,
    filters_select,
    deletion_is_of_one_bar_or_a_range,
    a_trait_object_does_the_same,
}

fn day(text: &str) -> NaiveDate {
    parsed(text)
}

/// The `n`-th day of 2024, from 0.
fn nth(n: u64) -> NaiveDate {
    day("2024-01-01") + Days::new(n)
}

fn bar(ticker: &str, date: NaiveDate, close: &str) -> NewPriceBar {
    NewPriceBar::new(parsed(ticker), date, parsed(close))
}

/// Bars of one ticker on so many days from 2024-01-01 on, closing at 100, 101, ...
fn series(ticker: &str, days: u64) -> Vec<NewPriceBar> {
    (0..days).map(|n| bar(ticker, nth(n), &(100 + n).to_string())).collect()
}

/// Ticker, day and close.
fn brief(bars: &[PriceBar]) -> Vec<(String, String, String)> {
    let brief =
        |b: &PriceBar| (b.ticker.to_string(), b.trading_day().to_string(), b.close.to_string());
    bars.iter().map(brief).collect()
}

fn assert_invalid<T: std::fmt::Debug>(result: Result<T, Error>, wanted: &str) {
    match result {
        Err(Error::Invalid { field, .. }) => assert_eq!(field, wanted),
        other => panic!("expected invalid {wanted}: {other:?}"),
    }
}

fn assert_taken<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Conflict { constraint, .. }) => {
            assert_eq!(constraint, "price_history_ticker_date_key");
        }
        other => panic!("expected a conflict: {other:?}"),
    }
}

async fn what_is_written_is_read(handle: &impl Handle) {
    let prices = handle.prices();
    let new = bar(" brk.b ", day("2024-01-02"), "361.7")
        .ohl(parsed("357.45"), parsed("363.0000000001"), parsed("357"))
        .volume(11_456_230_400)
        .adjusted_close(parsed("-0.0000000001"))
        .data_source("Börse");
    let made = prices.create(&new).await.expect("stored");
    assert_eq!(made.ticker.as_str(), "BRK.B");
    assert_eq!(made.trading_day(), day("2024-01-02"));
    assert_eq!(made.date.to_rfc3339(), "2024-01-02T00:00:00+00:00");
    assert_eq!((&made.open, &made.high, &made.low), (&new.open, &new.high, &new.low));
    assert_eq!(made.close, new.close);
    assert_eq!((made.volume, &made.adjusted_close), (new.volume, &new.adjusted_close));
    assert_eq!(made.data_source.as_deref(), Some("Börse"));
    assert!(!made.is_suspect);

    assert_eq!(prices.find(made.id).await.expect("read"), Some(made.clone()));
    let by_day = prices.find_by_day(&made.ticker, day("2024-01-02")).await.expect("read");
    assert_eq!(by_day, Some(made.clone()));
    assert_eq!(prices.find_by_day(&made.ticker, day("2024-01-03")).await.expect("read"), None);
    assert!(prices.exists(made.id).await.expect("read"));

    let text = serde_json::to_string(&made).expect("JSON");
    assert_eq!(serde_json::from_str::<PriceBar>(&text).expect("a bar"), made);
    let text = serde_json::to_string(&new).expect("JSON");
    assert_eq!(serde_json::from_str::<NewPriceBar>(&text).expect("a bar"), new);
}

async fn a_bar_may_be_no_more_than_its_close(handle: &impl Handle) {
    let made = handle.prices().create(&bar("AAPL", nth(0), "1")).await.expect("stored");
    assert_eq!((made.open, made.high, made.low), (None, None, None));
    assert_eq!((made.volume, made.adjusted_close), (None, None));
    assert_eq!(made.data_source.as_deref(), Some("yfinance"));
    let least = json!({"ticker": "aapl", "date": "2024-01-02T00:00:00-05:00", "close": 1});
    let least: NewPriceBar = serde_json::from_value(least).expect("the rest has defaults");
    assert_eq!(least, bar("AAPL", nth(1), "1"));
}

async fn every_offset_of_a_midnight_is_one_day(handle: &impl Handle) {
    let prices = handle.prices();
    prices.create(&bar("AAPL", nth(1), "1")).await.expect("stored");
    for midnight in
        ["2024-01-02T00:00:00-05:00", "2024-01-02T00:00:00Z", "2024-01-02T00:00:00+09:00"]
    {
        let at: DateTime<FixedOffset> = parsed(midnight);
        let again = NewPriceBar::new(parsed("AAPL"), at, parsed("2"));
        assert_taken(handle.attempt(prices.create(&again)).await);
    }
}

async fn extremes_are_exact(handle: &impl Handle) {
    let prices = handle.prices();
    for (n, close) in ["0.0000000001", "9999999999.9999999999", "205880"].iter().enumerate() {
        let new = bar("X", nth(n as u64), close).volume(i64::MAX);
        let made = prices.create(&new).await.expect("stored");
        assert_eq!((made.close.to_string().as_str(), made.volume), (*close, Some(i64::MAX)));
    }
    for date in ["1600-01-01", "2056-12-31"] {
        let made = prices.create(&bar("X", day(date), "1")).await.expect("stored");
        assert_eq!(made.trading_day(), day(date));
    }
    let all = prices.range(&parsed("X"), NaiveDate::MIN, NaiveDate::MAX).await.expect("read");
    assert_eq!(all.len(), 5);
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let prices = handle.prices();
    let good = || bar("AAPL", nth(0), "1");
    assert_invalid(prices.create(&good().volume(-1)).await, "volume");
    assert_invalid(prices.create(&good().data_source("")).await, "data_source");
    assert_invalid(prices.create(&good().data_source("x".repeat(51))).await, "data_source");
    assert_invalid(prices.create(&good().data_source("a\0b")).await, "data_source");
    assert_invalid(prices.create(&bar("AAPL", NaiveDate::MAX, "1")).await, "date");
    assert_invalid(prices.create(&bar("AAPL", NaiveDate::MIN, "1")).await, "date");
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("read"), 0);
}

async fn bars_that_contradict_themselves_need_the_flag(handle: &impl Handle) {
    let prices = handle.prices();
    // Open, high, low, close ("-" where absent) and the field that is wrong.
    for [open, high, low, close, field] in [
        ["-", "9", "10", "9.5", "high"],
        ["11", "10", "9", "9.5", "open"],
        ["8", "10", "9", "9.5", "open"],
        ["-", "10", "9", "10.0000000001", "close"],
        ["-", "-", "9", "8", "close"],
        ["-", "10", "-", "11", "close"],
    ] {
        let price = |text: &str| (text != "-").then(|| parsed::<Price>(text));
        let wrong = NewPriceBar {
            open: price(open),
            high: price(high),
            low: price(low),
            ..bar("AAPL", nth(0), close)
        };
        assert!(!wrong.is_coherent());
        assert_invalid(prices.create(&wrong).await, field);
        let kept = prices.create(&wrong.suspect()).await.expect("stored as it is");
        assert!(kept.is_suspect);
        prices.delete(kept.id).await.expect("deleted");
    }
    // All at one price is no contradiction.
    let flat = bar("AAPL", nth(0), "10").ohl(parsed("10"), parsed("10"), parsed("10"));
    assert!(!prices.create(&flat).await.expect("stored").is_suspect);
}

async fn a_day_has_one_bar(handle: &impl Handle) {
    let prices = handle.prices();
    let held = prices.create(&bar("AAPL", nth(0), "1")).await.expect("stored");
    assert_taken(handle.attempt(prices.create(&bar("aapl", nth(0), "2"))).await);
    assert_eq!(prices.find(held.id).await.expect("read"), Some(held));
    prices.create(&bar("MSFT", nth(0), "1")).await.expect("another ticker's");
}

async fn an_unknown_bar_is_told_as_such(handle: &impl Handle) {
    let prices = handle.prices();
    let unknown = BarId::generate();
    assert_eq!(prices.find(unknown).await.expect("read"), None);
    assert!(!prices.exists(unknown).await.expect("read"));
    assert!(!prices.delete(unknown).await.expect("no error"));
    let change = PriceBarPatch::default().volume(1);
    for patch in [change, PriceBarPatch::default()] {
        match prices.update(unknown, &patch).await {
            Err(Error::NotFound { entity: Entity::PriceBar, key }) => {
                assert_eq!(key, unknown.to_string());
            }
            other => panic!("expected not found: {other:?}"),
        }
    }
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let prices = handle.prices();
    let new = bar("AAPL", nth(0), "10").ohl(parsed("9"), parsed("11"), parsed("8")).volume(5);
    let made = prices.create(&new).await.expect("stored");
    let same = prices.update(made.id, &PriceBarPatch::default()).await.expect("nothing to do");
    assert_eq!(same, made);

    let patch: PriceBarPatch =
        serde_json::from_value(json!({"volume": null, "close": "10.5"})).expect("a patch");
    let changed = prices.update(made.id, &patch).await.expect("changed");
    let expected = PriceBar {
        volume: None,
        close: parsed("10.5"),
        corrected_at: changed.corrected_at,
        ..made
    };
    assert_eq!(changed, expected);
    assert_eq!(prices.find(changed.id).await.expect("read"), Some(changed.clone()));

    let negative = PriceBarPatch::default().volume(-1);
    assert_invalid(prices.update(changed.id, &negative).await, "volume");
    // Only the database sees the columns that the patch leaves alone.
    let low = PriceBarPatch::default().high(parsed::<Price>("7"));
    let refused = handle.attempt(prices.update(changed.id, &low)).await;
    assert_invalid(refused, "price_history_coherent_unless_suspect");
    let flagged = low.is_suspect(true);
    assert!(prices.update(changed.id, &flagged).await.expect("changed").is_suspect);
}

async fn what_is_there_of_one_ticker_and_of_all(handle: &impl Handle) {
    let prices = handle.prices();
    assert!(prices.tickers().await.expect("read").is_empty());
    let mut bars = Vec::new();
    for symbol in ["b", "A.B", "AB", "A"] {
        for day in ["2023-12-29", "2024-01-02", "2024-01-03"] {
            bars.push(bar(symbol, parsed(day), "1.5"));
        }
    }
    prices.create_many(&bars).await.expect("stored");
    let all = ["A", "A.B", "AB", "B"].map(parsed::<Ticker>);
    assert_eq!(prices.tickers().await.expect("read"), all);

    let (from, to) = (day("2024-01-01"), day("2024-12-31"));
    let series = prices.series(&all[1], from, to).await.expect("read");
    let columns = prices.columns(&all[1..2], from, to).await.expect("read");
    assert_eq!(
        (series.days.clone(), series.close.clone()),
        (columns[0].days.clone(), vec![1.5; 2])
    );
    let none: Ticker = parsed("NONE");
    assert!(prices.series(&none, from, to).await.expect("read").is_empty());
    // The columns of bars are those that the database gives.
    let bars = prices.range_many(&all, from, to).await.expect("read");
    let made = Series::from_bars(&bars);
    let read = prices.columns(&all, from, to).await.expect("read");
    assert_eq!(format!("{made:?}"), format!("{:?}", read.items), "with NaN in them");

    let latest = prices.latest_of(&all[0]).await.expect("read").expect("a bar");
    assert_eq!(latest.bar.date.date_naive(), day("2024-01-03"));
    assert_eq!(prices.latest_of(&none).await.expect("read"), None);
    let filter = PriceBarFilter::default().tickers(vec![parsed("B")]);
    let streamed: Vec<PriceBar> = prices.stream(&filter).try_collect().await.expect("read");
    assert_eq!(streamed.len(), 3);
}

async fn many_are_created_in_order(handle: &impl Handle) {
    let prices = handle.prices();
    assert_eq!(prices.create_many(&[]).await.expect("nothing"), []);
    let mut new = series("B", 700);
    new.extend(series("A", 700));
    new.reverse();
    let made = prices.create_many(&new).await.expect("stored");
    assert_eq!(made.len(), new.len());
    for (made, new) in made.iter().zip(&new) {
        assert_eq!((&made.ticker, made.trading_day()), (&new.ticker, new.date.date()));
        assert_eq!(made.close, new.close);
    }
}

async fn many_or_none(handle: &impl Handle) {
    let prices = handle.prices();
    let mut new = series("A", 1_200);
    new[777] = new[777].clone().volume(-1);
    match prices.create_many(&new).await {
        Err(Error::Item { index: 777, source }) => assert_invalid::<()>(Err(*source), "volume"),
        other => panic!("expected item 777: {other:?}"),
    }
    let mut new = series("A", 1_200);
    new[777] = new[3].clone();
    match handle.attempt(prices.create_many(&new)).await {
        // Of the two, the one that is sent second.
        Err(Error::Item { index: 3 | 777, source }) => assert_taken::<()>(Err(*source)),
        other => panic!("expected an item: {other:?}"),
    }
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("read"), 0);
}

async fn ranges_include_both_ends(handle: &impl Handle) {
    let prices = handle.prices();
    prices.create_many(&series("A", 10)).await.expect("stored");
    prices.create_many(&series("B", 3)).await.expect("stored");
    let a = parsed("A");
    let closes = async |from, to| {
        let bars = prices.range(&a, from, to).await.expect("read");
        bars.iter().map(|bar| bar.close.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(closes(nth(2), nth(5)).await, "102 103 104 105");
    assert_eq!(closes(nth(9), nth(9)).await, "109");
    assert_eq!(closes(nth(8), NaiveDate::MAX).await, "108 109");
    assert_eq!(closes(NaiveDate::MIN, nth(1)).await, "100 101");
    assert_eq!(closes(nth(5), nth(4)).await, "");
    assert_eq!(closes(NaiveDate::MAX, NaiveDate::MIN).await, "");
    let unknown = prices.range(&parsed("ZZZ"), NaiveDate::MIN, NaiveDate::MAX).await;
    assert_eq!(unknown.expect("read"), []);
}

async fn ranges_of_several_tickers_come_by_ticker(handle: &impl Handle) {
    let prices = handle.prices();
    for ticker in ["B", "A.B", "A-B", "C"] {
        prices.create_many(&series(ticker, 3)).await.expect("stored");
    }
    let tickers: Vec<Ticker> = ["C", "A.B", "ZZZ", "A-B", "C"].map(parsed).into();
    let bars = prices.range_many(&tickers, nth(1), nth(2)).await.expect("read");
    let expected = ["A-B", "A.B", "C"].iter().flat_map(|ticker| {
        [(1, "101"), (2, "102")]
            .map(|(n, close)| (ticker.to_string(), nth(n).to_string(), close.to_string()))
    });
    assert_eq!(brief(&bars), expected.collect::<Vec<_>>());
    assert_eq!(prices.range_many(&[], nth(0), nth(9)).await.expect("read"), []);
}

async fn the_latest_come_with_the_close_before(handle: &impl Handle) {
    let prices = handle.prices();
    prices.create_many(&series("B", 400)).await.expect("stored");
    prices.create_many(&series("A", 1)).await.expect("stored");
    // The close before may be long ago.
    prices.create(&bar("C", day("1999-12-31"), "8")).await.expect("stored");
    prices.create(&bar("C", nth(3), "10")).await.expect("stored");
    let tickers: Vec<Ticker> = ["C", "ZZZ", "B", "A"].map(parsed).into();
    let latest = prices.latest(&tickers).await.expect("read");
    let bars: Vec<PriceBar> = latest.iter().map(|latest| latest.bar.clone()).collect();
    let expected = [("C", nth(3), "10"), ("B", nth(399), "499"), ("A", nth(0), "100")];
    let expected = expected.map(|(t, date, close)| (t.into(), date.to_string(), close.into()));
    assert_eq!(brief(&bars), expected);
    let previous: Vec<_> = latest.iter().map(|l| l.previous_close.clone()).collect();
    assert_eq!(previous, [Some(parsed("8")), Some(parsed("498")), None]);
    assert_eq!(latest[0].change(), Some(parsed("2")));
    assert_eq!(latest[0].change_ratio(), Some(0.25));
    assert_eq!((latest[2].change(), latest[2].change_ratio()), (None, None));
    assert_eq!(prices.latest(&[]).await.expect("nothing"), []);
}

async fn lists_reach_every_row_once(handle: &impl Handle) {
    let prices = handle.prices();
    // Forty bars on each of three days: pages end among equal days.
    for n in 0..40 {
        prices.create_many(&series(&format!("T{n}"), 3)).await.expect("stored");
    }
    let filter = PriceBarFilter::default();
    let bars = every_page(7, async |page| prices.list(&filter, &page).await).await;
    assert_eq!(bars.len(), 120);
    assert!(bars.is_sorted_by(|a, b| (b.date, b.id) < (a.date, a.id)));
    assert_eq!(prices.count(&filter).await.expect("read"), 120);
    let one = filter.tickers(vec![parsed("T7")]);
    let bars = every_page(2, async |page| prices.list(&one, &page).await).await;
    let closes: Vec<_> = bars.iter().map(|bar| bar.close.to_string()).collect();
    assert_eq!(closes, ["102", "101", "100"]);
}

async fn filters_select(handle: &impl Handle) {
    let prices = handle.prices();
    for ticker in ["A", "B", "A_C"] {
        prices.create_many(&series(ticker, 5)).await.expect("stored");
    }
    let odd = bar("B", nth(9), "1").data_source("other").suspect();
    prices.create(&odd).await.expect("stored");
    let all = PriceBarFilter::default;
    let tickers = |tickers: &[&str]| -> Vec<Ticker> { tickers.iter().map(|t| parsed(t)).collect() };
    for (filter, expected) in [
        (all(), 16),
        (all().tickers(tickers(&[])), 0),
        (all().tickers(tickers(&["A"])), 5),
        (all().tickers(tickers(&["A", "B"])), 11),
        // Text is never a pattern.
        (all().tickers(tickers(&["A%"])), 0),
        (all().from(nth(4)), 4),
        (all().to(nth(0)), 3),
        (all().from(nth(1)).to(nth(2)), 6),
        (all().from(NaiveDate::MIN).to(NaiveDate::MAX), 16),
        (all().data_source("other"), 1),
        (all().data_source("oth%"), 0),
        (all().is_suspect(true), 1),
        (all().is_suspect(false), 15),
    ] {
        assert_eq!(prices.count(&filter).await.expect("read"), expected, "{filter:?}");
        let listed = prices.list(&filter, &PageRequest::default()).await.expect("read");
        assert_eq!(listed.items.len() as u64, expected, "{filter:?}");
    }
}

async fn deletion_is_of_one_bar_or_a_range(handle: &impl Handle) {
    let prices = handle.prices();
    let made = prices.create_many(&series("A", 10)).await.expect("stored");
    prices.create_many(&series("B", 10)).await.expect("stored");
    assert!(prices.delete(made[0].id).await.expect("deleted"));
    assert!(!prices.delete(made[0].id).await.expect("no error"));
    let a = parsed("A");
    assert_eq!(prices.delete_range(&a, nth(0), nth(3)).await.expect("deleted"), 3);
    assert_eq!(prices.delete_range(&a, nth(0), nth(3)).await.expect("deleted"), 0);
    assert_eq!(prices.delete_range(&a, nth(6), nth(5)).await.expect("deleted"), 0);
    let left = prices.range(&a, NaiveDate::MIN, NaiveDate::MAX).await.expect("read");
    assert_eq!((left.len(), left[0].trading_day()), (6, nth(4)));
    let all = prices.delete_range(&a, NaiveDate::MIN, NaiveDate::MAX).await;
    assert_eq!(all.expect("deleted"), 6);
    assert_eq!(prices.count(&PriceBarFilter::default()).await.expect("read"), 10);
}

async fn a_trait_object_does_the_same(handle: &impl Handle) {
    let prices: Arc<dyn PriceRepository> = handle.as_ref().prices_arc();
    let report = prices.upsert_many(&series("A", 2)).await.expect("stored");
    assert_eq!(report.inserted, 2);
    assert_eq!(prices.latest(&[parsed("A")]).await.expect("read")[0].bar.trading_day(), nth(1));
}
