//! A digest of a ticker's bars, computed in SQL.

use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Text};

use crate::connection::Session;
use crate::error::Result;
use crate::models::BarsDigest;
use crate::types::Ticker;

/// An aggregate over rows of `price_history`, there named `bar`: in any order, of all that is
/// delivered. The text of a row is hashed because the hash of a record reduces dates and volumes to
/// 32 bits. No part of it depends on settings, and equal numbers have one spelling. No two bars of a
/// ticker are equal, so that none cancel each other out.
macro_rules! bars_digest {
    () => {
        "COALESCE(bit_xor(hashtextextended(ROW(extract(epoch FROM bar.date), \
         trim_scale(bar.open_price), trim_scale(bar.high_price), trim_scale(bar.low_price), \
         trim_scale(bar.close_price), bar.volume, trim_scale(bar.adjusted_close), \
         bar.data_source, bar.is_suspect)::TEXT COLLATE \"C\", 0)), 0)"
    };
}
pub(in crate::repositories) use bars_digest;

const DIGEST: &str =
    concat!("SELECT ", bars_digest!(), " AS digest FROM price_history bar WHERE bar.ticker = $1");

#[derive(QueryableByName)]
struct Digest {
    #[diesel(sql_type = BigInt)]
    digest: i64,
}

pub(super) async fn of(session: &Session, ticker: &Ticker) -> Result<BarsDigest> {
    let statement = diesel::sql_query(DIGEST).bind::<Text, _>(ticker);
    let Digest { digest } = session.fetch_one(statement).await?;
    Ok(BarsDigest { ticker: ticker.clone(), digest })
}
