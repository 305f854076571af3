//! What there is of a history, and what is missing.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::{QueryDsl, QueryableByName};
use diesel::sql_types::{Array, Text, Timestamptz};
use futures_util::TryStreamExt;

use crate::error::Result;
use crate::prices::bars::{Coverage, Gaps, PriceBar};
use crate::prices::calendar::TradingCalendar;
use crate::prices::reading::walk;
use crate::prices::reading::walk::Times;
use crate::schema::price_history;
use crate::store::Session;
use crate::types::{Listed, Ticker, TradingDay};

/// One index probe for each ticker, within the days that count.
pub(crate) async fn nearest(
    session: &Session,
    tickers: &[Ticker],
    (from, until): Times,
) -> Result<Listed<PriceBar>> {
    if tickers.is_empty() {
        return Ok(Listed::default());
    }
    let bar = walk::last("*", "wanted.symbol", "$2", "$3");
    let statement = diesel::sql_query(format!(
        "SELECT bar.*
        FROM unnest($1::text[]) WITH ORDINALITY AS wanted (symbol, place)
        CROSS JOIN LATERAL ({bar}) AS bar
        ORDER BY wanted.place"
    ));
    let statement = statement
        .bind::<Array<Text>, _>(tickers)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(until);
    session.fetch_list(statement).await
}

/// Of the index alone: both ends, and a count of its entries.
const COVERAGE: &str = "
    SELECT wanted.ticker, stored.first, stored.last, stored.bars
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted (ticker, place)
    CROSS JOIN LATERAL (
        SELECT min(date) AS first, max(date) AS last, count(*) AS bars
        FROM price_history WHERE ticker = wanted.ticker
    ) AS stored
    WHERE stored.bars > 0
    ORDER BY wanted.place";

/// Goes from one ticker to the next by the index: bars are not read.
const TICKERS: &str = "
    WITH RECURSIVE known (ticker) AS (
        (SELECT ticker FROM price_history ORDER BY ticker LIMIT 1)
        UNION ALL
        SELECT (SELECT ticker FROM price_history WHERE ticker > known.ticker ORDER BY ticker LIMIT 1)
        FROM known WHERE known.ticker IS NOT NULL
    )
    SELECT ticker FROM known WHERE ticker IS NOT NULL";

#[derive(QueryableByName)]
struct TickerRow {
    #[diesel(sql_type = Text)]
    ticker: Ticker,
}

/// The tickers that have bars, in byte order.
pub(crate) async fn tickers(session: &Session) -> Result<Listed<Ticker>> {
    let rows: Listed<TickerRow> = session.fetch_list(diesel::sql_query(TICKERS)).await?;
    Ok(rows.map(|rows| {
        let mut tickers: Vec<Ticker> = rows.into_iter().map(|row| row.ticker).collect();
        tickers.sort_unstable();
        tickers
    }))
}

pub(crate) async fn of(session: &Session, tickers: &[Ticker]) -> Result<Listed<Coverage>> {
    if tickers.is_empty() {
        return Ok(Listed::default());
    }
    session.fetch_list(diesel::sql_query(COVERAGE).bind::<Array<Text>, _>(tickers)).await
}

pub(crate) async fn gaps(
    session: &Session,
    ticker: &Ticker,
    from: NaiveDate,
    to: NaiveDate,
    calendar: &dyn TradingCalendar,
) -> Result<Gaps> {
    let (start, end) = TradingDay::bounds(from, to);
    let (start_day, end_day) = (start.date_naive(), end.date_naive().pred_opt().unwrap_or(to));
    let query = walk::between(ticker, (start, end)).select(price_history::date);
    let days: Vec<NaiveDate> = session
        .stream::<_, DateTime<Utc>, _>(query)
        .map_ok(|date| date.date_naive())
        .try_collect()
        .await?;
    // Where the caller names no end, the bars do.
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        let is_open = from == NaiveDate::MIN || to == NaiveDate::MAX;
        // On a day that cannot be stored no bar is missing.
        let is_empty = is_open || start >= end;
        return Ok(if is_empty {
            Gaps::default()
        } else {
            compare(&days, start_day, end_day, calendar)
        });
    };
    let from = if from == NaiveDate::MIN { *first } else { start_day };
    let to = if to == NaiveDate::MAX { *last } else { end_day };
    Ok(compare(&days, from, to, calendar))
}

/// Both rise, and are walked through side by side.
fn compare(
    days: &[NaiveDate],
    from: NaiveDate,
    to: NaiveDate,
    calendar: &dyn TradingCalendar,
) -> Gaps {
    let mut gaps = Gaps { bars: days.len(), ..Gaps::default() };
    let mut days = days.iter().copied().peekable();
    for open in calendar.open_days(from, to) {
        gaps.trading_days += 1;
        while let Some(day) = days.next_if(|day| *day < open) {
            gaps.unexpected.push(day);
        }
        if days.next_if_eq(&open).is_none() {
            gaps.missing.push(open);
        }
    }
    gaps.unexpected.extend(days);
    gaps
}
