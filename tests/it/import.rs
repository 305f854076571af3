//! Loading files: the fixtures, and what real files do wrong.

mod endless;
mod file_cache;
mod rejected;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use buffetbot_db::import::{
    CsvOptions, CsvSource, ImportReport, options_from_csv, prices_from_csv,
};
use buffetbot_db::options::{ChainFilter, OccSymbol};
use buffetbot_db::prices::{NewPriceBar, PriceBar, PriceBarFilter};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::OptionType;
use buffetbot_db::{Error, Repositories, Result};
use chrono::NaiveDate;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

use crate::support::handle::Handle;
use crate::support::{parsed, repository};

conformance! {
    every_price_file_loads_and_changes_nothing_the_second_time,
    an_option_chain_loads_and_changes_nothing_the_second_time,
    volumes_above_32_bits_are_exact,
    noise_is_rounded_half_to_even_and_counted,
    yahoo_columns_need_a_ticker,
    an_option_is_known_by_its_symbol_or_its_parts,
    odd_tickers_and_dates_are_taken_as_they_are,
    compressed_files_are_read_as_they_are,
}

fn data(path: &str) -> PathBuf {
    repository("data").join(path)
}

/// A file in memory.
fn csv(text: &str) -> CsvSource {
    CsvSource::reader(std::io::Cursor::new(text.to_owned().into_bytes()))
}

fn day(text: &str) -> NaiveDate {
    parsed(text)
}

async fn load(repos: &impl Repositories, text: &str) -> Result<ImportReport> {
    prices_from_csv(repos, csv(text), CsvOptions::new().ticker(parsed("A"))).await
}

/// The ticker's bars, by rising day.
async fn bars(repos: &impl Repositories, ticker: &str) -> Vec<PriceBar> {
    let (first, last) = (NaiveDate::MIN, NaiveDate::MAX);
    repos.prices().range(&parsed(ticker), first, last).await.expect("read").items
}

async fn odd_tickers_and_dates_are_taken_as_they_are(handle: &impl Handle) {
    let text = "Symbol,Date,Open,High,Low,Close,Adj Close,Volume\n\
                $SPX,2024-01-02,4745.2,4754.33,4722.67,4742.83,4742.83,3743050000\n\
                CFC+A,2024-01-02 00:00:00-05:00,25.1,25.1,25.1,25.1,25.1,8381600.0\n\
                4063.T#2,2024-01-02T00:00:00+09:00,5900,5950,5890,5915,5915.000000000001,100\n";
    let report = prices_from_csv(handle, csv(text), CsvOptions::new()).await.expect("loaded");
    assert_eq!((report.inserted, report.rejected_rows, report.quantised), (3, 0, 1));
    for (ticker, volume) in [("$SPX", 3_743_050_000), ("CFC+A", 8_381_600), ("4063.T#2", 100)] {
        let bars = bars(handle, ticker).await;
        assert_eq!(bars.len(), 1, "{ticker}");
        assert_eq!((bars[0].trading_day(), bars[0].volume), (day("2024-01-02"), Some(volume)));
    }
}

/// As `gzip` writes it, in several members as after `cat a.gz b.gz`.
fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    use std::io::Write;
    let compressed = parts.iter().map(|part| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).expect("memory");
        encoder.finish().expect("memory")
    });
    compressed.collect::<Vec<_>>().concat()
}

async fn compressed_files_are_read_as_they_are(handle: &impl Handle) {
    let plain = std::fs::read(data("prices/brk_a_daily_2014.csv")).expect("a fixture");
    let (head, tail) = plain.split_at(3_000);
    let file = gzip(&[head, tail]);
    let size = file.len() as u64;
    let last = Arc::new(Mutex::new(0));
    let seen = last.clone();
    let options = CsvOptions::new().progress(move |progress| {
        *seen.lock().expect("not poisoned") = progress.bytes;
    });
    let source = CsvSource::reader(std::io::Cursor::new(file.clone()));
    let report = prices_from_csv(handle, source, options).await.expect("loaded");
    assert_eq!((report.inserted, report.rejected_rows), (127, 0));
    assert_eq!(*last.lock().expect("not poisoned"), size, "bytes as they lie in the file");
    // Cut off: the file cannot be read, and says so.
    let cut = CsvSource::reader(std::io::Cursor::new(file[..file.len() - 9].to_vec()));
    let failed = prices_from_csv(handle, cut, CsvOptions::new()).await;
    assert!(matches!(failed, Err(Error::Invalid { field, .. }) if field == "file"));
}

