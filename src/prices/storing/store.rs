//! Storing one chunk of judged bars.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use diesel::prelude::QueryableByName;
use diesel::sql_types::{
    Array, BigInt, Bool, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid,
};

use super::intake::Row;
use super::order;
use crate::error::{Error, Result};
use crate::postgres::PgConnection;
use crate::prices::bars::NewPriceBar;
use crate::prices::reading::{micros, statement_of_spans};
use crate::store::{CopiedRow, Written};
use crate::types::{AdjustedPrice, BarId, Price, numeric};

/// Of equal bars nothing is written, nor locked. The stored bar is looked at twice: the condition of DO
/// UPDATE alone would lock each row that it leaves, the other alone would not see what a transaction
/// beside this one has just written.
const MERGE: &str = r#"
    INSERT INTO price_history AS stored (id, ticker, date, open_price, high_price, low_price,
        close_price, volume, adjusted_close, data_source, is_suspect)
    SELECT id, ticker, date, open_price, high_price, low_price,
        close_price, volume, adjusted_close, data_source, is_suspect
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[],
        $6::numeric[], $7::numeric[], $8::bigint[], $9::numeric[], $10::text[], $11::boolean[])
        WITH ORDINALITY
    AS delivered (id, ticker, date, open_price, high_price, low_price,
        close_price, volume, adjusted_close, data_source, is_suspect, place)
    WHERE (
        SELECT (same.open_price, same.high_price, same.low_price, same.close_price, same.volume,
                same.adjusted_close, same.data_source, same.is_suspect)
            IS DISTINCT FROM (delivered.open_price, delivered.high_price, delivered.low_price,
                delivered.close_price, delivered.volume, delivered.adjusted_close,
                delivered.data_source, delivered.is_suspect)
        FROM price_history AS same
        WHERE same.ticker = delivered.ticker AND same.date = delivered.date
    ) IS NOT FALSE
    ORDER BY place
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

const COPY: &str = "COPY price_history (id, ticker, date, open_price, high_price, low_price,
    close_price, volume, adjusted_close, data_source, is_suspect) FROM STDIN (FORMAT binary)";
const COPY_FIELDS: i16 = 11;

/// What is compared, after the ticker.
const COMPARED: &str =
    "date, open_price, high_price, low_price, close_price, volume, adjusted_close,
    data_source, is_suspect";
const COMPARED_FIELDS: u16 = 10;
/// Digits after the point that the price columns have.
const SCALE: u8 = 10;

/// Most days between a ticker's first and last bar of a chunk, per bar, at which the stored ones of the
/// whole span are read: weeks with holidays have 2 days a bar, weekly bars 7.
const DAYS_PER_BAR: i64 = 8;

#[derive(QueryableByName)]
struct Returned {
    #[diesel(sql_type = SqlUuid)]
    id: BarId,
}

/// Stores `rows`, which are in order and have no key twice, in the transaction of the connection.
///
/// # Errors
/// Those of the database.
pub(crate) async fn chunk(connection: &PgConnection, rows: &[Row<'_>]) -> Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let compared = compare(connection, rows).await?;
    if compared.rows.is_empty() {
        return Ok(Written::default());
    }
    if compared.all_new {
        match copy(connection, &compared.rows).await {
            // Somebody else has stored one of them since they were looked for.
            Err(Error::Conflict { .. }) => {}
            result => return result,
        }
    }
    merge(connection, &compared.rows).await
}

/// What is left of a chunk.
struct Compared<'a, 'b> {
    rows: Vec<&'b Row<'a>>,
    /// Whether none of them was stored a moment ago, with whatever values.
    all_new: bool,
}

/// Leaves out bars that are stored as they are. The stored ones are copied out, which is planned again each time:
/// a plan that is kept could be one of a table that was still empty.
async fn compare<'a, 'b>(
    connection: &PgConnection,
    rows: &'b [Row<'a>],
) -> Result<Compared<'a, 'b>> {
    let mut all_new = true;
    let mut spans = Vec::new();
    for group in rows.chunk_by(|a, b| a.bar.ticker == b.bar.ticker) {
        let (first, last) = (&group[0].bar, &group[group.len() - 1].bar);
        let days = (last.date.date() - first.date.date()).num_days();
        if days <= DAYS_PER_BAR * group.len() as i64 {
            spans.push((&first.ticker, first.date, last.date));
        } else {
            // A few bars of a long history: the merge looks for each of them.
            all_new = false;
        }
    }
    let mut left = Vec::with_capacity(rows.len());
    let mut rows = rows.iter().peekable();
    if !spans.is_empty() {
        let statement = statement_of_spans(spans.iter().copied(), COMPARED);
        // Both are in the order of storing: each span within a band, or of one ticker alone.
        let mut each = |mut stored: CopiedRow<'_>| {
            let (ticker, at) = (stored.field()?.unwrap_or_default(), micros(stored.field()?)?);
            let position = order::position(ticker, at);
            let against = |row: &Row<'_>| order::of(&row.bar).cmp(&position);
            while let Some(row) = rows.next_if(|row| against(row) == Ordering::Less) {
                left.push(row);
            }
            if let Some(row) = rows.next_if(|row| against(row) == Ordering::Equal)
                && !equals(&mut stored, &row.bar)?
            {
                all_new = false;
                left.push(row);
            }
            Ok(())
        };
        let mut copied = connection.copied_rows(&statement, COMPARED_FIELDS).await?;
        while copied.next(&mut each).await? {}
    }
    left.extend(rows);
    Ok(Compared { rows: left, all_new })
}

