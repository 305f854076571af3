//! Bars as columns of `f64`.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};

use super::walk;
use crate::error::{Error, Result, Unreadable};
use crate::prices::bars::PriceBar;
use crate::store::{CopiedRow, Session};
use crate::types::text::quote_literal;
use crate::types::{AdjustedPrice, Listed, Price, Ticker, TradingDay, numeric};

/// The bars of one ticker as columns, for computations: by rising day, all columns of one length.
///
/// Values are the stored decimals' nearest `f64`; of a volume above 2^53 the last digits are rounded.
/// `NaN` means that the provider did not deliver the value, in `open`, `high`, `low`, `volume` and
/// `adjusted_close`; it is never a stored number. `close` has no `NaN`. Two series with a `NaN` in
/// them are not equal to each other.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// The security.
    pub ticker: Ticker,
    /// The exchange's dates, rising.
    pub days: Vec<NaiveDate>,
    /// First price, in the currency of the quote, as are the next three.
    pub open: Vec<f64>,
    /// Highest price.
    pub high: Vec<f64>,
    /// Lowest price.
    pub low: Vec<f64>,
    /// Last price.
    pub close: Vec<f64>,
    /// Units traded.
    pub volume: Vec<f64>,
    /// The provider's adjusted close as of delivery; it is not kept up to date.
    pub adjusted_close: Vec<f64>,
    /// Whether the bar should not be trusted.
    pub is_suspect: Vec<bool>,
}

impl Series {
    /// Without bars.
    pub fn new(ticker: Ticker) -> Self {
        Series {
            ticker,
            days: Vec::new(),
            open: Vec::new(),
            high: Vec::new(),
            low: Vec::new(),
            close: Vec::new(),
            volume: Vec::new(),
            adjusted_close: Vec::new(),
            is_suspect: Vec::new(),
        }
    }

    /// The columns of these bars, one series a ticker, by ticker in byte order. Of two bars of one day the later in the
    /// slice counts.
    pub fn from_bars(bars: &[PriceBar]) -> Vec<Series> {
        let of_day: BTreeMap<_, _> =
            bars.iter().map(|bar| ((&bar.ticker, bar.date.date_naive()), bar)).collect();
        let mut all: Vec<Series> = Vec::new();
        let float = |price: Option<f64>| price.unwrap_or(f64::NAN);
        for ((ticker, day), bar) in of_day {
            if all.last().is_none_or(|series| series.ticker != *ticker) {
                all.push(Series::new(ticker.clone()));
            }
            if let Some(series) = all.last_mut() {
                series.days.push(day);
                series.open.push(float(bar.open.as_ref().map(Price::to_f64)));
                series.high.push(float(bar.high.as_ref().map(Price::to_f64)));
                series.low.push(float(bar.low.as_ref().map(Price::to_f64)));
                series.close.push(bar.close.to_f64());
                series.volume.push(float(bar.volume.map(|volume| volume as f64)));
                series
                    .adjusted_close
                    .push(float(bar.adjusted_close.as_ref().map(AdjustedPrice::to_f64)));
                series.is_suspect.push(bar.is_suspect);
            }
        }
        all
    }

    /// How many bars there are.
    pub fn len(&self) -> usize {
        self.days.len()
    }

    /// Whether there is no bar.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Appends the rest of a row, after the ticker, or nothing of it.
    fn push(&mut self, row: &mut CopiedRow<'_>) -> Result<()> {
        let before = self.len();
        let pushed = self.append(row);
        if pushed.is_err() {
            self.truncate(before);
        }
        pushed
    }

    fn truncate(&mut self, len: usize) {
        self.days.truncate(len);
        for column in [
            &mut self.open,
            &mut self.high,
            &mut self.low,
            &mut self.close,
            &mut self.volume,
            &mut self.adjusted_close,
        ] {
            column.truncate(len);
        }
        self.is_suspect.truncate(len);
    }

    fn append(&mut self, row: &mut CopiedRow<'_>) -> Result<()> {
        self.days.push(day(micros(row.field()?)?)?);
        self.open.push(price("open_price", row.field()?)?);
        self.high.push(price("high_price", row.field()?)?);
        self.low.push(price("low_price", row.field()?)?);
        let close = row.field()?.ok_or_else(|| corrupt("close_price", "is NULL"))?;
        self.close.push(price("close_price", Some(close))?);
        self.volume.push(match row.field()? {
            Some(bytes) => i64::from_be_bytes(fixed("volume", bytes)?) as f64,
            None => f64::NAN,
        });
        self.adjusted_close.push(price("adjusted_close", row.field()?)?);
        self.is_suspect.push(flag("is_suspect", row.field()?.unwrap_or_default())?);
        Ok(())
    }

