//! What was known of bars at a time, and how it changed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Interval, Text, Timestamptz};

use crate::connection::Session;
use crate::error::Result;
use crate::models::{PriceBar, PriceRevision, Swept};
use crate::types::{Listed, Ticker, bound, span};

/// The columns of a bar, as both tables have them.
macro_rules! bar_columns {
    () => {
        "id, ticker, date, open_price, high_price, low_price, close_price, volume, adjusted_close,
        data_source, created_at, is_suspect, corrected_at"
    };
}

/// The values of a bar at a time are in one place: the table, if they are the present ones, or among
/// the revisions, which do not overlap.
const AS_OF: &str = concat!(
    "
    SELECT ",
    bar_columns!(),
    "
    FROM price_history
    WHERE ticker = ANY ($1) AND date >= $2 AND date < $3
        AND COALESCE(corrected_at, created_at) <= $4
    UNION ALL
    SELECT ",
    bar_columns!(),
    "
    FROM price_revisions
    WHERE ticker = ANY ($1) AND date >= $2 AND date < $3
        AND COALESCE(corrected_at, created_at) <= $4 AND replaced_at > $4"
);

pub(super) async fn range_as_of(
    session: &Session,
    tickers: &[Ticker],
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    known_at: DateTime<Utc>,
) -> Result<Listed<PriceBar>> {
    let statement = diesel::sql_query(AS_OF)
        .bind::<Array<Text>, _>(tickers)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(to)
        .bind::<Timestamptz, _>(bound::floor(known_at));
    let mut bars: Listed<PriceBar> = session.fetch_list(statement).await?;
    // Sorted here, so that the order of the tickers is not left to the server's collation.
    bars.sort_unstable_by(|a, b| a.ticker.cmp(&b.ticker).then_with(|| a.date.cmp(&b.date)));
    Ok(bars)
}

const OF_DAY: &str = concat!(
    "
    SELECT ",
    bar_columns!(),
    ", replaced_at
    FROM price_revisions WHERE ticker = $1 AND date >= $2 AND date < $3
    UNION ALL
    SELECT ",
    bar_columns!(),
    ", NULL
    FROM price_history WHERE ticker = $1 AND date >= $2 AND date < $3
    ORDER BY replaced_at NULLS LAST"
);

pub(super) async fn of_day(
    session: &Session,
    ticker: &Ticker,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Listed<PriceRevision>> {
    let statement = diesel::sql_query(OF_DAY)
        .bind::<Text, _>(ticker)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(to);
    session.fetch_list(statement).await
}

pub(super) async fn sweep(session: &Session, limit: u32, age: Duration) -> Result<Swept> {
    let statement = diesel::sql_query(format!(
        "
    WITH doomed AS MATERIALIZED (
        SELECT ticker, date, replaced_at FROM price_revisions
        WHERE replaced_at < now() - $1::INTERVAL
        ORDER BY replaced_at LIMIT {limit} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM price_revisions AS revision USING doomed
    WHERE revision.ticker = doomed.ticker AND revision.date = doomed.date
        AND revision.replaced_at = doomed.replaced_at"
    ));
    let statement = statement.bind::<Interval, _>(span::age(age));
    Ok(Swept::new(session.execute(statement).await?, limit))
}
