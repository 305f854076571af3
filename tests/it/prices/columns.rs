//! Bars as columns and as record batches: what they hold is what `range_many` gives.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type};
use bigdecimal::ToPrimitive;
use buffetbot_db::config::StatementMode;
use buffetbot_db::import::{CsvOptions, prices_from_csv};
use buffetbot_db::prices::{ArrowOptions, Decimals, NewPriceBar, bars_schema};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::Ticker;
use buffetbot_db::{Database, Repositories};
use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt};

use crate::support::handle::Handle;
use crate::support::{parsed, repository};

const FIRST: NaiveDate = NaiveDate::MIN;
const LAST: NaiveDate = NaiveDate::MAX;

conformance! {
    columns_are_the_stored_bars,
    batches_are_the_stored_bars,
    batches_without_an_order_hold_the_same_rows,
    columns_rise_wherever_the_rows_lie,
    what_was_not_delivered_is_nan_or_null,
    hostile_tickers_are_only_tickers,
    nothing_is_read_of_nothing,
}

async fn load(repos: &impl Repositories) {
    for file in ["gspc_daily_1950_2015.csv", "brk_a_daily_2014.csv"] {
        let path = repository("data/prices").join(file);
        prices_from_csv(repos, path, CsvOptions::new()).await.expect("loaded");
    }
}

/// Out of order, and one twice.
fn wanted() -> Vec<Ticker> {
    ["^GSPC", "BRK-A", "NONE", "^GSPC"].into_iter().map(parsed).collect()
}

/// Equal, or both absent.
fn same(float: f64, decimal: Option<f64>) -> bool {
    decimal.map_or(float.is_nan(), |decimal| decimal == float)
}

async fn columns_are_the_stored_bars(handle: &impl Handle) {
    load(handle).await;
    let bars = handle.prices().range_many(&wanted(), FIRST, LAST).await.expect("read");
    let all = handle.prices().columns(&wanted(), FIRST, LAST).await.expect("read");
    let names: Vec<&str> = all.iter().map(|s| s.ticker.as_str()).collect();
    assert_eq!(names, ["BRK-A", "^GSPC"]);
    assert_eq!(all.iter().map(|s| s.len()).sum::<usize>(), bars.len());
    assert!(all[1].volume.iter().any(|v| *v > 2f64.powi(31)));
    assert!(all[0].close.iter().all(|c| *c > 150_000.0));
    let mut bars = bars.iter();
    for series in &all {
        for i in 0..series.len() {
            let bar = bars.next().expect("as many bars");
            let float = |text: String| text.parse::<f64>().expect("a number");
            assert_eq!((&bar.ticker, bar.trading_day()), (&series.ticker, series.days[i]));
            assert!(same(series.open[i], bar.open.as_ref().map(|p| float(p.to_string()))));
            assert!(same(series.high[i], bar.high.as_ref().map(|p| float(p.to_string()))));
            assert!(same(series.low[i], bar.low.as_ref().map(|p| float(p.to_string()))));
            assert!(same(series.close[i], Some(float(bar.close.to_string()))));
            assert!(same(series.volume[i], bar.volume.map(|v| v as f64)));
            let adjusted = bar.adjusted_close.as_ref().map(|p| float(p.to_string()));
            assert!(same(series.adjusted_close[i], adjusted));
            assert_eq!(series.is_suspect[i], bar.is_suspect);
        }
    }
}

async fn batches(handle: &impl Handle, options: ArrowOptions) -> Vec<RecordBatch> {
    let batches = handle.as_ref().record_batches(&wanted(), FIRST, LAST, options);
    batches.try_collect().await.expect("read")
}

async fn batches_are_the_stored_bars(handle: &impl Handle) {
    load(handle).await;
    let bars = handle.prices().range_many(&wanted(), FIRST, LAST).await.expect("read");
    let exact = batches(handle, ArrowOptions::new().batch_rows(1_000)).await;
    let floats = ArrowOptions::new().batch_rows(1_000).decimals(Decimals::Float64);
    let floats = batches(handle, floats).await;
    let sizes: Vec<usize> = exact.iter().map(RecordBatch::num_rows).collect();
    assert!(sizes[..sizes.len() - 1].iter().all(|rows| *rows == 1_000), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), bars.len());
    let epoch = NaiveDate::default();
    for (i, bar) in bars.iter().enumerate() {
        let (batch, float, row) = (&exact[i / 1_000], &floats[i / 1_000], i % 1_000);
        assert_eq!(batch.schema(), bars_schema(Decimals::Decimal128));
        assert_eq!(float.schema(), bars_schema(Decimals::Float64));
        assert_eq!(batch["ticker"].as_string::<i32>().value(row), bar.ticker.as_str());
        let days = (bar.trading_day() - epoch).num_days();
        assert_eq!(i64::from(batch["date"].as_primitive::<Date32Type>().value(row)), days);
        let close = batch["close"].as_primitive::<Decimal128Type>().value(row);
        let unscaled = bar.close.as_decimal().with_scale(10).as_bigint_and_exponent().0;
        assert_eq!(Some(close), unscaled.to_i128());
        let close: f64 = bar.close.to_string().parse().expect("a number");
        assert_eq!(float["close"].as_primitive::<Float64Type>().value(row), close);
        let volume = batch["volume"].as_primitive::<Int64Type>();
        assert_eq!(Some(volume.value(row)), bar.volume);
        assert_eq!(batch["adjusted_close"].is_null(row), bar.adjusted_close.is_none());
        let source = batch["data_source"].as_string::<i32>();
        assert_eq!(Some(source.value(row)), bar.data_source.as_deref());
    }
}