    /// By rising day.
    fn ordered(self) -> Result<Self> {
        let rises = |days: &[NaiveDate]| days.is_sorted_by(|day, next| day < next);
        if rises(&self.days) {
            return Ok(self);
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by_key(|row| self.days[*row]);
        let floats = |column: Vec<f64>| order.iter().map(|row| column[*row]).collect();
        let ordered = Series {
            ticker: self.ticker,
            days: order.iter().map(|row| self.days[*row]).collect(),
            open: floats(self.open),
            high: floats(self.high),
            low: floats(self.low),
            close: floats(self.close),
            volume: floats(self.volume),
            adjusted_close: floats(self.adjusted_close),
            is_suspect: order.iter().map(|row| self.is_suspect[*row]).collect(),
        };
        match rises(&ordered.days) {
            true => Ok(ordered),
            false => Err(corrupt("date", "holds two times of one day")),
        }
    }
}

/// Of the columns after the ticker.
const COLUMNS: &str =
    "date, open_price, high_price, low_price, close_price, volume, adjusted_close, is_suspect";
const FIELDS: u16 = 9;

pub(crate) async fn read(
    session: &Session,
    tickers: &[Ticker],
    from: NaiveDate,
    to: NaiveDate,
) -> Result<Listed<Series>> {
    let Some(wanted) = Wanted::of(tickers, from, to) else {
        return Ok(Listed::default());
    };
    let reading = session.reading().await?;
    let mut all: Vec<Series> = Vec::new();
    let mut listed = Listed::default();
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut current = 0;
    let mut each = |mut row: CopiedRow<'_>| {
        let ticker = row.field()?.unwrap_or_default();
        // Mostly that of the row before.
        if all.get(current).is_none_or(|series| series.ticker.as_str().as_bytes() != ticker) {
            current = match places.get(ticker) {
                Some(place) => *place,
                None => {
                    all.push(Series::new(parsed(ticker)?));
                    places.insert(ticker.to_owned(), all.len() - 1);
                    all.len() - 1
                }
            };
        }
        let date = row.clone();
        if let Err(error) = all[current].push(&mut row) {
            listed.take(Err(of_bar(error, ticker, date)?));
        }
        Ok(())
    };
    let mut rows = reading.copied_rows(&wanted.in_any_order(COLUMNS), FIELDS).await?;
    while rows.next(&mut each).await? {}
    drop(rows);
    reading.end().await?;
    all.sort_unstable_by(|a, b| a.ticker.cmp(&b.ticker));
    for series in all {
        let ticker = series.ticker.clone();
        match series.ordered() {
            // All of its bars were unreadable.
            Ok(series) if series.is_empty() => {}
            Err(error) => listed.take(Err(of_row(error, ticker.to_string())?)),
            Ok(series) => listed.take(Ok(series)),
        }
    }
    session.report(listed.unreadable.iter_mut());
    Ok(listed)
}

/// What is wrong with a bar, whose key is its ticker and its date, the next field of `date`.
///
/// # Errors
/// The error itself, where it is of something else.
pub(crate) fn of_bar(error: Error, ticker: &[u8], mut date: CopiedRow<'_>) -> Result<Unreadable> {
    let day = date.field().and_then(micros).and_then(day);
    let day = day.map_or_else(|_| Unreadable::UNKNOWN.to_owned(), |day| day.to_string());
    of_row(error, format!("{} {day}", String::from_utf8_lossy(ticker)))
}

fn of_row(error: Error, key: String) -> Result<Unreadable> {
    match error {
        Error::Corrupt { table, column, reason, .. } => {
            Ok(Unreadable { table, key, column, reason })
        }
        other => Err(other),
    }
}

/// What a read asks for, as parts of a statement.
pub(crate) struct Wanted {
    tickers: String,
    /// The first time, and that after the last. As constants, by which partitions are left out when the
    /// statement is planned.
    times: (String, String),
}

impl Wanted {
    /// `None` where there is nothing to ask for.
    pub fn of(tickers: &[Ticker], from: NaiveDate, to: NaiveDate) -> Option<Self> {
        let mut tickers: Vec<&Ticker> = tickers.iter().collect();
        tickers.sort_unstable();
        tickers.dedup();
        if tickers.is_empty() || from > to {
            return None;
        }
        let (from, until) = TradingDay::bounds(from, to);
        Some(Wanted {
            tickers: array(tickers.into_iter().map(Ticker::as_str)),
            times: (quote_literal(&time(from)), quote_literal(&time(until))),
        })
    }

