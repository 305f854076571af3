//! Price bars.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use bigdecimal::{BigDecimal, One, Zero};

use super::field::{Column, Fields, Reason, required};
use super::header::Header;
use super::reader::{CsvSource, Parser};
use super::report::ImportReport;
use super::{CsvOptions, reader};
use crate::database::Repositories;
use crate::error::{Error, Result};
use crate::prices::{NewCorporateAction, NewPriceBar, check_day};
use crate::store::{Rejected, RejectedKind, UpsertReport};
use crate::types::{DividendAmount, SplitShares, Ticker, TradingDay};

/// Loads daily bars from a CSV file with a header, as Yahoo and many others write them.
///
/// Columns, in any order and case: `ticker` or `symbol` (or the ticker of `options`), `date`,
/// `open`, `high`, `low`, `close`, `volume`, and `adjusted_close`, `Adj Close` or `adjclose`; date and
/// close are needed. A dividend of the day (`ex-dividend`, `Dividends`; 0 for none) and a split
/// (`split_ratio`, `Stock Splits`: so many new shares for an old one; 0 or 1 for none) are stored as
/// [corporate actions](crate::prices::CorporateActionRepository), after the bars of their batch. Other columns are
/// ignored and listed. Dates are ISO 8601; of one with a time and an offset the local day counts.
///
/// Each batch of 10,000 rows is a transaction of its own; in a unit of work the whole file is part
/// of it. A bar is stored as by [`upsert_many_with`](crate::prices::PriceRepository::upsert_many_with); a value that
/// is not a price (NaN, zero, infinite) makes its row rejected, whatever the policy for suspicious bars; so does a day that cannot be
/// right, that is of an archived year, or that no partition holds. What happened on a day that cannot be right is not
/// stored either.
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
    let (written, unchanged) = (&AtomicU64::new(0), &AtomicU64::new(0));
    let mut report = reader::import(
        source.into(),
        progress,
        ingest.on_suspect,
        move |header| parser(header, options),
        |rows: Vec<Row>| async move {
            let (bars, actions): (Vec<_>, Vec<_>) =
                rows.into_iter().map(|row| (row.bar, row.actions)).unzip();
            let stored = prices.upsert_many_with(&bars, ingest).await?;
            // What is of a mistyped day is that as a dividend, too.
            let is_mistyped = |rejected: &&Rejected| rejected.kind == RejectedKind::ImplausibleDay;
            let mistyped = stored.rejected.iter().filter(is_mistyped);
            let mistyped: HashSet<usize> = mistyped.map(|rejected| rejected.index).collect();
            let actions = actions.into_iter().enumerate();
            let actions: Vec<_> = actions
                .filter(|(index, _)| !mistyped.contains(index))
                .flat_map(|(_, actions)| actions)
                .collect();
            if !actions.is_empty() {
                let report = repositories.corporate_actions().upsert_many(&actions).await?;
                written.fetch_add(report.written(), Ordering::Relaxed);
                unchanged.fetch_add(report.unchanged, Ordering::Relaxed);
            }
            Ok(stored)
        },
    )
    .await?;
    report.actions_written = written.load(Ordering::Relaxed);
    report.actions_unchanged = unchanged.load(Ordering::Relaxed);
    Ok(report)
}

/// Reads a file as [`prices_from_csv`] does, and stores nothing: which lines would be rejected and why, how many values
/// would be rounded. What only the database can decide is not counted: bars that are equal or superseded, that jump, of a year
/// that is archived, has no partition, or is too far ahead of the database's clock.
///
/// # Errors
/// As [`prices_from_csv`], but for those of the database.
pub async fn check_prices_csv(
    source: impl Into<CsvSource>,
    options: CsvOptions,
) -> Result<ImportReport> {
    let (progress, on_suspect) = (options.progress.clone(), options.ingest.on_suspect);
    let check = |rows: Vec<Row>| async move {
        let mut report = UpsertReport::default();
        for (index, row) in rows.iter().enumerate() {
            let judged = row.bar.validate().and_then(|()| check_day(row.bar.date, None));
            if let Err(Error::Invalid { field, reason }) = judged {
                report.rejected.push(Rejected { index, kind: RejectedKind::Value, field, reason });
            }
        }
        Ok(report)
    };
    reader::import(source.into(), progress, on_suspect, |header| parser(header, options), check)
        .await
}

/// A row of the file: a bar, and what happened to the share on its day.
struct Row {
    bar: NewPriceBar,
    actions: Vec<NewCorporateAction>,
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
    dividend: Column,
    split: Column,
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
            dividend: (
                "dividend",
                header.find(&["ex_dividend", "dividends", "dividend", "dividend_amount"])?,
            ),
            split: (
                "split",
                header.find(&["split_ratio", "stock_splits", "splits", "split_coefficient"])?,
            ),
        })
    }
}

fn parser(header: &mut Header, options: CsvOptions) -> Result<Parser<Row>> {
    let columns = Columns::new(header, options.ticker.is_some())?;
    Ok(Box::new(move |fields| {
        let bar = bar(fields, &columns, &options)?;
        let actions = actions(fields, &columns, &bar)?;
        Ok(Row { bar, actions })
    }))
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

/// The split and the dividend of a row, per share that trades on its day.
fn actions(
    fields: &mut Fields<'_>,
    columns: &Columns,
    bar: &NewPriceBar,
) -> Result<Vec<NewCorporateAction>, Reason> {
    let mut actions = Vec::new();
    let ratio = fields.number(columns.split)?.filter(|ratio| !ratio.is_zero() && !ratio.is_one());
    if ratio.is_some() {
        let (from, to) = (SplitShares::new(BigDecimal::one()), fields.decimal(columns.split)?);
        if let (Ok(from), Some(to)) = (from, to) {
            actions.push(NewCorporateAction::split(bar.ticker.clone(), bar.date, from, to));
        }
    }
    if fields.number(columns.dividend)?.is_some_and(|amount| !amount.is_zero()) {
        let amount: Option<DividendAmount> = fields.decimal(columns.dividend)?;
        let dividend = |amount| NewCorporateAction::dividend(bar.ticker.clone(), bar.date, amount);
        actions.extend(amount.map(dividend));
    }
    let source = &bar.data_source;
    Ok(actions.into_iter().map(|action| action.data_source(source.clone())).collect())
}