/// Whether the rest of a stored row, after its key, is what was delivered.
fn equals(stored: &mut CopiedRow<'_>, bar: &NewPriceBar) -> Result<bool> {
    let same = |stored: Option<&[u8]>, delivered: Option<&BigDecimal>| match (stored, delivered) {
        (None, None) => true,
        (Some(stored), Some(delivered)) => {
            let stored = numeric::decode_scaled(stored, SCALE);
            stored.is_some() && stored == numeric::scaled(delivered, SCALE)
        }
        _ => false,
    };
    Ok(same(stored.field()?, bar.open.as_ref().map(Price::as_decimal))
        && same(stored.field()?, bar.high.as_ref().map(Price::as_decimal))
        && same(stored.field()?, bar.low.as_ref().map(Price::as_decimal))
        && same(stored.field()?, Some(bar.close.as_decimal()))
        && stored.field()? == bar.volume.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice)
        && same(stored.field()?, bar.adjusted_close.as_ref().map(AdjustedPrice::as_decimal))
        && stored.field()? == Some(bar.data_source.as_bytes())
        && stored.field()? == Some(&[u8::from(bar.is_suspect)]))
}

/// Copies new bars into the table.
///
/// # Errors
/// `Conflict` where one is stored already; nothing was written then, and the transaction continues.
async fn copy(connection: &PgConnection, rows: &[&Row<'_>]) -> Result<Written> {
    connection.batch("SAVEPOINT copied").await?;
    let copied = connection
        .copy_rows_in(COPY, COPY_FIELDS, rows.iter(), |row, out| {
            let bar = &row.bar;
            out.uuid(BarId::generate());
            out.text(bar.ticker.as_str());
            out.timestamp(bar.date.midnight_utc());
            out.numeric(bar.open.as_ref().map(Price::as_decimal));
            out.numeric(bar.high.as_ref().map(Price::as_decimal));
            out.numeric(bar.low.as_ref().map(Price::as_decimal));
            out.numeric(Some(bar.close.as_decimal()));
            out.bigint(bar.volume);
            out.numeric(bar.adjusted_close.as_ref().map(AdjustedPrice::as_decimal));
            out.text(&bar.data_source);
            out.bool(bar.is_suspect);
        })
        .await;
    match copied {
        Ok(inserted) => {
            connection.batch("RELEASE SAVEPOINT copied").await?;
            Ok(Written { inserted, updated: 0 })
        }
        Err(error @ Error::Conflict { .. }) => {
            connection.batch("ROLLBACK TO SAVEPOINT copied; RELEASE SAVEPOINT copied").await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Merges `rows`, which are in order and have no key twice, in one statement.
///
/// # Errors
/// Those of the database.
pub(crate) async fn merge<'a, R>(connection: &PgConnection, rows: &[R]) -> Result<Written>
where
    R: std::borrow::Borrow<Row<'a>>,
{
    let ids: Vec<BarId> = rows.iter().map(|_| BarId::generate()).collect();
    let statement = {
        let column = Columns(rows.iter().map(|row| &*row.borrow().bar).collect());
        diesel::sql_query(MERGE)
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
            .bind::<Array<Bool>, _>(column.of(|bar| &bar.is_suspect))
    };
    let returned: Vec<Returned> = connection.write_all(statement).await?;
    Ok(Written::of(&ids, returned.into_iter().map(|row| row.id.into())))
}

/// The bars, column by column.
struct Columns<'a>(Vec<&'a NewPriceBar>);

impl<'a> Columns<'a> {
    fn of<T: ?Sized>(&self, field: impl Fn(&'a NewPriceBar) -> &'a T) -> Vec<&'a T> {
        self.0.iter().map(|bar| field(bar)).collect()
    }
}
