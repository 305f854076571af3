//! The merge of delivered quotes into the stored ones.

use chrono::{DateTime, Utc};
use diesel::prelude::QueryableByName;
use diesel::sql_types::{Array, BigInt, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::error::Result;
use crate::options::quote::NewOptionQuote;
use crate::postgres::PgConnection;
use crate::store::Written;
use crate::types::OptionQuoteId;

/// Of equal quotes nothing is written. Collation "C" is the order in which the batch was sorted.
const MERGE: &str = r#"
    INSERT INTO options_data AS stored (id, ticker, option_type, strike_price, expiration_date,
        fetch_timestamp, last_price, bid, ask, volume, open_interest, delta, gamma, theta, vega,
        implied_volatility, data_source)
    SELECT id, ticker, option_type, strike_price, expiration_date,
        COALESCE(fetch_timestamp, now()), last_price, bid, ask, volume, open_interest, delta, gamma,
        theta, vega, implied_volatility, data_source
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[], $5::timestamptz[],
        $6::timestamptz[], $7::numeric[], $8::numeric[], $9::numeric[], $10::bigint[], $11::bigint[],
        $12::numeric[], $13::numeric[], $14::numeric[], $15::numeric[], $16::numeric[], $17::text[])
        AS delivered (id, ticker, option_type, strike_price, expiration_date, fetch_timestamp,
            last_price, bid, ask, volume, open_interest, delta, gamma, theta, vega,
            implied_volatility, data_source)
    ORDER BY ticker COLLATE "C", option_type COLLATE "C", strike_price, expiration_date,
        fetch_timestamp
    ON CONFLICT (ticker, option_type, strike_price, expiration_date, fetch_timestamp) DO UPDATE SET
        last_price = excluded.last_price, bid = excluded.bid, ask = excluded.ask,
        volume = excluded.volume, open_interest = excluded.open_interest, delta = excluded.delta,
        gamma = excluded.gamma, theta = excluded.theta, vega = excluded.vega,
        implied_volatility = excluded.implied_volatility, data_source = excluded.data_source
    WHERE (stored.last_price, stored.bid, stored.ask, stored.volume, stored.open_interest,
            stored.delta, stored.gamma, stored.theta, stored.vega, stored.implied_volatility,
            stored.data_source)
        IS DISTINCT FROM (excluded.last_price, excluded.bid, excluded.ask, excluded.volume,
            excluded.open_interest, excluded.delta, excluded.gamma, excluded.theta, excluded.vega,
            excluded.implied_volatility, excluded.data_source)
    RETURNING id"#;

#[derive(QueryableByName)]
struct Returned {
    #[diesel(sql_type = SqlUuid)]
    id: OptionQuoteId,
}

/// Merges `quotes`, which are in the order of their keys and have no key twice, in one statement.
/// `fetched_at` is the time of those that have none; without it, that of the transaction.
pub(super) fn merge<'a>(
    connection: &'a PgConnection,
    quotes: &'a [&NewOptionQuote],
    fetched_at: Option<DateTime<Utc>>,
) -> BoxFuture<'a, Result<Written>> {
    async move {
        let column = Columns(quotes);
        let ids: Vec<OptionQuoteId> = quotes.iter().map(|_| OptionQuoteId::generate()).collect();
        let times = quotes.iter().map(|quote| quote.fetched_at.or(fetched_at).map(super::stored));
        let statement = diesel::sql_query(MERGE)
            .bind::<Array<SqlUuid>, _>(&ids)
            .bind::<Array<Text>, _>(column.of(|quote| &quote.ticker))
            .bind::<Array<Text>, _>(column.of(|quote| &quote.option_type))
            .bind::<Array<Numeric>, _>(column.of(|quote| &quote.strike))
            .bind::<Array<Timestamptz>, _>(column.of(|quote| &quote.expiration))
            .bind::<Array<Nullable<Timestamptz>>, _>(times.collect::<Vec<_>>())
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.last))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.bid))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.ask))
            .bind::<Array<Nullable<BigInt>>, _>(column.of(|quote| &quote.volume))
            .bind::<Array<Nullable<BigInt>>, _>(column.of(|quote| &quote.open_interest))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.delta))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.gamma))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.theta))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.vega))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|quote| &quote.implied_volatility))
            .bind::<Array<Text>, _>(column.of(|quote| &*quote.data_source));
        let returned: Vec<Returned> = connection.write_all(statement).await?;
        Ok(Written::of(&ids, returned.into_iter().map(|row| row.id.into())))
    }
    .boxed()
}

/// The quotes, column by column.
struct Columns<'a>(&'a [&'a NewOptionQuote]);

impl<'a> Columns<'a> {
    fn of<T: ?Sized>(&self, field: impl Fn(&'a NewOptionQuote) -> &'a T) -> Vec<&'a T> {
        self.0.iter().map(|quote| field(quote)).collect()
    }
}
