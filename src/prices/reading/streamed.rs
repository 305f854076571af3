//! Bars of many tickers as a stream.

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::walk;
use super::walk::Times;
use crate::error::{Error, Result};
use crate::prices::bars::PriceBar;
use crate::store::Session;
use crate::types::Ticker;

pub(crate) fn read<'a>(
    session: &'a Session,
    tickers: &[Ticker],
    times: Times,
) -> BoxStream<'a, Result<PriceBar>> {
    let Some(statement) = walk::of_each(tickers, times) else {
        return stream::empty().boxed();
    };
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
