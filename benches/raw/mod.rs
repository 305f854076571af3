//! The peers: what one would write by hand for the same tables.

use std::sync::Mutex;

use buffetbot_db::{CacheKey, Document, NewPriceBar};
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::SinkExt;
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Json;
use tokio_postgres::{Client, Error, NoTls, Statement};
use uuid::Uuid;

/// A bcrypt hash.
pub const HASH: &str = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";

/// A provider's overview of a company.
#[derive(Serialize, Deserialize)]
pub struct CompanyInfo {
    pub name: String,
    pub employees: u64,
    pub figures: Vec<Figure>,
}

/// One of its figures.
#[derive(Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
}

/// tokio-postgres with statements prepared once.
pub struct Raw {
    client: Client,
    get: Statement,
    put: Statement,
    rename: Statement,
    range: Statement,
}

const GET: &str = "SELECT id, ticker, data_type, data, data_source, data_quality_score, cached_at,
        expires_at, parameters
    FROM market_data_cache
    WHERE ticker = $1 AND data_type = $2 AND parameters_key = cache_parameters_key($3)
        AND expires_at > now()";

const PUT: &str = "INSERT INTO market_data_cache
        (id, ticker, data_type, data, data_source, cached_at, expires_at, parameters)
    VALUES ($1, $2, $3, $4, 'bench', now(), now() + interval '1 day', $5)
    ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET
        data = excluded.data, data_source = excluded.data_source,
        cached_at = excluded.cached_at, expires_at = excluded.expires_at
    RETURNING id, cached_at, expires_at";

const RENAME: &str = "UPDATE users SET first_name = $2 WHERE id = $1
    RETURNING id, email, username, hashed_password, is_active, is_verified, first_name, last_name,
        preferences, created_at, updated_at, last_login_at";

const RANGE: &str =
    "SELECT id, ticker, date, open_price, high_price, low_price, close_price, volume,
        adjusted_close, data_source, created_at, is_suspect
    FROM price_history WHERE ticker = $1 AND date BETWEEN '1990-01-01' AND '2100-01-01'
    ORDER BY date";

/// A cached document and what is stored with it.
#[expect(dead_code, reason = "decoding the whole row is what is measured")]
pub struct Entry<T> {
    id: Uuid,
    ticker: String,
    data_type: String,
    data: T,
    source: Option<String>,
    quality: Option<Decimal>,
    cached_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    parameters: Option<String>,
}

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

/// A document as JSONB carries it: a version byte and the text.
#[derive(Debug)]
struct Text<'a>(&'a str);

impl tokio_postgres::types::ToSql for Text<'_> {
    fn to_sql(
        &self,
        _: &tokio_postgres::types::Type,
        out: &mut BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_u8(1);
        out.put_slice(self.0.as_bytes());
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(ty: &tokio_postgres::types::Type) -> bool {
        *ty == tokio_postgres::types::Type::JSONB
    }

    tokio_postgres::types::to_sql_checked!();
}

struct OwnedText(String);

impl<'a> tokio_postgres::types::FromSql<'a> for OwnedText {
    fn from_sql(
        _: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(OwnedText(std::str::from_utf8(&raw[1..])?.to_owned()))
    }

    fn accepts(ty: &tokio_postgres::types::Type) -> bool {
        *ty == tokio_postgres::types::Type::JSONB
    }
}

impl Raw {
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Raw {
            get: client.prepare(GET).await?,
            put: client.prepare(PUT).await?,
            rename: client.prepare(RENAME).await?,
            range: client.prepare(RANGE).await?,
            client,
        })
    }

    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    pub async fn get<T: DeserializeOwned>(&self, key: &CacheKey) -> Entry<T> {
        let parameters = key.parameters.as_ref().map(|p| Text(p.as_str()));
        let (ticker, data_type) = (key.ticker.as_str(), key.data_type.as_str());
        let row = self
            .client
            .query_one(&self.get, &[&ticker, &data_type, &parameters])
            .await
            .expect("the entry");
        Entry {
            id: row.get(0),
            ticker: row.get(1),
            data_type: row.get(2),
            data: row.get::<_, Json<T>>(3).0,
            source: row.get(4),
            quality: row.get(5),
            cached_at: row.get(6),
            expires_at: row.get(7),
            parameters: row.get::<_, Option<OwnedText>>(8).map(|text| text.0),
        }
    }

    pub async fn put(&self, key: &CacheKey, document: &Document) -> (Uuid, DateTime<Utc>) {
        let parameters = key.parameters.as_ref().map(|p| Text(p.as_str()));
        let (ticker, data_type) = (key.ticker.as_str(), key.data_type.as_str());
        let (id, document) = (Uuid::now_v7(), Text(document.as_str()));
        let row = self
            .client
            .query_one(&self.put, &[&id, &ticker, &data_type, &document, &parameters])
            .await
            .expect("the entry");
        (row.get(0), row.get(1))
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
            let optional = |price: &Option<buffetbot_db::Price>| {
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
