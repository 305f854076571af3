//! Cached documents, and what one would write by hand for their table.

use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::types::{DataType, Document, Ticker};
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Json;
use tokio_postgres::{Client, Error, NoTls, Statement};
use uuid::Uuid;

/// Entries in the cache, of about 3 kB each.
pub const ENTRIES: usize = 2_000;

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

/// A document of about 3 kB, like a provider's company overview.
pub fn company(i: usize) -> CompanyInfo {
    let values = (0..60).map(|n| Figure {
        name: format!("figure_{n:02}_of_the_company"),
        value: (i * 60 + n) as f64 / 7.0,
    });
    CompanyInfo {
        name: format!("Company {i}"),
        employees: i as u64 * 17,
        figures: values.collect(),
    }
}

/// The key of the `i`th of them.
pub fn key(i: usize) -> CacheKey {
    let ticker = Ticker::new(&format!("T{}", i % ENTRIES)).expect("a ticker");
    let key = CacheKey::new(&ticker, DataType::FUNDAMENTALS);
    key.params(serde_json::json!({"period": "1y"})).expect("parameters")
}

/// tokio-postgres with the statements for documents prepared once.
pub struct RawCache {
    client: Client,
    get: Statement,
    put: Statement,
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

/// A connection that is driven by a task of its own.
pub async fn client(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl RawCache {
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let client = client(url).await?;
        let (get, put) = (client.prepare(GET).await?, client.prepare(PUT).await?);
        Ok(RawCache { client, get, put })
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
}
