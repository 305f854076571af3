//! The plans that the server keeps of statements that read by ticker and days: in a table of few tickers, in one of many,
//! and in both by year.

use std::future::Future;

use buffetbot_db::{
    Adjustment, ArrowOptions, Database, PageRequest, PriceBarFilter, PriceRepository, Ticker,
    Weekdays,
};
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::TryStreamExt;

use super::{day, parsed};
use crate::support::handle::Handle;
use crate::support::plan::{Recorder, bars_read};

const KEY: &str = "ticker_date_key";
/// More than there are of anything.
const MOST: &str = "9223372036854775807";

/// Ten years of trading days of so many tickers, stored as the repository stores them: by band of days, then by ticker. The
/// indexes come last, in half the time.
fn seed(tickers: u32) -> String {
    format!(
        "ALTER TABLE price_history DROP CONSTRAINT price_history_ticker_date_key,
            DROP CONSTRAINT price_history_pkey;
        DROP INDEX idx_price_date_ticker;
        INSERT INTO price_history (ticker, date, open_price, high_price, low_price, close_price, volume)
        SELECT 'T' || t, day, 10 + t, 12 + t, 9 + t, 11 + t, 1000
        FROM generate_series(0, 13) band
            CROSS JOIN generate_series(1, {tickers}) t
            CROSS JOIN generate_series(band * 256, band * 256 + 255) d
            CROSS JOIN LATERAL (SELECT '2014-01-01Z'::timestamptz + d * interval '1 day' AS day) days
        WHERE extract(isodow FROM day AT TIME ZONE 'UTC') < 6;
        ALTER TABLE price_history ADD CONSTRAINT price_history_pkey PRIMARY KEY (id),
            ADD CONSTRAINT price_history_ticker_date_key UNIQUE (ticker, date);
        CREATE INDEX idx_price_date_ticker ON price_history (date, ticker);
        ANALYZE price_history"
    )
}

