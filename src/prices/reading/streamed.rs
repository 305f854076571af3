//! Bars of many tickers as a stream.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Text, Timestamptz};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::error::{Error, Result};
use crate::prices::bars::PriceBar;
use crate::store::Session;
use crate::types::Ticker;

/// One walk through the index for each ticker, one after the other: rows come in the order wanted without
/// a sort, which would have to read all of them first.
const RANGES: &str = "
    SELECT bar.*
    FROM unnest($1::text[]) AS wanted (ticker)
    CROSS JOIN LATERAL (
        SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
            data_source, created_at, is_suspect, corrected_at
        FROM price_history
        WHERE ticker = wanted.ticker AND date >= $2 AND date < $3
        ORDER BY date OFFSET 0
    ) AS bar";

/// From the first of two times up to the second, which is not included.
pub(crate) fn read<'a>(
    session: &'a Session,
    tickers: &[Ticker],
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> BoxStream<'a, Result<PriceBar>> {
    let mut tickers = tickers.to_vec();
    tickers.sort_unstable();
    tickers.dedup();
    if tickers.is_empty() {
        return stream::empty().boxed();
    }
    let statement = diesel::sql_query(RANGES)
        .bind::<Array<Text>, _>(tickers)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(until);
    let mut last: Option<(Ticker, DateTime<Utc>)> = None;
    let mut in_order = move |bar: PriceBar| {
        let key = Some((bar.ticker.clone(), bar.date));
        // That is how the server joins, but nothing promises it.
        if last >= key {
            let (table, key, column) = ("price_history".into(), bar.id.to_string(), "date".into());
            return Err(Error::Corrupt { table, key, column, reason: "out of order".into() });
        }
        last = key;
        Ok(bar)
    };
    session.stream(statement).map(move |bar| bar.and_then(&mut in_order)).boxed()
}