/// Which version of which row is stored, as one text: any write changes it.
async fn versions(handle: &impl Handle, table: &str) -> String {
    #[derive(QueryableByName)]
    struct Digest {
        #[diesel(sql_type = Text)]
        digest: String,
    }
    let connection = handle.connection().await;
    let digest = format!(
        "SELECT md5(string_agg(format('%s %s %s', id, xmin, ctid), ' ' ORDER BY id)) AS digest FROM {table}"
    );
    let row: Digest =
        diesel::sql_query(digest).get_result(&mut connection.as_diesel()).await.expect("a digest");
    row.digest
}

async fn every_price_file_loads_and_changes_nothing_the_second_time(handle: &impl Handle) {
    let quandl = ["adj_open", "adj_high", "adj_low", "adj_volume"].as_slice();
    let files = [
        ("gspc_daily_1950_2015.csv", 16_607, 0, [].as_slice()),
        ("us_stocks_daily_2000_2013.csv", 12_154, 11_797, &[]),
        ("googl_daily_2009_2018.csv", 2_335, 0, &[]),
        ("brk_a_daily_2014.csv", 127, 0, &[]),
        // Of the same days as bars of the second file there are none: tickers overlap, years do not.
        ("quandl_sample_2014_raw_and_adjusted.csv", 916, 496, quandl),
    ];
    let mut before = String::new();
    for repeated in [false, true] {
        for (file, rows, quantised, ignored) in files {
            let path = data("prices").join(file);
            let report = prices_from_csv(handle, path, CsvOptions::new()).await.expect(file);
            let actions = if quantised == 496 { 9 } else { 0 };
            let expected = ImportReport {
                rows,
                actions_written: if repeated { 0 } else { actions },
                actions_unchanged: if repeated { actions } else { 0 },
                inserted: if repeated { 0 } else { rows },
                unchanged: if repeated { rows } else { 0 },
                quantised,
                ignored_columns: ignored.iter().map(ToString::to_string).collect(),
                ..ImportReport::default()
            };
            assert_eq!(report, expected, "{file}");
        }
        if !repeated {
            before = versions(handle, "price_history").await;
        }
    }
    assert_eq!(versions(handle, "price_history").await, before);
    let all = handle.prices().count(&PriceBarFilter::default()).await.expect("read");
    assert_eq!(all, 16_607 + 12_154 + 2_335 + 127 + 916);
}

async fn an_option_chain_loads_and_changes_nothing_the_second_time(handle: &impl Handle) {
    let path = data("options/aapl_chain_2016-09-06.csv");
    let load = async || {
        let options = CsvOptions::new().source("yahoo");
        options_from_csv(handle, &path, options).await.expect("loaded")
    };
    let report = load().await;
    let expected = ImportReport {
        rows: 76,
        inserted: 76,
        // Implied volatilities have 16 digits.
        quantised: 76,
        ignored_columns: vec!["last_trade_utc".into(), "in_the_money".into()],
        ..ImportReport::default()
    };
    assert_eq!(report, expected);
    let before = versions(handle, "options_data").await;
    assert_eq!(load().await, ImportReport { inserted: 0, unchanged: 76, ..report });
    assert_eq!(versions(handle, "options_data").await, before);

    let filter = ChainFilter::default().option_type(OptionType::Call);
    let calls = handle.options().latest_chain(&parsed("AAPL"), &filter).await.expect("read");
    assert_eq!(calls.len(), 38);
    let first = &calls[0];
    let symbol: OccSymbol = parsed("AAPL160909C00080000");
    assert_eq!(first.contract().occ_symbol().expect("a symbol"), symbol);
    assert_eq!(first.fetched_at.to_rfc3339(), "2016-09-06T00:00:00+00:00");
    assert_eq!((&first.bid, &first.ask), (&Some(parsed("25.55")), &Some(parsed("28.4"))));
    assert_eq!((first.volume, first.open_interest), (Some(2), Some(0)));
    // 2.3418010205078117 in the file.
    assert_eq!(first.implied_volatility, Some(parsed("2.341801")));
    assert_eq!((&first.delta, first.data_source.as_deref()), (&None, Some("yahoo")));
}

async fn volumes_above_32_bits_are_exact(handle: &impl Handle) {
    let path = data("prices/gspc_daily_1950_2015.csv");
    prices_from_csv(handle, path, CsvOptions::new()).await.expect("loaded");
    let index = bars(handle, "^GSPC").await;
    let large = index.iter().filter(|bar| bar.volume > Some(i32::MAX.into())).count();
    assert_eq!(large, 2_495);
    let largest = index.iter().max_by_key(|bar| bar.volume).expect("some");
    assert_eq!(largest.volume, Some(11_456_230_400));
    assert_eq!(largest.trading_day(), day("2008-10-10"));
    let ohlc = [&largest.open, &largest.high, &largest.low, &Some(largest.close.clone())];
    assert_eq!(
        ohlc.map(Clone::clone),
        ["902.31", "936.36", "839.8", "899.22"].map(|p| Some(parsed(p)))
    );
}

