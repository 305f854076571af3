//! The latest bars of many tickers.

use diesel::sql_types::{Array, Text};

use crate::error::Result;
use crate::prices::bars::LatestBar;
use crate::store::Session;
use crate::types::{Listed, Ticker};

pub(crate) async fn of(session: &Session, tickers: &[Ticker]) -> Result<Listed<LatestBar>> {
    if tickers.is_empty() {
        return Ok(Listed::default());
    }
    session.fetch_list(diesel::sql_query(LATEST).bind::<Array<Text>, _>(tickers)).await
}

/// Two index probes a ticker, however long its history is.
const LATEST: &str = "
    SELECT bar.*, previous.close_price AS previous_close
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted (ticker, place)
    CROSS JOIN LATERAL (
        SELECT * FROM price_history
        WHERE ticker = wanted.ticker
        ORDER BY date DESC LIMIT 1
    ) AS bar
    LEFT JOIN LATERAL (
        SELECT close_price FROM price_history
        WHERE ticker = wanted.ticker AND date < bar.date
        ORDER BY date DESC LIMIT 1
    ) AS previous ON TRUE
    ORDER BY wanted.place";
