//! Bars as Arrow record batches.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder, Float64Builder,
    Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::NaiveDate;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};

use super::columns;
use super::columns::{Wanted, corrupt, days, fixed, flag, micros};
use crate::error::{Error, Result, Unreadable};
use crate::postgres::{PgConnection, Sender, channel_stream};
use crate::store::{CopiedRow, Session};
use crate::types::{Ticker, numeric};

/// How exact decimals become Arrow values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decimals {
    /// `Decimal128(20, 10)`: exactly as stored.
    #[default]
    Decimal128,
    /// The nearest `Float64`, for computations.
    Float64,
}

/// How bars become record batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArrowOptions {
    /// What prices are.
    pub decimals: Decimals,
    /// Most rows of a batch; all have so many but the last, and that before a row that cannot be read. 0 is taken as 1.
    pub batch_rows: usize,
    /// Whether rows come by ticker and day, rather than as the server reads them fastest.
    pub ordered: bool,
}

impl Default for ArrowOptions {
    fn default() -> Self {
        ArrowOptions { decimals: Decimals::default(), batch_rows: 1 << 16, ordered: true }
    }
}

impl ArrowOptions {
    /// Exact decimals, 65,536 rows a batch, in order.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these decimals.
    pub fn decimals(self, decimals: Decimals) -> Self {
        ArrowOptions { decimals, ..self }
    }

    /// With at most so many rows a batch.
    pub fn batch_rows(self, batch_rows: usize) -> Self {
        ArrowOptions { batch_rows, ..self }
    }

    /// With rows in whatever order: of a large part of the table, at about the speed of reading the table
    /// from end to end.
    pub fn unordered(self) -> Self {
        ArrowOptions { ordered: false, ..self }
    }
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Text,
    /// The UTC date of a time.
    Day,
    Time,
    Price,
    Count,
    Flag,
    Id,
}

/// A column of the table and what it is called in a batch.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub stored: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
}

const fn some(stored: &'static str, name: &'static str, kind: Kind) -> Column {
    Column { stored, name, kind, nullable: false }
}

const fn maybe(stored: &'static str, name: &'static str, kind: Kind) -> Column {
    Column { stored, name, kind, nullable: true }
}

const BARS: [Column; 10] = [
    some("ticker", "ticker", Kind::Text),
    some("date", "date", Kind::Day),
    maybe("open_price", "open", Kind::Price),
    maybe("high_price", "high", Kind::Price),
    maybe("low_price", "low", Kind::Price),
    some("close_price", "close", Kind::Price),
    maybe("volume", "volume", Kind::Count),
    maybe("adjusted_close", "adjusted_close", Kind::Price),
    maybe("data_source", "data_source", Kind::Text),
    some("is_suspect", "is_suspect", Kind::Flag),
];

/// Everything of a row, by the names of the table: what an archive restores is what was stored.
pub(crate) const ARCHIVED: [Column; 13] = [
    some("id", "id", Kind::Id),
    some("ticker", "ticker", Kind::Text),
    some("date", "date", Kind::Time),
    maybe("open_price", "open_price", Kind::Price),
    maybe("high_price", "high_price", Kind::Price),
    maybe("low_price", "low_price", Kind::Price),
    some("close_price", "close_price", Kind::Price),
    maybe("volume", "volume", Kind::Count),
    maybe("adjusted_close", "adjusted_close", Kind::Price),
    maybe("data_source", "data_source", Kind::Text),
    some("is_suspect", "is_suspect", Kind::Flag),
    some("created_at", "created_at", Kind::Time),
    maybe("corrected_at", "corrected_at", Kind::Time),
];

const PRECISION: u8 = 20;
const SCALE: u8 = 10;
const ID_BYTES: i32 = 16;
/// Above what the declared precision can hold.
const TOO_LARGE: u128 = 10u128.pow(PRECISION as u32);

/// The schema of [`record_batches`](crate::RepositorySet::record_batches):
///
/// | column | type | what |
/// |---|---|---|
/// | `ticker` | `Utf8` | the security; plain text, which compares and joins across batches and files |
/// | `date` | `Date32` | the exchange's date; a day has no time zone to be shifted by |
/// | `open`, `high`, `low` | as asked for, nullable | prices in the currency of the quote |
/// | `close` | as asked for | the last price |
/// | `volume` | `Int64`, nullable | units traded |
/// | `adjusted_close` | as asked for, nullable | the provider's, as of delivery; not kept up to date |
/// | `data_source` | `Utf8`, nullable | the provider |
/// | `is_suspect` | `Boolean` | whether the bar should not be trusted |
///
/// Prices are `Decimal128(20, 10)` or `Float64`. Null: not delivered.
pub fn bars_schema(decimals: Decimals) -> SchemaRef {
    schema(&BARS, decimals)
}

