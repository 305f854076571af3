//! What is computed of bars, without a database.

mod calendars;
mod resampling;
mod returns;

use std::collections::BTreeMap;

use bigdecimal::BigDecimal;
use buffetbot_db::prices::SeriesBar;
use chrono::NaiveDate;

use crate::support::{parsed, repository};

fn day(text: &str) -> NaiveDate {
    parsed(text)
}

/// The days of each ticker in a fixture, as its lines have them.
fn days(file: &str) -> BTreeMap<String, Vec<NaiveDate>> {
    let path = repository("data/prices").join(file);
    let text = std::fs::read_to_string(path).expect(file);
    let mut days: BTreeMap<String, Vec<NaiveDate>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let (ticker, date) = (fields.next().expect("a ticker"), fields.next().expect("a date"));
        days.entry(ticker.into()).or_default().push(parsed(&date[..10]));
    }
    days
}

/// A daily bar of cents.
fn bar(day: NaiveDate, ohlc: [Option<i64>; 4], volume: Option<i64>) -> SeriesBar {
    let [open, high, low, close] = ohlc.map(|cents| cents.map(|n| BigDecimal::new(n.into(), 2)));
    SeriesBar {
        first: day,
        last: day,
        bars: 1,
        open,
        high,
        low,
        close: close.expect("a close"),
        volume,
        is_suspect: false,
    }
}
