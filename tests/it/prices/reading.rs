//! Nearest bars, coverage, gaps and periods.

use buffetbot_db::Repositories;
use buffetbot_db::import::{CsvOptions, prices_from_csv};
use buffetbot_db::prices::{Gaps, Nyse, Period, SeriesBar, Weekdays};
use buffetbot_db::types::Ticker;
use chrono::{Datelike, NaiveDate};

use super::{brief, day, nth, parsed, series};
use crate::support::handle::Handle;
use crate::support::plan::{MOST, Recorder, assert_index, assert_not_read_whole};
use crate::support::repository;

const FIRST: NaiveDate = NaiveDate::MIN;
const LAST: NaiveDate = NaiveDate::MAX;

conformance! {
    by_year:
    the_nearest_bar_is_not_too_old,
    coverage_tells_what_there_is,
    gaps_are_what_the_calendar_has_more,
}

/// Years that only a plain table takes.
mod real {
    use super::real_years_have_no_gaps_and_real_weeks;

    conformance! {
        real_years_have_no_gaps_and_real_weeks,
    }
}

fn tickers(names: &[&str]) -> Vec<Ticker> {
    names.iter().map(|name| parsed(name)).collect()
}

async fn the_nearest_bar_is_not_too_old(handle: &impl Handle) {
    let prices = handle.prices();
    prices.upsert_many(&series("B", 10)).await.expect("stored");
    prices.upsert_many(&series("A", 5)).await.expect("stored");
    let near = async |names: &[&str], on, tolerance| {
        let bars = prices.nearest(&tickers(names), on, tolerance).await.expect("read");
        brief(&bars).into_iter().map(|(t, _, close)| format!("{t} {close}")).collect::<Vec<_>>()
    };
    assert_eq!(near(&["B", "NONE", "A"], nth(3), 0).await, ["B 103", "A 103"]);
    assert_eq!(near(&["B", "A"], nth(7), 0).await, ["B 107"]);
    assert_eq!(near(&["B", "A"], nth(7), 2).await, ["B 107"]);
    assert_eq!(near(&["B", "A"], nth(7), 3).await, ["B 107", "A 104"]);
    assert_eq!(near(&["A"], LAST, u32::MAX).await, ["A 104"]);
    assert!(near(&["A"], nth(0) - chrono::Days::new(1), 9).await.is_empty());
    assert!(near(&["A"], FIRST, u32::MAX).await.is_empty());
    assert!(near(&[], nth(3), 9).await.is_empty());
}

async fn coverage_tells_what_there_is(handle: &impl Handle) {
    let prices = handle.prices();
    prices.upsert_many(&series("A", 40)).await.expect("stored");
    prices.delete_range(&parsed("A"), nth(10), nth(19)).await.expect("a hole");
    prices.upsert_many(&series("B", 1)).await.expect("stored");
    let covered = prices.coverage(&tickers(&["B", "NONE", "A"])).await.expect("read");
    let told: Vec<_> =
        covered.iter().map(|c| (c.ticker.as_str(), c.first_day(), c.last_day(), c.bars)).collect();
    assert_eq!(told, [("B", nth(0), nth(0), 1), ("A", nth(0), nth(39), 30)]);
    assert!(prices.coverage(&[]).await.expect("read").is_empty());
}

async fn gaps_are_what_the_calendar_has_more(handle: &impl Handle) {
    let prices = handle.prices();
    // 2024-01-01, a Monday, to the Sunday two weeks later, weekends included, but for two days.
    prices.upsert_many(&series("A", 14)).await.expect("stored");
    prices.delete_range(&parsed("A"), nth(2), nth(3)).await.expect("a hole");
    let gaps = async |from, to| prices.gaps(&parsed("A"), from, to, &Weekdays).await.expect("read");
    let whole = gaps(FIRST, LAST).await;
    let expected = Gaps {
        trading_days: 10,
        bars: 12,
        missing: vec![nth(2), nth(3)],
        unexpected: vec![nth(5), nth(6), nth(12), nth(13)],
    };
    assert_eq!(whole, expected);
    assert!(!whole.is_complete());
    assert!(gaps(nth(7), nth(11)).await.is_complete());
    // What is asked for counts, not what there is; open ends are those of the bars.
    let later = gaps(nth(9), nth(17)).await;
    assert_eq!(later.missing, [nth(14), nth(15), nth(16), nth(17)]);
    assert_eq!(gaps(nth(14), nth(18)).await.missing.len(), 5);
    assert_eq!(gaps(FIRST, nth(11)).await.trading_days, 10);
    assert_eq!(gaps(nth(20), LAST).await, Gaps::default());
    let nyse = prices.gaps(&parsed("A"), nth(0), nth(4), &Nyse).await.expect("read");
    assert_eq!((nyse.trading_days, nyse.unexpected), (4, vec![nth(0)]));
}