async fn noise_is_rounded_half_to_even_and_counted(handle: &impl Handle) {
    let report = load(
        handle,
        "date,open,high,low,close,adjusted_close,volume\n\
         2024-01-01,1.00000000005,1.00000000016,1,1.0,1.00000000015,8381600.0\n\
         2024-01-02,,,,4.186662803811,-1e-11,2.5\n\
         2024-01-03,,,,1E1,1.10,3.5e0\n\
         2024-01-04,,,,100.00000000000000,,1e-300\n",
    );
    let report = report.await.expect("loaded");
    assert_eq!((report.rows, report.inserted, report.quantised), (4, 4, 8));
    let stored = bars(handle, "A").await;
    let text = |price: Option<&dyn std::fmt::Display>| price.expect("there").to_string();
    let first = &stored[0];
    assert_eq!(text(first.open.as_ref().map(|p| p as _)), "1");
    assert_eq!(text(first.high.as_ref().map(|p| p as _)), "1.0000000002");
    assert_eq!(text(first.adjusted_close.as_ref().map(|p| p as _)), "1.0000000002");
    assert_eq!(stored[1].close, parsed("4.1866628038"));
    assert_eq!(stored[1].adjusted_close, Some(parsed("0")));
    assert_eq!(stored[2].close, parsed("10"));
    let volumes: Vec<_> = stored.iter().map(|bar| bar.volume).collect();
    assert_eq!(volumes, [Some(8_381_600), Some(2), Some(4), Some(0)]);
}

async fn yahoo_columns_need_a_ticker(handle: &impl Handle) {
    // As downloaded: a byte order mark, carriage returns, nulls.
    let text = "\u{feff}Date,Open,High,Low,Close,Adj Close,Volume\r\n\
                2024-01-02,187.149994,188.440002,183.889999,185.639999,184.938217,82488700\r\n\
                2024-01-03,null,null,null,null,null,null\r\n\
                2024-01-04 00:00:00-05:00,182.15,183.09,180.88,181.91,181.22,71983600\r\n\r\n";
    let unnamed = prices_from_csv(handle, csv(text), CsvOptions::new()).await;
    assert!(matches!(unnamed, Err(Error::Invalid { field, .. }) if field == "header"));
    let options = CsvOptions::new().ticker(parsed("aapl")).source("yahoo");
    let report = prices_from_csv(handle, csv(text), options).await.expect("loaded");
    assert_eq!((report.rows, report.inserted, report.rejected_rows), (3, 2, 1));
    assert_eq!(report.rejected[0].to_string(), "line 3: close: missing");
    assert_eq!(report.ignored_columns, [""; 0]);
    let stored = bars(handle, "AAPL").await;
    let days: Vec<_> = stored.iter().map(|bar| bar.trading_day().to_string()).collect();
    assert_eq!(days, ["2024-01-02", "2024-01-04"]);
    assert_eq!(stored[0].adjusted_close, Some(parsed("184.938217")));
    assert_eq!(stored[0].data_source.as_deref(), Some("yahoo"));
    // Where a file names tickers, they come before the given one.
    let named = "symbol,Date,Close\n$SPX,2024-01-02,1\n CFC+A ,2024-01-02,1\n4063.T#2,2024-01-02,1\n,2024-01-05,1\n";
    let options = CsvOptions::new().ticker(parsed("AAPL"));
    let report = prices_from_csv(handle, csv(named), options).await.expect("loaded");
    assert_eq!(report.inserted, 4);
    for (ticker, expected) in [("$SPX", 1), ("CFC+A", 1), ("4063.T#2", 1), ("AAPL", 3)] {
        assert_eq!(bars(handle, ticker).await.len(), expected, "{ticker}");
    }
}