/// The schema of archives: every column of `price_history` by its name there. `id` is
/// `FixedSizeBinary(16)`, times (`date`, `created_at`, `corrected_at`) are
/// `Timestamp(Microsecond, "UTC")`, prices `Decimal128(20, 10)`; the others are as in [`bars_schema`].
pub fn archive_schema() -> SchemaRef {
    schema(&ARCHIVED, Decimals::Decimal128)
}

fn schema(columns: &[Column], decimals: Decimals) -> SchemaRef {
    let field = |column: &Column| {
        let data_type = match (column.kind, decimals) {
            (Kind::Text, _) => DataType::Utf8,
            (Kind::Day, _) => DataType::Date32,
            (Kind::Time, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            (Kind::Price, Decimals::Decimal128) => {
                DataType::Decimal128(PRECISION, SCALE.cast_signed())
            }
            (Kind::Price, Decimals::Float64) => DataType::Float64,
            (Kind::Count, _) => DataType::Int64,
            (Kind::Flag, _) => DataType::Boolean,
            (Kind::Id, _) => DataType::FixedSizeBinary(ID_BYTES),
        };
        Field::new(column.name, data_type, column.nullable)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A column that is being filled.
enum Builder {
    Text(StringBuilder),
    Day(Date32Builder),
    Time(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder),
    Float(Float64Builder),
    Count(Int64Builder),
    Flag(BooleanBuilder),
    Id(FixedSizeBinaryBuilder),
}

/// The same call on whichever builder it is.
macro_rules! each_builder {
    ($builder:expr, $it:ident => $call:expr) => {
        match $builder {
            Builder::Text($it) => $call,
            Builder::Day($it) => $call,
            Builder::Time($it) => $call,
            Builder::Decimal($it) => $call,
            Builder::Float($it) => $call,
            Builder::Count($it) => $call,
            Builder::Flag($it) => $call,
            Builder::Id($it) => $call,
        }
    };
}

impl Builder {
    fn new(kind: Kind, decimals: Decimals) -> Self {
        match (kind, decimals) {
            (Kind::Text, _) => Builder::Text(StringBuilder::new()),
            (Kind::Day, _) => Builder::Day(Date32Builder::new()),
            (Kind::Time, _) => {
                Builder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            (Kind::Price, Decimals::Decimal128) => {
                let exact = DataType::Decimal128(PRECISION, SCALE.cast_signed());
                Builder::Decimal(Decimal128Builder::new().with_data_type(exact))
            }
            (Kind::Price, Decimals::Float64) => Builder::Float(Float64Builder::new()),
            (Kind::Count, _) => Builder::Count(Int64Builder::new()),
            (Kind::Flag, _) => Builder::Flag(BooleanBuilder::new()),
            (Kind::Id, _) => Builder::Id(FixedSizeBinaryBuilder::new(ID_BYTES)),
        }
    }

    /// Appends a field as the server sent it.
    fn append(&mut self, column: &Column, field: Option<&[u8]>) -> Result<()> {
        let bad = || corrupt(column.stored, "cannot be decoded");
        let Some(bytes) = field else {
            if !column.nullable {
                return Err(corrupt(column.stored, "is NULL"));
            }
            each_builder!(self, it => it.append_null());
            return Ok(());
        };
        match self {
            Builder::Text(it) => it.append_value(std::str::from_utf8(bytes).map_err(|_| bad())?),
            Builder::Day(it) => {
                it.append_value(i32::try_from(days(micros(field)?)).map_err(|_| bad())?);
            }
            Builder::Time(it) => it.append_value(micros(field)?),
            Builder::Decimal(it) => {
                let value = numeric::decode_scaled(bytes, SCALE).ok_or_else(bad)?;
                // The column cannot hold such a value.
                if value.unsigned_abs() >= TOO_LARGE {
                    return Err(bad());
                }
                it.append_value(value);
            }
            Builder::Float(it) => it.append_value(numeric::decode_f64(bytes).ok_or_else(bad)?),
            Builder::Count(it) => {
                it.append_value(i64::from_be_bytes(fixed(column.stored, bytes)?));
            }
            Builder::Flag(it) => it.append_value(flag(column.stored, bytes)?),
            Builder::Id(it) => it.append_value(bytes).map_err(|_| bad())?,
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        each_builder!(self, it => Arc::new(it.finish()))
    }
}

/// Rows on their way into batches.
struct Batcher {
    columns: &'static [Column],
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
    batch_rows: usize,
}

impl Batcher {
    fn new(columns: &'static [Column], options: ArrowOptions) -> Self {
        Batcher {
            columns,
            schema: schema(columns, options.decimals),
            builders: columns.iter().map(|c| Builder::new(c.kind, options.decimals)).collect(),
            rows: 0,
            batch_rows: options.batch_rows.max(1),
        }
    }

    fn push(&mut self, row: &mut CopiedRow<'_>) -> Result<Option<RecordBatch>> {
        for (builder, column) in self.builders.iter_mut().zip(self.columns) {
            builder.append(column, row.field()?)?;
        }
        self.rows += 1;
        if self.rows < self.batch_rows { Ok(None) } else { self.take() }
    }

    /// What has come together, if anything. Of a row that could not be pushed, some columns have a value: it is cut off.
    fn take(&mut self) -> Result<Option<RecordBatch>> {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.builders.iter_mut().map(|builder| builder.finish().slice(0, rows));
        let arrays: Vec<ArrayRef> = arrays.collect();
        if rows == 0 {
            return Ok(None);
        }
        let batch = RecordBatch::try_new(self.schema.clone(), arrays);
        batch.map(Some).map_err(|e| corrupt("?", &e.to_string()))
    }
}

/// Runs a binary COPY out of these columns and sends the batches. A row that cannot be read ends its batch and is
/// sent as an error, in its place; the next row begins another one.
async fn send(
    connection: &PgConnection,
    statement: &str,
    mut batcher: Batcher,
    sender: &Sender<Result<RecordBatch>>,
) -> Result<()> {
    let mut rows = connection.copied_rows(statement, batcher.columns.len() as u16).await?;
    // Every piece may complete several rows, and so several batches.
    let mut full = Vec::new();
    while rows
        .next(|mut row| {
            let mut key = row.clone();
            match batcher.push(&mut row) {
                Ok(batch) => full.extend(batch.map(Ok)),
                Err(error) => {
                    let unreadable = of_bar(error, batcher.columns, &mut key)?;
                    unreadable.warn();
                    full.extend(batcher.take()?.map(Ok));
                    full.push(Err(unreadable.into()));
                }
            }
            Ok(())
        })
        .await?
    {
        for batch in full.drain(..) {
            sender.send(batch).await;
        }
    }
    if let Some(batch) = batcher.take()? {
        sender.send(Ok(batch)).await;
    }
    Ok(())
}

/// What is wrong with a bar of these columns, which include the ticker and, next to it, the date.
fn of_bar(error: Error, columns: &[Column], row: &mut CopiedRow<'_>) -> Result<Unreadable> {
    for column in columns {
        let field = row.field()?.unwrap_or_default();
        if column.stored == "ticker" {
            return columns::of_bar(error, field, row.clone());
        }
    }
    Err(error)
}

pub(crate) fn record_batches(
    session: Session,
    tickers: &[Ticker],
    from: NaiveDate,
    to: NaiveDate,
    options: ArrowOptions,
) -> BoxStream<'static, Result<RecordBatch>> {
    let stored: Vec<&str> = BARS[1..].iter().map(|column| column.stored).collect();
    let Some(wanted) = Wanted::of(tickers, from, to) else {
        return stream::empty().boxed();
    };
    let columns = stored.join(", ");
    let statement = match options.ordered {
        true => wanted.by_ticker_and_day(&columns),
        false => wanted.in_any_order(&columns),
    };
    channel_stream(move |sender| {
        async move {
            let sent = async {
                let reading = session.reading().await?;
                send(&reading, &statement, Batcher::new(&BARS, options), &sender).await?;
                reading.end().await
            };
            session.settled(sent.await).await
        }
        .boxed()
    })
    .map(Result::flatten)
    .boxed()
}

/// Everything in a table with the columns of `price_history` (or a partition of it), of the schema
/// [`archive_schema`]: by ticker in byte order, then by rising day.
///
/// `table` becomes part of the statement: a trusted identifier, quoted where it must be.
pub(crate) fn archive_batches<'a>(
    connection: &'a PgConnection,
    table: &str,
) -> BoxStream<'a, Result<RecordBatch>> {
    let stored: Vec<&str> = ARCHIVED.iter().map(|column| column.stored).collect();
    let statement = format!(
        "COPY (SELECT {} FROM {table} ORDER BY ticker COLLATE \"C\", date) TO STDOUT (FORMAT binary)",
        stored.join(", ")
    );
    channel_stream(move |sender| {
        async move {
            let batcher = Batcher::new(&ARCHIVED, ArrowOptions::new());
            send(connection, &statement, batcher, &sender).await
        }
        .boxed()
    })
    .map(Result::flatten)
    .boxed()
}

/// Copies a batch of [`archive_schema`] into a table; returns how many rows were stored. Several
/// batches take effect together within a transaction of the caller's.
///
/// `table` becomes part of the statement, as in [`archive_batches`].
///
/// # Errors
/// [`Error::Invalid`] of another schema; those of the database.
pub(crate) async fn restore_batch(
    connection: &PgConnection,
    table: &str,
    batch: &RecordBatch,
) -> Result<u64> {
    if batch.schema() != archive_schema() {
        return Err(Error::invalid("batch", "has another schema than archives have"));
    }
    let stored: Vec<&str> = ARCHIVED.iter().map(|column| column.stored).collect();
    let statement = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", stored.join(", "));
    let readers = super::values::Values::of_batch(batch)?;
    connection
        .copy_rows_in(&statement, ARCHIVED.len() as i16, 0..batch.num_rows(), |row, out| {
            for values in &readers {
                values.encode(row, out);
            }
        })
        .await
}
