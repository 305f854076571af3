//! The merge of delivered bars into the stored ones.

use diesel::prelude::QueryableByName;
use diesel::sql_types::{
    Array, BigInt, Bool, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::connection::PgConnection;
use crate::error::Result;
use crate::models::NewPriceBar;
use crate::repositories::merge::Written;
use crate::types::BarId;

/// Of equal bars nothing is written. Collation "C" is the order in which the batch was sorted.
pub(super) const MERGE: &str = r#"
    INSERT INTO price_history AS stored (id, ticker, date, open_price, high_price, low_price,
        close_price, volume, adjusted_close, data_source, is_suspect)
    SELECT id, ticker, date, open_price, high_price, low_price,
        close_price, volume, adjusted_close, data_source, is_suspect
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[],
        $6::numeric[], $7::numeric[], $8::bigint[], $9::numeric[], $10::text[], $11::boolean[])
    AS delivered (id, ticker, date, open_price, high_price, low_price,
        close_price, volume, adjusted_close, data_source, is_suspect)
    ORDER BY ticker COLLATE "C", date
    ON CONFLICT (ticker, date) DO UPDATE SET
        open_price = excluded.open_price, high_price = excluded.high_price,
        low_price = excluded.low_price, close_price = excluded.close_price,
        volume = excluded.volume, adjusted_close = excluded.adjusted_close,
        data_source = excluded.data_source, is_suspect = excluded.is_suspect
    WHERE (stored.open_price, stored.high_price, stored.low_price, stored.close_price,
            stored.volume, stored.adjusted_close, stored.data_source, stored.is_suspect)
        IS DISTINCT FROM (excluded.open_price, excluded.high_price, excluded.low_price,
            excluded.close_price, excluded.volume, excluded.adjusted_close, excluded.data_source,
            excluded.is_suspect)
    RETURNING id"#;

#[derive(QueryableByName)]
struct Returned {
    #[diesel(sql_type = SqlUuid)]
    id: BarId,
}

/// Merges `bars`, which are in the order of their keys and have no key twice, in one statement.
pub(super) fn merge<'a>(
    connection: &'a PgConnection,
    bars: &'a [&NewPriceBar],
) -> BoxFuture<'a, Result<Written>> {
    async move {
        let column = Columns(bars);
        let ids: Vec<BarId> = bars.iter().map(|_| BarId::generate()).collect();
        let statement = diesel::sql_query(MERGE)
            .bind::<Array<SqlUuid>, _>(&ids)
            .bind::<Array<Text>, _>(column.of(|bar| &bar.ticker))
            .bind::<Array<Timestamptz>, _>(column.of(|bar| &bar.date))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|bar| &bar.open))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|bar| &bar.high))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|bar| &bar.low))
            .bind::<Array<Numeric>, _>(column.of(|bar| &bar.close))
            .bind::<Array<Nullable<BigInt>>, _>(column.of(|bar| &bar.volume))
            .bind::<Array<Nullable<Numeric>>, _>(column.of(|bar| &bar.adjusted_close))
            .bind::<Array<Text>, _>(column.of(|bar| &*bar.data_source))
            .bind::<Array<Bool>, _>(column.of(|bar| &bar.is_suspect));
        let returned: Vec<Returned> = connection.fetch_all(statement).await?;
        Ok(Written::of(&ids, returned.into_iter().map(|row| row.id.into())))
    }
    .boxed()
}

/// The bars, column by column.
struct Columns<'a>(&'a [&'a NewPriceBar]);

impl<'a> Columns<'a> {
    fn of<T: ?Sized>(&self, field: impl Fn(&'a NewPriceBar) -> &'a T) -> Vec<&'a T> {
        self.0.iter().map(|bar| field(bar)).collect()
    }
}