async fn an_option_is_known_by_its_symbol_or_its_parts(handle: &impl Handle) {
    let by_symbol = "contract_symbol,quote_date,bid\n\
                     AAPL250117C00150000,2024-11-05T16:00:00-05:00,1.5\n\
                     nonsense,2024-11-05,1\n";
    let report = options_from_csv(handle, csv(by_symbol), CsvOptions::new()).await;
    let report = report.expect("loaded");
    assert_eq!((report.inserted, report.rejected_rows), (1, 1));
    assert!(report.rejected[0].reason.starts_with("contract_symbol: \"nonsense\""));
    let by_parts = "expiration,type,strike,bid\n\
                    2025-01-17,C,150,2.5\n\
                    2025-01-17,PUT,150.00000000001,2.5\n\
                    2025-01-17,straddle,150,2.5\n\
                    2025-01-17,put,,2.5\n";
    let options =
        CsvOptions::new().ticker(parsed("AAPL")).fetched_at(parsed("2024-11-05T21:00:00Z"));
    let report = options_from_csv(handle, csv(by_parts), options).await.expect("loaded");
    // The first is the contract and time of the other file, with another bid.
    assert_eq!((report.inserted, report.updated, report.quantised), (1, 1, 1));
    let reasons: Vec<_> = report.rejected.iter().map(ToString::to_string).collect();
    assert!(reasons[0].starts_with("line 4: type: \"straddle\""), "{reasons:?}");
    assert_eq!(reasons[1], "line 5: strike: missing");
    let chain = handle.options().latest_chain(&parsed("AAPL"), &ChainFilter::default()).await;
    let chain = chain.expect("read");
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[0].bid, Some(parsed("2.5")));
    let incomplete = options_from_csv(handle, csv("strike,bid\n1,1\n"), CsvOptions::new()).await;
    assert!(matches!(incomplete, Err(Error::Invalid { field, .. }) if field == "header"));
}

#[tokio::test]
async fn large_files_go_in_batches_and_tell_their_progress() {
    let db = TestDatabase::new().await.expect("a database");
    let mut text = String::from("ticker,date,close\n");
    for n in 0..25_000 {
        let day = day("2000-01-01") + chrono::Days::new(n % 5_000);
        text.push_str(&format!("T{},{day},{}\n", n / 5_000, n + 1));
    }
    let file = std::env::temp_dir().join(format!("buffetbot-db-{}.csv", uuid_like(&db)));
    std::fs::write(&file, &text).expect("written");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = seen.clone();
    let options = CsvOptions::new().progress(move |progress| {
        observer.lock().expect("not poisoned").push(*progress);
    });
    let loaded = prices_from_csv(&**db, file.as_path(), options).await;
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(loaded.expect("loaded").inserted, 25_000);
    let seen = seen.lock().expect("not poisoned");
    let rows: Vec<_> = seen.iter().map(|progress| progress.rows).collect();
    assert_eq!(rows, [10_000, 20_000, 25_000]);
    assert!(seen.iter().all(|progress| progress.total_bytes == Some(text.len() as u64)));
    assert!(seen.is_sorted_by_key(|progress| progress.bytes));
    assert_eq!(seen[2].bytes, text.len() as u64);
}

/// A name that no other test has.
fn uuid_like(db: &TestDatabase) -> String {
    format!("{}-{}", std::process::id(), db.name())
}

#[tokio::test]
async fn in_a_unit_of_work_a_file_is_all_or_nothing() {
    let db = TestDatabase::new().await.expect("a database");
    let uow = db.begin().await.expect("a transaction");
    load(&uow, "date,close\n2024-01-02,1\n").await.expect("loaded");
    assert_eq!(bars(&uow, "A").await.len(), 1);
    uow.rollback().await.expect("undone");
    assert_eq!(bars(&**db, "A").await, []);
}

#[tokio::test]
async fn an_error_of_the_database_ends_the_import() {
    let db = TestDatabase::new().await.expect("a database");
    db.sql("DROP TABLE price_history").await;
    // More than the channel holds: the reader must notice that nobody waits any more.
    let mut text = String::from("date,close\n");
    for n in 0..60_000 {
        text.push_str(&format!("{},1\n", day("1800-01-01") + chrono::Days::new(n)));
    }
    assert!(matches!(load(&**db, &text).await, Err(Error::Database { .. })));
}

#[tokio::test]
async fn an_import_can_be_spawned() {
    let db = TestDatabase::new().await.expect("a database");
    let handle = (**db).clone();
    let text = "ticker,date,close\nA,2024-01-02,1\n";
    let spawned =
        tokio::spawn(async move { prices_from_csv(&handle, csv(text), CsvOptions::new()).await });
    let report = spawned.await.expect("no panic").expect("loaded");
    assert_eq!(report.inserted, 1);
    // What was loaded is what would have been written by hand.
    let by_hand = NewPriceBar::new(parsed("A"), day("2024-01-02"), parsed("1")).data_source("csv");
    assert_eq!(db.prices().upsert_many(&[by_hand]).await.expect("stored").unchanged, 1);
}