async fn real_years_have_no_gaps_and_real_weeks(handle: &impl Handle) {
    let file = "gspc_daily_1950_2015.csv";
    let path = repository("data/prices").join(file);
    prices_from_csv(handle, path, CsvOptions::new()).await.expect("loaded");
    let (prices, index) = (handle.prices(), parsed("^GSPC"));
    let gaps = prices.gaps(&index, FIRST, LAST, &Nyse).await.expect("read");
    assert_eq!((gaps.trading_days, gaps.bars, gaps.is_complete()), (16_607, 16_607, true));
    let lost = day("2001-10-03");
    prices.delete_range(&index, lost, lost).await.expect("deleted");
    let gaps = prices.gaps(&index, FIRST, LAST, &Nyse).await.expect("read");
    assert_eq!(gaps.missing, [lost]);

    let weeks = prices.resample(&index, day("2001-09-03"), day("2001-09-23"), Period::Week);
    let weeks = weeks.await.expect("read");
    // A holiday, an attack, and the week after it.
    let days: Vec<u32> = weeks.iter().map(|week| week.bars).collect();
    assert_eq!(days, [4, 1, 5]);
    let daily = prices.range(&index, day("2001-09-17"), day("2001-09-21")).await.expect("read");
    let week = &weeks[2];
    assert_eq!((week.first, week.last), (day("2001-09-17"), day("2001-09-21")));
    assert_eq!(week.open.as_ref(), daily[0].open.as_ref().map(|price| price.as_decimal()));
    assert_eq!(week.close, *daily[4].close.as_decimal());
    assert_eq!(week.volume, daily.iter().map(|bar| bar.volume).sum());
    let years = prices.resample(&index, FIRST, LAST, Period::Year).await.expect("read");
    assert_eq!(years.len(), 66);
    let total = |bar: &SeriesBar| (bar.first.year(), bar.bars);
    assert_eq!((total(&years[0]), total(&years[51])), ((1950, 249), (2001, 247)));
    let none = prices.resample(&parsed("NONE"), FIRST, LAST, Period::Month).await.expect("read");
    assert_eq!(none, []);
}

#[tokio::test]
async fn reads_have_their_index_on_both_layouts() {
    for is_partitioned in [false, true] {
        let (db, recorder) = Recorder::database().await;
        if is_partitioned {
            let partitions = db.price_partitions();
            partitions.partition_by_year(Some(2024), 1, |_| {}).await.expect("partitioned");
        }
        let seed = "
            INSERT INTO price_history (ticker, date, close_price)
            SELECT 'T' || t, '2024-01-01Z'::timestamptz + d * interval '1 day', 10 + t
            FROM generate_series(1, 100) t CROSS JOIN generate_series(0, 399) d;
            ANALYZE";
        let connection = db.connection().await.expect("a connection");
        diesel_async::SimpleAsyncConnection::batch_execute(&mut connection.as_diesel(), seed)
            .await
            .expect("seeded");
        drop(connection);
        let (prices, wanted) = (db.prices(), tickers(&["T7", "T8"]));
        let check = async |sql: String, arguments: &[&str]| {
            if is_partitioned {
                assert_not_read_whole(&db, &sql, arguments, "price_history_2024").await;
            } else {
                let key = "price_history_ticker_date_key";
                assert_index(&db, &sql, arguments, "price_history", key).await;
            }
            recorder.take();
        };
        recorder.take();
        assert_eq!(prices.nearest(&wanted, day("2024-06-15"), 5).await.expect("read").len(), 2);
        check(recorder.only(), &["'{T7,T8}'", "'2024-06-10Z'", "'2024-06-16Z'"]).await;
        assert_eq!(prices.coverage(&wanted).await.expect("read")[0].bars, 400);
        check(recorder.only(), &["'{T7,T8}'"]).await;
        let (from, to) = (day("2024-03-01"), day("2024-03-31"));
        let gaps = prices.gaps(&wanted[0], from, to, &Weekdays).await.expect("read");
        assert_eq!(gaps.bars, 31);
        check(recorder.only(), &["'T7'", "'2024-03-01Z'", "'2024-04-01Z'", MOST]).await;
        let months = prices.resample(&wanted[0], from, to, Period::Month).await.expect("read");
        assert_eq!(months.len(), 1);
        check(recorder.only(), &["'{T7}'", "'2024-03-01Z'", "'2024-04-01Z'"]).await;
    }
}