/// Ticker, days since 1970 and close of each row.
fn rows(batches: &[RecordBatch]) -> Vec<(String, i32, i128)> {
    let rows = |batch: &RecordBatch| {
        let tickers = batch["ticker"].as_string::<i32>();
        let days = batch["date"].as_primitive::<Date32Type>();
        let closes = batch["close"].as_primitive::<Decimal128Type>();
        let row = |i| (tickers.value(i).to_owned(), days.value(i), closes.value(i));
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    };
    batches.iter().flat_map(rows).collect()
}

async fn batches_without_an_order_hold_the_same_rows(handle: &impl Handle) {
    load(handle).await;
    let ordered = rows(&batches(handle, ArrowOptions::new()).await);
    let mut any = rows(&batches(handle, ArrowOptions::new().unordered()).await);
    assert!(ordered.is_sorted() && ordered.len() > 16_000);
    any.sort();
    assert_eq!(any, ordered);
}

async fn columns_rise_wherever_the_rows_lie(handle: &impl Handle) {
    // Each stored by itself, so in this order.
    for (ticker, day) in [("B", 3), ("A", 2), ("B", 1), ("A", 4), ("B", 2)] {
        let date = NaiveDate::from_ymd_opt(2024, 1, day).expect("a date");
        let close = parsed(&format!("{day}.5"));
        handle.prices().create(&NewPriceBar::new(parsed(ticker), date, close)).await.expect("ok");
    }
    let tickers = ["B", "A"].map(parsed);
    let all = handle.prices().columns(&tickers, FIRST, LAST).await.expect("read");
    let closes: Vec<_> = all.iter().map(|series| (series.ticker.as_str(), &series.close)).collect();
    assert_eq!(closes, [("A", &vec![2.5, 4.5]), ("B", &vec![1.5, 2.5, 3.5])]);
    assert!(all.iter().all(|series| series.days.is_sorted()));
}

fn bare(ticker: &str) -> NewPriceBar {
    NewPriceBar::new(parsed(ticker), parsed::<NaiveDate>("2024-01-02"), parsed("0.0000000001"))
}

async fn what_was_not_delivered_is_nan_or_null(handle: &impl Handle) {
    handle.prices().create(&bare("A")).await.expect("stored");
    let series = handle.prices().columns(&[parsed("A")], FIRST, LAST).await.expect("read");
    let [series] = &series[..] else { panic!("one series") };
    let absent = [&series.open, &series.high, &series.low, &series.volume, &series.adjusted_close];
    assert!(absent.iter().all(|column| column.len() == 1 && column[0].is_nan()));
    assert_eq!((series.close[0], series.is_suspect[0]), (1e-10, false));
    let batches = handle.as_ref().record_batches(&[parsed("A")], FIRST, LAST, ArrowOptions::new());
    let batches: Vec<RecordBatch> = batches.try_collect().await.expect("read");
    for name in ["open", "high", "low", "volume", "adjusted_close"] {
        assert!(batches[0][name].is_null(0), "{name}");
    }
    assert_eq!(batches[0]["close"].as_primitive::<Decimal128Type>().value(0), 1);
}

async fn hostile_tickers_are_only_tickers(handle: &impl Handle) {
    let hostile = ["'", r"\", r"\'", "A') TO STDOUT; --", "$1", r"E'\\", "\"", "{A,B}", "%S"];
    let mut bars: Vec<NewPriceBar> = hostile.into_iter().map(bare).collect();
    handle.prices().create_many(&bars).await.expect("stored");
    bars.sort_by(|a, b| a.ticker.cmp(&b.ticker));
    let tickers: Vec<Ticker> = bars.iter().map(|bar| bar.ticker.clone()).collect();
    let read = handle.prices().columns(&tickers, FIRST, LAST).await.expect("read");
    assert_eq!(read.iter().map(|series| series.ticker.clone()).collect::<Vec<_>>(), tickers);
}

async fn nothing_is_read_of_nothing(handle: &impl Handle) {
    handle.prices().create(&bare("A")).await.expect("stored");
    let columns = async |tickers: &[Ticker], from, to| {
        handle.prices().columns(tickers, from, to).await.expect("read").len()
    };
    assert_eq!(columns(&[], FIRST, LAST).await, 0);
    assert_eq!(columns(&[parsed("A")], LAST, FIRST).await, 0);
    assert_eq!(columns(&[parsed("A")], parsed("2024-01-03"), LAST).await, 0);
    assert_eq!(columns(&[parsed("A")], parsed("2024-01-02"), parsed("2024-01-02")).await, 1);
}

#[tokio::test]
async fn one_trip_mode_reads_in_a_transaction_of_its_own() {
    let db = TestDatabase::new().await.expect("a database");
    db.prices().create(&bare("A")).await.expect("stored");
    let config = db.config().statement_mode(StatementMode::OneTrip);
    let other = Database::connect(config).await.expect("connected");
    let read = other.prices().columns(&[parsed("A")], FIRST, LAST).await.expect("read");
    assert_eq!(read.len(), 1);
    let stream = other.record_batches(&[parsed("A")], FIRST, LAST, ArrowOptions::new());
    assert_eq!(stream.count().await, 1);
}

#[tokio::test]
async fn a_dropped_stream_leaves_the_pool_usable() {
    let db = TestDatabase::new().await.expect("a database");
    load(&*db).await;
    let options = ArrowOptions::new().batch_rows(10);
    let mut stream = db.record_batches(&wanted(), FIRST, LAST, options);
    assert_eq!(stream.next().await.expect("a batch").expect("read").num_rows(), 10);
    drop(stream);
    let all = db.prices().columns(&wanted(), FIRST, LAST).await.expect("read");
    assert_eq!(all.len(), 2);
}
