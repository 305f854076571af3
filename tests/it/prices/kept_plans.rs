//! The plans that the server keeps of statements that read by ticker and days: in a table of few tickers, in one of many,
//! and in both by year.

use std::future::Future;

use buffetbot_db::Database;
use buffetbot_db::prices::{Adjustment, ArrowOptions, PriceBarFilter, PriceLayout, Weekdays};
use buffetbot_db::types::{PageRequest, Ticker};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;

use super::{day, parsed};
use crate::support::handle::Handle;
use crate::support::plan::{BarsRead, MOST, Recorder, bars_read};

const KEY: &str = "ticker_date_key";

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

/// Days as literals, the second one after the last.
type Days = [&'static str; 2];

const MONTH: Days = ["'2018-03-01Z'", "'2018-04-01Z'"];
const EVERYTHING: Days = ["'0001-01-01Z'", "'9999-01-01Z'"];

/// The statement of a read that reads bars, for the days of `MONTH`.
struct Read {
    name: &'static str,
    sql: String,
    arguments: Vec<&'static str>,
}

impl Read {
    /// With the arguments of one placeholder after the other: as many of them as there are.
    fn new(name: &'static str, sql: String, arguments: &[&'static str]) -> Self {
        let numbered = (1..).zip(arguments).filter(|(n, _)| sql.contains(&format!("${n}")));
        let arguments = numbered.map(|(_, argument)| *argument).collect();
        Read { name, sql, arguments }
    }

    /// The same for other days. The times of a COPY are in its text.
    fn of(&self, days: Days) -> (String, Vec<&'static str>) {
        let (mut sql, mut arguments) = (self.sql.clone(), self.arguments.clone());
        for (old, new) in MONTH.into_iter().zip(days) {
            let copied = |day: &str| day.replace("Z'", " 00:00:00+00'");
            sql = sql.replace(&copied(old), &copied(new));
            arguments.iter_mut().filter(|argument| **argument == old).for_each(|it| *it = new);
        }
        (sql, arguments)
    }

    /// What is wrong with a plan: it is to go through the key, in its order, and through no partition of another year.
    fn fault(&self, bars: &BarsRead, days: Days, layout: PriceLayout) -> Option<String> {
        let is_by_key = !bars.indexes.is_empty()
            && bars.indexes.iter().all(|index| index.ends_with(KEY))
            && ["Seq Scan", "Bitmap Heap Scan"].iter().all(|node| !bars.nodes.contains(*node))
            // What was known of a day is in another order.
            && (self.name == "revisions" || !bars.nodes.contains("Sort"));
        let is_pruned = layout == PriceLayout::Plain
            || days == EVERYTHING
            || bars.tables.iter().eq(["price_history_2018"]);
        if is_by_key && is_pruned {
            return None;
        }
        let BarsRead { tables, indexes, nodes, plan } = bars;
        Some(format!(
            "{} of {days:?}, {layout:?}: {tables:?} by {indexes:?}: {nodes:?}\n{}\n{plan:?}",
            self.name, self.sql
        ))
    }
}

/// All reads by ticker and days.
async fn reads(db: &Database, recorder: &Recorder) -> Vec<Read> {
    let (prices, one, few) = (db.prices(), parsed::<Ticker>("T7"), ["T7", "T8", "T9"].map(parsed));
    let (first, last, [from, until]) = (day("2018-03-01"), day("2018-03-31"), MONTH);
    let filter = PriceBarFilter::default().tickers(vec![one.clone()]).from(first).to(last);
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
    read!("nearest", of_few, prices.nearest(&few, last, 30));
    read!("stream_range", of_few, prices.stream_range(&few, first, last).try_collect::<Vec<_>>());
    let ordered = db.record_batches(&few, first, last, ArrowOptions::new());
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
    let mut found = recorder.take();
    // Nor that of actions, with the bars before them.
    found.retain(|sql| {
        sql.replace('"', "").contains("FROM price_history") && !sql.contains("corporate_actions")
    });
    assert_eq!(found.len(), 1, "{found:?}");
    let sql = found.remove(0);
    match sql.strip_prefix("COPY (").and_then(|sql| sql.rsplit_once(") TO STDOUT")) {
        Some((query, _)) => query.to_owned(),
        None => sql,
    }
}

async fn assert_all_by_the_key(tickers: u32) {
    let (db, recorder) = Recorder::database().await;
    db.sql(&seed(tickers)).await;
    let mut faults = Vec::new();
    for layout in [PriceLayout::Plain, PriceLayout::ByYear] {
        if layout == PriceLayout::ByYear {
            let partitions = db.price_partitions();
            partitions.partition_by_year(Some(2014), 1, |_| {}).await.expect("partitioned");
        }
        for read in reads(&db, &recorder).await {
            for days in [EVERYTHING, MONTH] {
                let (sql, arguments) = read.of(days);
                let plans = bars_read(&db, &sql, &arguments).await;
                faults.extend(plans.iter().filter_map(|bars| read.fault(bars, days, layout)));
            }
        }
    }
    let briefly: Vec<_> = faults.iter().filter_map(|fault| fault.lines().next()).collect();
    assert!(faults.is_empty(), "{}\n\nthe first of them: {}", briefly.join("\n"), faults[0]);
}

#[tokio::test]
async fn plans_that_are_kept_go_through_the_key_of_few_tickers() {
    assert_all_by_the_key(30).await;
}

#[tokio::test]
async fn plans_that_are_kept_go_through_the_key_of_many_tickers() {
    assert_all_by_the_key(400).await;
}
