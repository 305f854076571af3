//! Closes that are absurdly far from those beside them.

use std::collections::HashMap;

use bigdecimal::ToPrimitive;
use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Array, Numeric, Text, Timestamptz};

use super::intake::{Intake, Row};
use super::order;
use crate::error::{Error, Result};
use crate::postgres::PgConnection;
use crate::types::{Price, Ticker};

/// One index probe a ticker: the last close before the first day that is delivered.
const BEFORE: &str = "
    SELECT wanted.ticker, bar.close_price
    FROM unnest($1::text[], $2::timestamptz[]) AS wanted (ticker, first)
    CROSS JOIN LATERAL (
        SELECT close_price FROM price_history
        WHERE ticker = wanted.ticker AND date < wanted.first AND NOT is_suspect
        ORDER BY date DESC LIMIT 1
    ) AS bar";

#[derive(QueryableByName)]
struct Before {
    #[diesel(sql_type = Text)]
    ticker: Ticker,
    #[diesel(sql_type = Numeric)]
    close_price: Price,
}

/// The rows without those that jump and are rejected, in the order in which they are stored.
///
/// # Errors
/// `Item`, with [`SuspectPolicy::Fail`](crate::prices::SuspectPolicy::Fail); those of the database.
pub(crate) async fn judge<'a>(
    connection: &PgConnection,
    intake: &mut Intake<'a>,
    mut rows: Vec<Row<'a>>,
) -> Result<Vec<Row<'a>>> {
    let Some(limit) = intake.options.max_jump else {
        return Ok(rows);
    };
    rows.sort_by(|a, b| (&a.bar.ticker, a.bar.date).cmp(&(&b.bar.ticker, b.bar.date)));
    let before = stored(connection, &rows).await?;
    let jumps = absurd(&rows, &before, limit);
    let mut kept = Vec::with_capacity(rows.len());
    for (row, factor) in rows.into_iter().zip(jumps) {
        match factor {
            // A flagged one is kept as it is, whatever its price.
            Some(factor) if !row.bar.is_suspect => {
                let reason = format!("{factor:.4} times the close before");
                kept.extend(intake.suspect(row, Error::invalid("close", reason))?);
            }
            _ => kept.push(row),
        }
    }
    Ok(order::sort(kept))
}

/// The close before the first day of each ticker; `rows` are sorted by ticker and day, here and below.
async fn stored(connection: &PgConnection, rows: &[Row<'_>]) -> Result<HashMap<Ticker, f64>> {
    let firsts = || rows.chunk_by(|a, b| a.bar.ticker == b.bar.ticker).map(|group| &group[0].bar);
    let tickers: Vec<&Ticker> = firsts().map(|bar| &bar.ticker).collect();
    let days: Vec<DateTime<Utc>> = firsts().map(|bar| bar.date.midnight_utc()).collect();
    let statement = diesel::sql_query(BEFORE)
        .bind::<Array<Text>, _>(tickers)
        .bind::<Array<Timestamptz>, _>(days);
    let found: Vec<Before> = connection.fetch_all(statement).await?;
    Ok(found.into_iter().map(|bar| (bar.ticker, float(&bar.close_price))).collect())
}

/// By how much each row jumps, where that is absurd: away from the bar before, and not with the bar
/// after, if there is one.
fn absurd(rows: &[Row<'_>], before: &HashMap<Ticker, f64>, limit: f64) -> Vec<Option<f64>> {
    let is_far = |a: f64, b: f64| a > b * limit || a * limit < b;
    let mut found = Vec::with_capacity(rows.len());
    for group in rows.chunk_by(|a, b| a.bar.ticker == b.bar.ticker) {
        let mut previous = before.get(&group[0].bar.ticker).copied();
        for (i, row) in group.iter().enumerate() {
            let close = float(&row.bar.close);
            let next = group.get(i + 1).map(|next| float(&next.bar.close));
            let is_absurd = previous.is_some_and(|previous| is_far(close, previous))
                && next.is_none_or(|next| is_far(next, close));
            found.push(previous.filter(|_| is_absurd).map(|previous| close / previous));
            if !is_absurd {
                previous = Some(close);
            }
        }
    }
    found
}

/// Near enough for a ratio.
fn float(price: &Price) -> f64 {
    price.as_decimal().to_f64().unwrap_or(f64::NAN)
}
