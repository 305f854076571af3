//! The merge of delivered actions into the stored ones.

use diesel::prelude::QueryableByName;
use diesel::sql_types::{Array, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::action::{ActionValues, NewCorporateAction};
use crate::error::Result;
use crate::postgres::PgConnection;
use crate::store::Written;
use crate::types::CorporateActionId;

/// Of equal actions nothing is written. Collation "C" is the order in which the batch was sorted.
const MERGE: &str = r#"
    INSERT INTO corporate_actions AS stored
        (id, ticker, ex_date, action_type, split_from, split_to, amount, data_source)
    SELECT id, ticker, ex_date, action_type, split_from, split_to, amount, data_source
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::numeric[], $6::numeric[],
        $7::numeric[], $8::text[])
        AS delivered (id, ticker, ex_date, action_type, split_from, split_to, amount, data_source)
    ORDER BY ticker COLLATE "C", ex_date, action_type COLLATE "C"
    ON CONFLICT (ticker, ex_date, action_type) DO UPDATE SET
        split_from = excluded.split_from, split_to = excluded.split_to, amount = excluded.amount,
        data_source = excluded.data_source
    WHERE (stored.split_from, stored.split_to, stored.amount, stored.data_source)
        IS DISTINCT FROM
            (excluded.split_from, excluded.split_to, excluded.amount, excluded.data_source)
    RETURNING id"#;

#[derive(QueryableByName)]
struct Returned {
    #[diesel(sql_type = SqlUuid)]
    id: CorporateActionId,
}

/// Merges `actions`, which are in the order of their keys and have no key twice, in one statement.
pub(super) fn merge<'a>(
    connection: &'a PgConnection,
    actions: &'a [&NewCorporateAction],
) -> BoxFuture<'a, Result<Written>> {
    async move {
        let ids: Vec<CorporateActionId> =
            actions.iter().map(|_| CorporateActionId::generate()).collect();
        let tickers: Vec<_> = actions.iter().map(|action| &action.ticker).collect();
        let dates: Vec<_> = actions.iter().map(|action| &action.ex_date).collect();
        let sources: Vec<_> = actions.iter().map(|action| &*action.data_source).collect();
        let types: Vec<_> = actions.iter().map(|action| action.kind.action_type()).collect();
        let values: Vec<_> = actions.iter().map(|a| ActionValues::from(&a.kind)).collect();
        let (mut from, mut to, mut amounts) = (Vec::new(), Vec::new(), Vec::new());
        for value in &values {
            let numbers = value.numbers();
            from.push(numbers.0);
            to.push(numbers.1);
            amounts.push(numbers.2);
        }
        let statement = diesel::sql_query(MERGE)
            .bind::<Array<SqlUuid>, _>(&ids)
            .bind::<Array<Text>, _>(tickers)
            .bind::<Array<Timestamptz>, _>(dates)
            .bind::<Array<Text>, _>(types)
            .bind::<Array<Nullable<Numeric>>, _>(from)
            .bind::<Array<Nullable<Numeric>>, _>(to)
            .bind::<Array<Nullable<Numeric>>, _>(amounts)
            .bind::<Array<Text>, _>(sources);
        let returned: Vec<Returned> = connection.write_all(statement).await?;
        Ok(Written::of(&ids, returned.into_iter().map(|row| row.id.into())))
    }
    .boxed()
}
