//! The peers: what one would write by hand for the same tables.

pub mod documents;

use std::sync::Mutex;

use buffetbot_db::prices::NewPriceBar;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::SinkExt;
use rust_decimal::Decimal;
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

/// A bcrypt hash.
pub const HASH: &str = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";

/// tokio-postgres with statements prepared once.
pub struct Raw {
    client: Client,
    rename: Statement,
    range: Statement,
}

const RENAME: &str = "UPDATE users SET first_name = $2 WHERE id = $1
    RETURNING id, email, username, hashed_password, is_active, is_verified, first_name, last_name,
        preferences, created_at, updated_at, last_login_at";

const RANGE: &str =
    "SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume,
        adjusted_close, data_source, created_at, is_suspect
    FROM price_history WHERE ticker = $1 AND date BETWEEN '1990-01-01' AND '2100-01-01'
    ORDER BY date";

/// A stored bar.
#[expect(dead_code, reason = "decoding the whole row is what is measured")]
pub struct Bar {
    id: Uuid,
    ticker: String,
    date: DateTime<Utc>,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    close: Decimal,
    volume: Option<i64>,
    adjusted_close: Option<Decimal>,
    source: Option<String>,
    created_at: DateTime<Utc>,
    is_suspect: bool,
}

/// A stored user.
#[expect(dead_code, reason = "decoding the whole row is what is measured")]
pub struct User {
    id: Uuid,
    email: String,
    username: Option<String>,
    hashed_password: String,
    is_active: bool,
    is_verified: bool,
    first_name: Option<String>,
    last_name: Option<String>,
    preferences: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    last_login_at: Option<DateTime<Utc>>,
}

impl Raw {
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let client = documents::client(url).await?;
        Ok(Raw {
            rename: client.prepare(RENAME).await?,
            range: client.prepare(RANGE).await?,
            client,
        })
    }

    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    pub async fn rename(&self, id: Uuid, name: &str) -> User {
        let row = self.client.query_one(&self.rename, &[&id, &name]).await.expect("the user");
        User {
            id: row.get(0),
            email: row.get(1),
            username: row.get(2),
            hashed_password: row.get(3),
            is_active: row.get(4),
            is_verified: row.get(5),
            first_name: row.get(6),
            last_name: row.get(7),
            preferences: row.get(8),
            created_at: row.get(9),
            updated_at: row.get(10),
            last_login_at: row.get(11),
        }
    }

    pub async fn range(&self, ticker: &str) -> Vec<Bar> {
        let rows = self.client.query(&self.range, &[&ticker]).await.expect("the bars");
        let bar = |row: &tokio_postgres::Row| Bar {
            id: row.get(0),
            ticker: row.get(1),
            date: row.get(2),
            open: row.get(3),
            high: row.get(4),
            low: row.get(5),
            close: row.get(6),
            volume: row.get(7),
            adjusted_close: row.get(8),
            source: row.get(9),
            created_at: row.get(10),
            is_suspect: row.get(11),
        };
        rows.iter().map(bar).collect()
    }

    /// COPY in text form into a staging table, then one INSERT ... SELECT: the usual hand-written way.
    pub async fn copy_and_merge(&self, bars: &[NewPriceBar]) -> u64 {
        let staged =
            "BEGIN; CREATE TEMP TABLE staging (ticker text, date timestamptz, open numeric,
            high numeric, low numeric, close numeric, volume bigint, source text) ON COMMIT DROP";
        self.batch(staged).await.expect("a staging table");
        let sink = self.client.copy_in("COPY staging FROM STDIN").await.expect("COPY");
        let mut sink = std::pin::pin!(sink);
        let mut buffer = BytesMut::with_capacity(1 << 17);
        for bar in bars {
            use std::fmt::Write;
            let optional = |price: &Option<buffetbot_db::types::Price>| {
                price.as_ref().map_or("\\N".to_owned(), |p| p.as_decimal().to_string())
            };
            writeln!(
                buffer,
                "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                bar.ticker,
                bar.date.midnight_utc(),
                optional(&bar.open),
                optional(&bar.high),
                optional(&bar.low),
                bar.close.as_decimal(),
                bar.volume.unwrap_or_default(),
                bar.data_source,
            )
            .expect("a line");
            if buffer.len() > 1 << 16 {
                sink.send(buffer.split().freeze()).await.expect("COPY data");
            }
        }
        sink.send(buffer.freeze()).await.expect("COPY data");
        sink.as_mut().finish().await.expect("COPY");
        let merge = "INSERT INTO price_history AS p
                (ticker, date, open_price, high_price, low_price, close_price, volume, data_source)
            SELECT * FROM staging ORDER BY ticker, date
            ON CONFLICT (ticker, date) DO UPDATE SET
                open_price = excluded.open_price, high_price = excluded.high_price,
                low_price = excluded.low_price, close_price = excluded.close_price,
                volume = excluded.volume, data_source = excluded.data_source
            WHERE (p.open_price, p.high_price, p.low_price, p.close_price, p.volume, p.data_source)
                IS DISTINCT FROM (excluded.open_price, excluded.high_price, excluded.low_price,
                    excluded.close_price, excluded.volume, excluded.data_source)";
        let merged = self.client.execute(merge, &[]).await.expect("merge");
        self.batch("COMMIT").await.expect("commit");
        merged
    }
}

/// diesel-async's own connection and Diesel's multi-row INSERT.
pub struct DieselPeer {
    connection: Mutex<Option<AsyncPgConnection>>,
}

impl DieselPeer {
    pub async fn connect(url: &str) -> diesel::ConnectionResult<Self> {
        let connection = AsyncPgConnection::establish(url).await?;
        Ok(DieselPeer { connection: Mutex::new(Some(connection)) })
    }

    /// Inserts all bars in one transaction, as many rows a statement as the limit of 65,535 binds
    /// allows.
    pub async fn insert(&self, bars: &[NewPriceBar]) -> usize {
        // Within the function: it puts an `execute` on every type.
        use diesel_async::RunQueryDsl;

        use buffetbot_db::schema::price_history::dsl::price_history;
        let taken = self.connection.lock().expect("not poisoned").take();
        let mut connection = taken.expect("not in use");
        let inserted = connection
            .transaction::<usize, diesel::result::Error, _>(async |connection| {
                let mut inserted = 0;
                for chunk in bars.chunks(6_000) {
                    let insert = diesel::insert_into(price_history).values(chunk);
                    inserted += insert.on_conflict_do_nothing().execute(connection).await?;
                }
                Ok(inserted)
            })
            .await
            .expect("insert");
        *self.connection.lock().expect("not poisoned") = Some(connection);
        inserted
    }
}
