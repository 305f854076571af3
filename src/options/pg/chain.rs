//! Snapshots of a chain.

use chrono::{DateTime, Utc};
use diesel::prelude::{ExpressionMethods, NullableExpressionMethods, QueryDsl, SelectableHelper};

use crate::error::Result;
use crate::options::filter::ChainFilter;
use crate::options::quote::OptionQuote;
use crate::schema::options_data;
use crate::store::Session;
use crate::types::{Listed, OptionQuoteId, Ticker, TradingDay, bound};

// The table once more, to look up the snapshot's time in.
diesel::alias!(const SNAPSHOT: Alias<Snapshot> = options_data as snapshot);

/// The time of the latest snapshot of `ticker` (taken at `at` or before, which has the expiration),
/// as a subquery: one statement reads it and the chain.
macro_rules! latest_time {
    ($ticker:expr, $at:expr, $expiration:expr) => {{
        let time = SNAPSHOT.field(options_data::fetch_timestamp);
        let mut snapshots = SNAPSHOT
            .filter(SNAPSHOT.field(options_data::ticker).eq($ticker))
            .select(time)
            .into_boxed();
        if let Some(at) = $at {
            snapshots = snapshots.filter(time.le(bound::floor(at)));
        }
        if let Some(day) = $expiration {
            let (from, to) = TradingDay::bounds(day, day);
            let expiration = SNAPSHOT.field(options_data::expiration_date);
            snapshots = snapshots.filter(expiration.ge(from)).filter(expiration.lt(to));
        }
        snapshots.order(time.desc()).limit(1).single_value()
    }};
}

/// The contracts that `filter` asks for of the latest snapshot, or of that known at `at`.
pub(super) async fn quotes(
    session: &Session,
    ticker: &Ticker,
    at: Option<DateTime<Utc>>,
    filter: &ChainFilter,
) -> Result<Listed<OptionQuote>> {
    use options_data::{expiration_date, fetch_timestamp, option_type, strike_price};

    let mut query = options_data::table
        .filter(options_data::ticker.eq(ticker))
        .filter(fetch_timestamp.nullable().eq(latest_time!(ticker, at, filter.expiration)))
        .into_boxed();
    if let Some(day) = filter.expiration {
        let (from, to) = TradingDay::bounds(day, day);
        query = query.filter(expiration_date.ge(from)).filter(expiration_date.lt(to));
    }
    if let Some(wanted) = filter.option_type {
        query = query.filter(option_type.eq(wanted));
    }
    if let Some(least) = &filter.min_strike {
        query = query.filter(strike_price.ge(least));
    }
    if let Some(most) = &filter.max_strike {
        query = query.filter(strike_price.le(most));
    }
    let query = query.order((expiration_date, option_type, strike_price));
    session.fetch_list(query.select(OptionQuote::as_select())).await
}

/// The expirations of the snapshot known at `at`, as stored, rising; each with the id of a quote, which an error names.
pub(super) async fn expirations(
    session: &Session,
    ticker: &Ticker,
    at: DateTime<Utc>,
) -> Result<Listed<DateTime<Utc>>> {
    let everything = None;
    let query = options_data::table
        .filter(options_data::ticker.eq(ticker))
        .filter(options_data::fetch_timestamp.nullable().eq(latest_time!(
            ticker,
            Some(at),
            everything
        )))
        .distinct_on(options_data::expiration_date)
        .order((options_data::expiration_date, options_data::id))
        .select((options_data::id, options_data::expiration_date));
    let expirations: Listed<(OptionQuoteId, DateTime<Utc>)> = session.fetch_list(query).await?;
    Ok(expirations.map(|rows| rows.into_iter().map(|(_, expiration)| expiration).collect()))
}
