//! Price bars.

use super::field::{Column, Fields, Reason, required};
use super::header::Header;
use super::reader::{self, CsvSource, Parser};
use super::{CsvOptions, ImportReport};
use crate::error::Result;
use crate::models::NewPriceBar;
use crate::repositories::{PriceRepository, Repositories};
use crate::types::{Ticker, TradingDay};

/// Loads daily bars from a CSV file with a header, as Yahoo and many others write them.
///
/// Columns, in any order and case: `ticker` or `symbol` (or the ticker of `options`), `date`,
/// `open`, `high`, `low`, `close`, `volume`, and `adjusted_close`, `Adj Close` or `adjclose`; date and
/// close are needed. Others are ignored and listed. Dates are ISO 8601; of one with a time and an
/// offset the local day counts.
///
/// Each batch of 10,000 rows is a transaction of its own; in a unit of work the whole file is part
/// of it. A bar is stored as by [`upsert_many_with`](PriceRepository::upsert_many_with); a number that
/// is none (NaN, zero, infinite) makes its row rejected, whatever becomes of suspicious bars.
///
/// # Errors
/// `Invalid` of `file` or `header`: it cannot be read, or lacks a column; of a line, where suspicious bars
/// make the import fail; those of the database.
/// What was stored before an error stays, and loading the file again continues.
pub async fn prices_from_csv(
    repositories: &impl Repositories,
    source: impl Into<CsvSource>,
    options: CsvOptions,
) -> Result<ImportReport> {
    let progress = options.progress.clone();
    let prices = repositories.prices();
    let ingest = &options.ingest.clone();
    reader::import(
        source.into(),
        progress,
        ingest.on_suspect,
        move |header| parser(header, options),
        |bars: Vec<_>| async move { prices.upsert_many_with(&bars, ingest).await },
    )
    .await
}

struct Columns {
    ticker: Column,
    date: Column,
    open: Column,
    high: Column,
    low: Column,
    close: Column,
    volume: Column,
    adjusted_close: Column,
}

impl Columns {
    fn new(header: &mut Header, has_ticker: bool) -> Result<Self> {
        let ticker = match has_ticker {
            true => header.find(&["ticker", "symbol"])?,
            false => Some(header.require(&["ticker", "symbol"])?),
        };
        let adjusted_close = header.find(&["adjusted_close", "adj_close", "adjclose"])?;
        Ok(Columns {
            ticker: ("ticker", ticker),
            date: ("date", Some(header.require(&["date"])?)),
            open: ("open", header.find(&["open"])?),
            high: ("high", header.find(&["high"])?),
            low: ("low", header.find(&["low"])?),
            close: ("close", Some(header.require(&["close"])?)),
            volume: ("volume", header.find(&["volume"])?),
            adjusted_close: ("adjusted_close", adjusted_close),
        })
    }
}

fn parser(header: &mut Header, options: CsvOptions) -> Result<Parser<NewPriceBar>> {
    let columns = Columns::new(header, options.ticker.is_some())?;
    Ok(Box::new(move |fields| bar(fields, &columns, &options)))
}

fn bar(
    fields: &mut Fields<'_>,
    columns: &Columns,
    options: &CsvOptions,
) -> Result<NewPriceBar, Reason> {
    let ticker = fields.parsed::<Ticker>(columns.ticker)?.or_else(|| options.ticker.clone());
    let date: Option<TradingDay> = fields.parsed(columns.date)?;
    Ok(NewPriceBar {
        ticker: required("ticker", ticker)?,
        date: required("date", date)?,
        open: fields.decimal(columns.open)?,
        high: fields.decimal(columns.high)?,
        low: fields.decimal(columns.low)?,
        close: required("close", fields.decimal(columns.close)?)?,
        volume: fields.count(columns.volume)?,
        adjusted_close: fields.decimal(columns.adjusted_close)?,
        data_source: options.source.clone(),
        is_suspect: false,
    })
}