/// Days that are read.
struct Days {
    first: NaiveDate,
    last: NaiveDate,
    /// The same as literals, the second one after the last.
    literals: [&'static str; 2],
    /// All of them in this year.
    year: Option<u32>,
}

/// A read, by the statement of it that reads bars, and its arguments: as many of them as it has.
struct Read {
    name: &'static str,
    sql: String,
    arguments: Vec<String>,
}

impl Read {
    fn new(name: &'static str, sql: String, arguments: &[&str]) -> Self {
        let arguments: Vec<_> = (1..)
            .zip(arguments)
            .filter(|(number, _)| sql.contains(&format!("${number}")))
            .map(|(_, argument)| (*argument).to_owned())
            .collect();
        Read { name, sql, arguments }
    }
}

/// All reads by ticker and days of these days.
async fn reads(db: &Database, recorder: &Recorder, days: &Days) -> Vec<Read> {
    let (prices, one, few) = (db.prices(), parsed::<Ticker>("T7"), ["T7", "T8", "T9"].map(parsed));
    let (first, last, [from, until]) = (days.first, days.last, days.literals);
    let filter = PriceBarFilter {
        tickers: Some(vec![one.clone()]),
        from: Some(first),
        to: Some(last),
        ..PriceBarFilter::default()
    };
    let (of_one, of_few) = (["'T7'", from, until, MOST], ["'{T7,T8,T9}'", from, until]);
    let mut all = Vec::new();
    macro_rules! read {
        ($name:literal, $arguments:expr, $reading:expr) => {
            let sql = statement(recorder, $reading).await;
            all.push(Read::new($name, sql, &$arguments));
        };
    }
    read!("range", of_one, prices.range(&one, first, last));
    read!("range_many", of_few, prices.range_many(&few, first, last));
    read!("find_by_day", ["'T7'", from, until, "1"], prices.find_by_day(&one, first));
    let adjusted = prices.adjusted(&one, first, last, last, Adjustment::Splits);
    read!("adjusted", of_one, adjusted);
    read!("gaps", of_one, prices.gaps(&one, first, last, &Weekdays));
    read!("nearest", of_few, prices.nearest(&few, last, (last - first).num_days() as u32));
    read!("stream_range", of_few, prices.stream_range(&few, first, last).try_collect::<Vec<_>>());
    let ordered = prices.record_batches(&few, first, last, ArrowOptions::new());
    read!("record_batches", [], ordered.try_collect::<Vec<_>>());
    let now = DateTime::<Utc>::MAX_UTC;
    let (time, points) = ("'9999-01-01Z'", "'1:100000000:'");
    let as_of = [of_few[0], from, until, time, "NULL", points, time, "false"];
    read!("range_as_of", as_of, prices.range_as_of(&few, first, last, now));
    read!("revisions", of_one, prices.revisions(&one, first));
    let page = PageRequest::first(10);
    read!("list", ["'T7'", from, until, "11"], prices.list(&filter, &page));
    let cursor = prices.list(&filter, &page).await.expect("read").next.expect("there are more");
    let next = PageRequest::after(10, cursor);
    let id = "'ffffffff-ffff-ffff-ffff-ffffffffffff'";
    let after = ["'T7'", from, until, until, until, id, "11"];
    read!("list, the next page", after, prices.list(&filter, &next));
    read!("count", of_one, prices.count(&filter));
    all
}

/// The statement of a read that reads bars, as one that can be prepared.
async fn statement<T>(
    recorder: &Recorder,
    reading: impl Future<Output = buffetbot_db::Result<T>>,
) -> String {
    recorder.take();
    reading.await.expect("read");
    let of_bars =
        |sql: &String| sql.contains("FROM price_history") || sql.contains("\"price_history\"");
    let mut found: Vec<String> = recorder
        .take()
        .into_iter()
        // Nor that of actions, with the bars before them.
        .filter(|sql| of_bars(sql) && !sql.contains("corporate_actions"))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let sql = found.remove(0);
    match sql.strip_prefix("COPY (").and_then(|sql| sql.split_once(") TO STDOUT")) {
        Some((query, _)) => query.to_owned(),
        None => sql,
    }
}

/// Every read goes through the key, in its order, and through no partition of another year.
async fn assert_all_by_the_key(tickers: u32) {
    let (db, recorder) = Recorder::database().await;
    db.sql(&seed(tickers)).await;
    let everything = Days {
        first: NaiveDate::MIN,
        last: NaiveDate::MAX,
        literals: ["'0001-01-01Z'", "'9999-01-01Z'"],
        year: None,
    };
    let month = Days {
        first: day("2018-03-01"),
        last: day("2018-03-31"),
        literals: ["'2018-03-01Z'", "'2018-04-01Z'"],
        year: Some(2018),
    };
    let mut wrong = Vec::new();
    for is_partitioned in [false, true] {
        if is_partitioned {
            let partitions = db.price_partitions();
            partitions.partition_by_year(Some(2014), 1, |_| {}).await.expect("partitioned");
        }
        // The statements are the same for any days.
        for read in reads(&db, &recorder, &month).await {
            for days in [&everything, &month] {
                let with = |argument: &String| {
                    let place = month.literals.iter().position(|literal| literal == argument);
                    place.map_or(argument.clone(), |place| days.literals[place].to_owned())
                };
                let sql = month.literals.iter().zip(days.literals).fold(
                    read.sql.clone(),
                    |sql, (of_month, of_days)| {
                        // The times of a COPY are in its text.
                        let [old, new] = [of_month, of_days]
                            .map(|day| day.trim_matches('\'').replace('Z', " 00:00:00+00"));
                        sql.replace(&old, &new)
                    },
                );
                let arguments: Vec<String> = read.arguments.iter().map(with).collect();
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                for bars in bars_read(&db, &sql, &arguments).await {
                    let by_key = !bars.indexes.is_empty()
                        && bars.indexes.iter().all(|index| index.ends_with(KEY))
                        && !bars.nodes.contains("Seq Scan")
                        && !bars.nodes.contains("Bitmap Heap Scan")
                        // What was known of a day is in another order.
                        && (read.name == "revisions" || !bars.nodes.contains("Sort"));
                    let expected = match (is_partitioned, days.year) {
                        (true, Some(year)) => Some(format!("price_history_{year}")),
                        (true, None) => None,
                        (false, _) => Some("price_history".to_owned()),
                    };
                    let is_pruned = expected
                        .is_none_or(|table| bars.tables.iter().all(|found| *found == table));
                    if !by_key || !is_pruned {
                        let span = days.year.map_or("all days", |_| "a month");
                        let layout = if is_partitioned { "by year" } else { "plain" };
                        wrong.push(format!(
                            "{} of {span}, {layout}: {:?} by {:?}: {:?}\n{sql}\n{:?}",
                            read.name, bars.tables, bars.indexes, bars.nodes, bars.plan
                        ));
                    }
                }
            }
        }
    }
    let briefly: Vec<_> = wrong.iter().filter_map(|text| text.lines().next()).collect();
    assert!(wrong.is_empty(), "{}\n\nthe first of them: {}", briefly.join("\n"), wrong[0]);
}

#[tokio::test]
async fn plans_that_are_kept_go_through_the_key_of_few_tickers() {
    assert_all_by_the_key(30).await;
}

#[tokio::test]
async fn plans_that_are_kept_go_through_the_key_of_many_tickers() {
    assert_all_by_the_key(400).await;
}
