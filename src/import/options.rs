//! Option quotes.

use super::field::{Column, Fields, Reason, required};
use super::header::Header;
use super::reader::{CsvSource, Parser};
use super::report::ImportReport;
use super::{CsvOptions, reader};
use crate::database::Repositories;
use crate::error::{Error, Result};
use crate::options::{NewOptionQuote, OccSymbol, OptionContract};
use crate::prices::SuspectPolicy;
use crate::types::{OptionType, Price, Ticker, TradingDay, parse_time};

/// Loads option quotes from a CSV file with a header.
///
/// A contract is given by its OCC symbol (`contract_symbol`), by `underlying` (or `ticker`, or the ticker
/// of `options`), `expiration`, `type` (`call`, `put`, `C`, `P`) and `strike`, or by both: these columns
/// come first, the symbol fills in what is absent. `quote_date` or `fetched_at` is the time of the
/// snapshot (a date alone is midnight UTC; without an offset it is UTC), else that of `options`.
/// `bid`, `ask`, `last`, `volume`, `open_interest`, `implied_volatility`, `delta`, `gamma`, `theta` and
/// `vega` are optional. Other columns are ignored and listed.
///
/// Each batch of 10,000 rows is a transaction of its own; in a unit of work the whole file is part
/// of it. A quote is stored as by [`upsert_many`](crate::options::OptionRepository::upsert_many).
///
/// # Errors
/// As [`prices_from_csv`](super::prices_from_csv).
pub async fn options_from_csv(
    repositories: &impl Repositories,
    source: impl Into<CsvSource>,
    options: CsvOptions,
) -> Result<ImportReport> {
    let progress = options.progress.clone();
    let quotes = repositories.options();
    reader::import(
        source.into(),
        progress,
        SuspectPolicy::Reject,
        move |header| parser(header, options),
        |rows: Vec<_>| async move { quotes.upsert_many(&rows).await },
    )
    .await
}

struct Columns {
    symbol: Column,
    ticker: Column,
    expiration: Column,
    option_type: Column,
    strike: Column,
    fetched_at: Column,
    last: Column,
    bid: Column,
    ask: Column,
    volume: Column,
    open_interest: Column,
    implied_volatility: Column,
    delta: Column,
    gamma: Column,
    theta: Column,
    vega: Column,
}

impl Columns {
    fn new(header: &mut Header, has_ticker: bool) -> Result<Self> {
        let columns = Columns {
            symbol: ("contract_symbol", header.find(&["contract_symbol", "occ_symbol"])?),
            ticker: ("underlying", header.find(&["underlying", "ticker"])?),
            expiration: ("expiration", header.find(&["expiration", "expiration_date", "expiry"])?),
            option_type: ("type", header.find(&["type", "option_type"])?),
            strike: ("strike", header.find(&["strike", "strike_price"])?),
            fetched_at: (
                "fetched_at",
                header.find(&["fetched_at", "fetch_timestamp", "quote_date", "quote_time"])?,
            ),
            last: ("last", header.find(&["last", "last_price"])?),
            bid: ("bid", header.find(&["bid"])?),
            ask: ("ask", header.find(&["ask"])?),
            volume: ("volume", header.find(&["volume"])?),
            open_interest: ("open_interest", header.find(&["open_interest", "openinterest"])?),
            implied_volatility: (
                "implied_volatility",
                header.find(&["implied_volatility", "impliedvolatility", "iv"])?,
            ),
            delta: ("delta", header.find(&["delta"])?),
            gamma: ("gamma", header.find(&["gamma"])?),
            theta: ("theta", header.find(&["theta"])?),
            vega: ("vega", header.find(&["vega"])?),
        };
        let is_there = |column: &Column| column.1.is_some();
        let parts = [&columns.expiration, &columns.option_type, &columns.strike];
        let has_ticker = has_ticker || is_there(&columns.ticker);
        let has_parts = has_ticker && parts.into_iter().all(is_there);
        if !(has_parts || is_there(&columns.symbol)) {
            let needed = "needs contract_symbol, or underlying, expiration, type and strike";
            return Err(Error::invalid("header", needed));
        }
        Ok(columns)
    }
}

fn parser(header: &mut Header, options: CsvOptions) -> Result<Parser<NewOptionQuote>> {
    let columns = Columns::new(header, options.ticker.is_some())?;
    Ok(Box::new(move |fields| quote(fields, &columns, &options)))
}

fn quote(
    fields: &mut Fields<'_>,
    columns: &Columns,
    options: &CsvOptions,
) -> Result<NewOptionQuote, Reason> {
    let fetched_at = fields.parsed_by(columns.fetched_at, parse_time)?.or(options.fetched_at);
    Ok(NewOptionQuote {
        last: fields.decimal(columns.last)?,
        bid: fields.decimal(columns.bid)?,
        ask: fields.decimal(columns.ask)?,
        volume: fields.count(columns.volume)?,
        open_interest: fields.count(columns.open_interest)?,
        delta: fields.decimal(columns.delta)?,
        gamma: fields.decimal(columns.gamma)?,
        theta: fields.decimal(columns.theta)?,
        vega: fields.decimal(columns.vega)?,
        implied_volatility: fields.decimal(columns.implied_volatility)?,
        data_source: options.source.clone(),
        fetched_at,
        ..NewOptionQuote::new(contract(fields, columns, options)?)
    })
}

fn contract(
    fields: &mut Fields<'_>,
    columns: &Columns,
    options: &CsvOptions,
) -> Result<OptionContract, Reason> {
    let ticker = fields.parsed::<Ticker>(columns.ticker)?.or_else(|| options.ticker.clone());
    let expiration: Option<TradingDay> = fields.parsed(columns.expiration)?;
    let option_type = fields.parsed_by(columns.option_type, right)?;
    let strike: Option<Price> = fields.decimal(columns.strike)?;
    // With all parts there, a symbol of the exchange's own kind does no harm.
    let is_complete =
        ticker.is_some() && expiration.is_some() && option_type.is_some() && strike.is_some();
    let named = match is_complete {
        true => None,
        false => fields.parsed::<OccSymbol>(columns.symbol)?.map(OccSymbol::into_contract),
    };
    let named = named.as_ref();
    Ok(OptionContract {
        ticker: required("underlying", ticker.or_else(|| Some(named?.ticker.clone())))?,
        expiration: required("expiration", expiration.or_else(|| Some(named?.expiration)))?,
        option_type: required("type", option_type.or_else(|| Some(named?.option_type)))?,
        strike: required("strike", strike.or_else(|| Some(named?.strike.clone())))?,
    })
}

fn right(text: &str) -> Result<OptionType> {
    match text {
        "C" | "c" => Ok(OptionType::Call),
        "P" | "p" => Ok(OptionType::Put),
        _ => text.parse(),
    }
}
