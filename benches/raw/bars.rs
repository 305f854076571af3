//! Writing and reading bars by hand.

use std::path::Path;

use buffetbot_db::prices::{NewPriceBar, PriceBar};
use buffetbot_db::types::Ticker;
use chrono::{DateTime, Utc};
use diesel::{ExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::{TryStreamExt, pin_mut};
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::Mutex;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

/// A bar as one would write it for rust_decimal.
pub struct PlainBar {
    ticker: String,
    date: DateTime<Utc>,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    close: Decimal,
    volume: Option<i64>,
    source: String,
}

/// The same bars in plain types.
pub fn plain(bars: &[NewPriceBar]) -> Vec<PlainBar> {
    let decimal = |price: &buffetbot_db::types::Price| {
        price.to_string().parse::<Decimal>().expect("a decimal")
    };
    let plain = |bar: &NewPriceBar| PlainBar {
        ticker: bar.ticker.to_string(),
        date: bar.date.midnight_utc(),
        open: bar.open.as_ref().map(decimal),
        high: bar.high.as_ref().map(decimal),
        low: bar.low.as_ref().map(decimal),
        close: decimal(&bar.close),
        volume: bar.volume,
        source: bar.data_source.to_string(),
    };
    bars.iter().map(plain).collect()
}

/// tokio-postgres, with ids of version 7 as the repositories make them.
pub struct RawBars {
    client: Client,
    latest: Statement,
}

const COPY: &str = "COPY price_history (id, ticker, date, open_price, high_price, low_price,
    close_price, volume, data_source) FROM STDIN (FORMAT binary)";
const COPY_TYPES: [Type; 9] = [
    Type::UUID,
    Type::VARCHAR,
    Type::TIMESTAMPTZ,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::INT8,
    Type::VARCHAR,
];

const COPY_OUT: &str = "COPY (SELECT ticker, date, open_price, high_price, low_price, close_price,
    volume, adjusted_close, is_suspect FROM price_history) TO STDOUT (FORMAT binary)";

const DISTINCT_ON: &str = "SELECT DISTINCT ON (ticker) id, ticker, date, open_price, high_price,
        low_price, close_price, volume, adjusted_close, data_source, created_at, is_suspect
    FROM price_history WHERE ticker = ANY ($1) ORDER BY ticker, date DESC";

impl RawBars {
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let client = crate::raw::documents::client(url).await?;
        Ok(RawBars { latest: client.prepare(DISTINCT_ON).await?, client })
    }

    /// Brings the table into the state in which a server at work has it.
    pub async fn analyze(&self) -> Result<(), Error> {
        self.client.batch_execute("VACUUM ANALYZE price_history").await
    }

    /// One binary COPY straight into the table.
    pub async fn copy(&self, bars: &[PlainBar]) -> u64 {
        let sink = self.client.copy_in(COPY).await.expect("COPY");
        let writer = BinaryCopyInWriter::new(sink, &COPY_TYPES);
        pin_mut!(writer);
        for bar in bars {
            let id = Uuid::now_v7();
            writer
                .as_mut()
                .write(&[
                    &id,
                    &bar.ticker,
                    &bar.date,
                    &bar.open,
                    &bar.high,
                    &bar.low,
                    &bar.close,
                    &bar.volume,
                    &bar.source,
                ])
                .await
                .expect("a row");
        }
        writer.finish().await.expect("COPY")
    }

    /// All bars in the binary form that the server sends, thrown away; returns how many bytes.
    pub async fn copy_out(&self) -> u64 {
        let pieces = self.client.copy_out(COPY_OUT).await.expect("COPY");
        let sizes = pieces.map_ok(|piece| piece.len() as u64);
        sizes.try_fold(0, async |sum, size| Ok(sum + size)).await.expect("the bars")
    }

    /// The latest bar of each ticker; returns how many.
    pub async fn latest(&self, tickers: &[String]) -> usize {
        let rows = self.client.query(&self.latest, &[&tickers]).await.expect("the latest");
        let close = |row: &tokio_postgres::Row| row.get::<_, Decimal>("close_price");
        rows.iter().map(close).collect::<Vec<_>>().len()
    }
}

/// diesel-async's `load`.
pub struct DieselBars {
    connection: Mutex<AsyncPgConnection>,
}

impl DieselBars {
    pub async fn connect(url: &str) -> diesel::ConnectionResult<Self> {
        Ok(DieselBars { connection: Mutex::new(AsyncPgConnection::establish(url).await?) })
    }

    /// All bars of these tickers as structs, by ticker and day; returns how many.
    pub async fn load(&self, tickers: &[Ticker]) -> usize {
        // Within the function: it puts a `load` on every type.
        use diesel_async::RunQueryDsl;

        use buffetbot_db::schema::price_history::dsl::{date, price_history, ticker};
        let wanted = price_history.filter(ticker.eq_any(tickers)).order((ticker, date));
        let mut connection = self.connection.lock().await;
        wanted.select(PriceBar::as_select()).load(&mut *connection).await.expect("the bars").len()
    }
}

/// sqlx with arrays, as its documentation recommends for many rows.
pub struct Sqlx {
    pool: PgPool,
}

const UNNEST: &str = "INSERT INTO price_history AS p
        (id, ticker, date, open_price, high_price, low_price, close_price, volume, data_source)
    SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[],
        $6::numeric[], $7::numeric[], $8::bigint[], $9::text[])
    ON CONFLICT (ticker, date) DO UPDATE SET
        open_price = excluded.open_price, high_price = excluded.high_price,
        low_price = excluded.low_price, close_price = excluded.close_price,
        volume = excluded.volume, data_source = excluded.data_source";

/// Rows of one statement.
const CHUNK: usize = 20_000;

impl Sqlx {
    /// To the embedded server behind the socket in this directory.
    pub async fn connect(socket: &Path) -> Result<Self, sqlx::Error> {
        let server = PgConnectOptions::new_without_pgpass()
            .socket(socket)
            .username("postgres")
            .database("buffetbot");
        let options = PgPoolOptions::new().max_connections(1);
        Ok(Sqlx { pool: options.connect_with(server).await? })
    }

    /// Upserts all bars in one transaction.
    pub async fn upsert(&self, bars: &[PlainBar]) -> u64 {
        fn of<T>(chunk: &[PlainBar], field: impl Fn(&PlainBar) -> T) -> Vec<T> {
            chunk.iter().map(field).collect()
        }
        let mut transaction = self.pool.begin().await.expect("a transaction");
        let mut written = 0;
        for chunk in bars.chunks(CHUNK) {
            let done = sqlx::query(UNNEST)
                .bind(of(chunk, |_| Uuid::now_v7()))
                .bind(of(chunk, |bar| bar.ticker.clone()))
                .bind(of(chunk, |bar| bar.date))
                .bind(of(chunk, |bar| bar.open))
                .bind(of(chunk, |bar| bar.high))
                .bind(of(chunk, |bar| bar.low))
                .bind(of(chunk, |bar| bar.close))
                .bind(of(chunk, |bar| bar.volume))
                .bind(of(chunk, |bar| bar.source.clone()))
                .execute(&mut *transaction)
                .await
                .expect("upserted");
            written += done.rows_affected();
        }
        transaction.commit().await.expect("committed");
        written
    }
}
