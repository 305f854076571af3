//! What was known of bars at a time, and how it changed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Array, BigInt, Bool, Interval, Nullable, Text, Timestamptz};

use super::{knowledge, walk};
use crate::error::Result;
use crate::prices::bars::{PriceBar, PriceRevision};
use crate::store::{Session, SweepReport};
use crate::types::{Listed, Ticker, bound, span};

/// A version is known from the first point that sees its transaction; between that point and the one before, from the
/// time of its statement. The same holds of its end. A time that is later than the point which sees the transaction is of a
/// clock that was ahead, and says nothing. Versions of an unknown transaction go by their times.
fn is_past(transaction: &str, time: &str) -> String {
    format!(
        "CASE WHEN {transaction} IS NULL OR (SELECT is_foreign FROM around) THEN {time} <= $4
            ELSE txid_visible_in_snapshot({transaction}, (SELECT next FROM around))
                AND ({time} <= $4 OR {time} > (SELECT next_at FROM around)
                    OR txid_visible_in_snapshot({transaction}, (SELECT previous FROM around)))
            END IS TRUE"
    )
}

/// What the points around the time see of the table and of the revisions.
fn as_of() -> String {
    let bars = walk::rising("*", "wanted.symbol", "$2", "$3");
    let (columns, is_added) =
        (walk::COLUMNS, is_past("added_by", "COALESCE(corrected_at, created_at)"));
    let is_removed = is_past("removed_by", "replaced_at");
    format!(
        "
    WITH around AS MATERIALIZED (
        SELECT $5::TEXT::TXID_SNAPSHOT AS previous, $6::TEXT::TXID_SNAPSHOT AS next,
            $7::TIMESTAMPTZ AS next_at, $8::BOOLEAN AS is_foreign
    )
    SELECT {columns}, NULL::BIGINT AS number
    FROM unnest($1::TEXT[]) AS wanted (symbol) CROSS JOIN LATERAL ({bars}) AS bar
    WHERE {is_added}
    UNION ALL
    SELECT {columns}, number
    FROM price_revisions
    WHERE ticker = ANY ($1) AND date >= $2 AND date < $3
        AND {is_added} AND NOT {is_removed}"
    )
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(embed)]
    bar: PriceBar,
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

pub(crate) async fn range_as_of(
    session: &Session,
    tickers: &[Ticker],
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    known_at: DateTime<Utc>,
) -> Result<Listed<PriceBar>> {
    let known_at = bound::floor(known_at);
    let (around, session) = knowledge::around(session, known_at).await?;
    let statement = diesel::sql_query(as_of())
        .bind::<Array<Text>, _>(walk::each_once(tickers))
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(to)
        .bind::<Timestamptz, _>(known_at)
        .bind::<Nullable<Text>, _>(around.previous)
        .bind::<Nullable<Text>, _>(around.next)
        .bind::<Timestamptz, _>(around.next_at)
        .bind::<Bool, _>(around.is_foreign);
    let mut versions: Listed<Version> = session.fetch_list(statement).await?;
    knowledge::check_complete(&session, (from, to), known_at).await?;
    // Sorted here, so that the order of the tickers is not left to the server's collation. Of two versions of a day the later
    // one can only have been committed after the earlier one had gone.
    let order = |v: &Version| (v.number.is_none(), v.number);
    versions.sort_unstable_by(|a, b| {
        let days = a.bar.ticker.cmp(&b.bar.ticker).then_with(|| a.bar.date.cmp(&b.bar.date));
        days.then_with(|| order(a).cmp(&order(b)))
    });
    versions.dedup_by(|b, a| (&a.bar.ticker, a.bar.date) == (&b.bar.ticker, b.bar.date));
    Ok(versions.map(|versions| versions.into_iter().map(|version| version.bar).collect()))
}

fn known() -> String {
    let (columns, bars) = (walk::COLUMNS, walk::rising("*", "$1", "$2", "$3"));
    format!(
        "
    SELECT * FROM (SELECT {columns}, replaced_at, removed_by IS NOT NULL AS is_counted, number
    FROM price_revisions WHERE ticker = $1 AND date >= $2 AND date < $3
    UNION ALL
    SELECT {columns}, NULL, TRUE, NULL FROM ({bars}) AS bar) AS known
    ORDER BY is_counted, CASE WHEN is_counted THEN NULL ELSE replaced_at END, number NULLS LAST"
    )
}

pub(crate) async fn of_day(
    session: &Session,
    ticker: &Ticker,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Listed<PriceRevision>> {
    let statement = diesel::sql_query(known())
        .bind::<Text, _>(ticker)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(to);
    session.fetch_list(statement).await
}

pub(crate) async fn sweep(session: &Session, limit: u32, age: Duration) -> Result<SweepReport> {
    let statement = diesel::sql_query(format!(
        "
    WITH doomed AS MATERIALIZED (
        SELECT number FROM price_revisions
        WHERE replaced_at < now() - $1::INTERVAL
        ORDER BY replaced_at LIMIT {limit} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM price_revisions AS revision USING doomed
    WHERE revision.number = doomed.number"
    ));
    let statement = statement.bind::<Interval, _>(span::age(age));
    let swept = SweepReport::new(session.execute(statement).await?, limit);
    knowledge::sweep(session, limit, age).await?;
    Ok(swept)
}
