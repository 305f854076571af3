//! A digest of a ticker's bars, computed in SQL.

use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Text};

use crate::error::Result;
use crate::prices::bars::BarsDigest;
use crate::store::Session;
use crate::types::Ticker;

#[derive(QueryableByName)]
struct Digest {
    #[diesel(sql_type = BigInt)]
    digest: i64,
}

pub(crate) async fn of(session: &Session, ticker: &Ticker) -> Result<BarsDigest> {
    let statement = diesel::sql_query("SELECT bars_digest($1) AS digest").bind::<Text, _>(ticker);
    let Digest { digest } = session.fetch_one(statement).await?;
    Ok(BarsDigest { ticker: ticker.clone(), digest })
}
