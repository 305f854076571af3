//! How much the cache holds, computed in SQL.

use diesel::prelude::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::error::Result;
use crate::market_cache::key::{CacheSize, CacheStatistics, TickerSize, TypeSize};
use crate::store::Session;
use crate::types::{DataType, Listed, Ticker};

/// One scan, then sums over its groups. `pg_column_size` reads the stored size and not the document.
/// Rows: one with neither name for the total, one per type, one per top ticker.
const STATISTICS: &str = r#"
    WITH cells AS MATERIALIZED (
        SELECT ticker, data_type, count(*) AS entries,
            count(*) FILTER (WHERE expires_at > now()) AS live,
            sum(pg_column_size(data)) AS bytes
        FROM market_data_cache GROUP BY ticker, data_type
    )
    SELECT NULL AS ticker, NULL AS data_type, COALESCE(sum(entries), 0)::BIGINT AS entries,
        COALESCE(sum(live), 0)::BIGINT AS live, COALESCE(sum(bytes), 0)::BIGINT AS bytes
    FROM cells
    UNION ALL (
        SELECT NULL, data_type, sum(entries)::BIGINT, sum(live)::BIGINT, sum(bytes)::BIGINT
        FROM cells GROUP BY data_type ORDER BY data_type COLLATE "C"
    )
    UNION ALL (
        SELECT ticker, NULL, sum(entries)::BIGINT, sum(live)::BIGINT, sum(bytes)::BIGINT AS bytes
        FROM cells GROUP BY ticker ORDER BY bytes DESC, ticker COLLATE "C" LIMIT $1
    )"#;

const OF_TICKER: &str = "
    SELECT count(*) AS entries, count(*) FILTER (WHERE expires_at > now()) AS live,
        COALESCE(sum(pg_column_size(data)), 0)::BIGINT AS bytes
    FROM market_data_cache WHERE ticker = $1";

#[derive(QueryableByName)]
struct Sum {
    #[diesel(sql_type = Nullable<Text>)]
    ticker: Option<Ticker>,
    #[diesel(sql_type = Nullable<Text>)]
    data_type: Option<DataType>,
    #[diesel(embed)]
    size: CacheSize,
}

pub(super) async fn all(session: &Session, top: u32) -> Result<CacheStatistics> {
    let statement = diesel::sql_query(STATISTICS).bind::<BigInt, _>(i64::from(top));
    let sums: Listed<Sum> = session.fetch_list(statement).await?;
    let mut statistics = CacheStatistics { unreadable: sums.unreadable, ..Default::default() };
    for Sum { ticker, data_type, size } in sums.items {
        match (ticker, data_type) {
            (Some(ticker), _) => statistics.top_tickers.push(TickerSize { ticker, size }),
            (None, Some(data_type)) => statistics.by_type.push(TypeSize { data_type, size }),
            (None, None) => statistics.total = size,
        }
    }
    Ok(statistics)
}

pub(super) async fn of_ticker(session: &Session, ticker: &Ticker) -> Result<CacheSize> {
    session.fetch_one(diesel::sql_query(OF_TICKER).bind::<Text, _>(ticker)).await
}