    /// Copies the ticker and these columns of the bars, as the server reads them fastest.
    pub fn in_any_order(&self, columns: &str) -> String {
        let (tickers, (from, until)) = (&self.tickers, &self.times);
        format!(
            "COPY (SELECT ticker, {columns} FROM price_history
            WHERE ticker = ANY ({tickers}::text[]) AND date >= {from} AND date < {until}
            ) TO STDOUT (FORMAT binary)"
        )
    }

    /// Copies the ticker and these columns of the bars, by ticker in byte order, then by rising day: as the
    /// index has them, without a sort of all rows.
    #[cfg(feature = "arrow")]
    pub fn by_ticker_and_day(&self, columns: &str) -> String {
        let wanted = format!("unnest({}::text[]) AS wanted (ticker)", self.tickers);
        copy_of(&wanted, &self.times.0, &self.times.1, columns)
    }
}

/// Copies the ticker and these columns of the bars of days of each ticker's own, both included: in the order
/// given, then by rising day.
pub(crate) fn statement_of_spans<'a>(
    spans: impl Iterator<Item = (&'a Ticker, TradingDay, TradingDay)> + Clone,
    columns: &str,
) -> String {
    let times = spans.clone().map(|(_, first, last)| TradingDay::bounds(first.date(), last.date()));
    let wanted = format!(
        "unnest({}::text[], {}::timestamptz[], {}::timestamptz[]) AS wanted (ticker, start, until)",
        array(spans.map(|(ticker, ..)| ticker.as_str())),
        array(times.clone().map(|(start, _)| time(start))),
        array(times.map(|(_, until)| time(until))),
    );
    copy_of(&wanted, "wanted.start", "wanted.until", columns)
}

/// An array as one literal, which the server reads faster than an `ARRAY[...]` of many.
fn array(values: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut array = String::from("{");
    for (i, value) in values.enumerate() {
        array.push_str(if i > 0 { ",\"" } else { "\"" });
        for character in value.as_ref().chars() {
            if matches!(character, '"' | '\\') {
                array.push('\\');
            }
            array.push(character);
        }
        array.push('"');
    }
    quote_literal(&(array + "}"))
}

/// One walk for each ticker wanted.
fn copy_of(wanted: &str, from: &str, until: &str, columns: &str) -> String {
    let bars = walk::rising(columns, "wanted.ticker", from, until);
    format!(
        "COPY (SELECT wanted.ticker, bar.* FROM {wanted} CROSS JOIN LATERAL (
            {bars}
        ) AS bar) TO STDOUT (FORMAT binary)"
    )
}

/// A time in UTC that every setting of DateStyle reads alike. The years are 1 to 10,000, which ISO 8601 and
/// PostgreSQL write alike but for the sign of the last.
fn time(at: DateTime<Utc>) -> String {
    format!("{:04}-{:02}-{:02} 00:00:00+00", at.year(), at.month(), at.day())
}

pub(crate) fn parsed(ticker: &[u8]) -> Result<Ticker> {
    let text = std::str::from_utf8(ticker).ok();
    let ticker = text.and_then(|text| Ticker::new(text).ok().filter(|t| t.as_str() == text));
    ticker.ok_or_else(|| corrupt("ticker", "does not hold a valid ticker"))
}

fn price(column: &'static str, field: Option<&[u8]>) -> Result<f64> {
    match field {
        Some(bytes) => {
            numeric::decode_f64(bytes).ok_or_else(|| corrupt(column, "cannot be decoded"))
        }
        None => Ok(f64::NAN),
    }
}

/// Microseconds of 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
pub(crate) const EPOCH: i64 = 946_684_800_000_000;

/// Microseconds since 1970 of a TIMESTAMPTZ; infinite ones are refused.
pub(crate) fn micros(field: Option<&[u8]>) -> Result<i64> {
    let since_2000 = i64::from_be_bytes(fixed("date", field.unwrap_or_default())?);
    match since_2000 {
        i64::MIN | i64::MAX => Err(corrupt("date", "is infinite")),
        _ => since_2000.checked_add(EPOCH).ok_or_else(|| corrupt("date", "is out of range")),
    }
}

/// Days since 1970.
pub(crate) fn days(micros: i64) -> i64 {
    const MICROS_OF_A_DAY: i64 = 86_400_000_000;
    micros.div_euclid(MICROS_OF_A_DAY)
}

fn day(micros: i64) -> Result<NaiveDate> {
    let day = NaiveDate::default().checked_add_signed(TimeDelta::days(days(micros)));
    day.ok_or_else(|| corrupt("date", "is out of range"))
}

/// A BOOLEAN.
pub(crate) fn flag(column: &str, bytes: &[u8]) -> Result<bool> {
    match fixed(column, bytes)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [_] => Err(corrupt(column, "is neither true nor false")),
    }
}

pub(crate) fn fixed<const N: usize>(column: &str, bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| corrupt(column, "has another length"))
}

pub(crate) fn corrupt(column: &str, reason: &str) -> Error {
    let unknown = Unreadable::unknown(reason);
    Unreadable { table: "price_history".into(), column: column.into(), ..unknown }.into()
}
