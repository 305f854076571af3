//! What a program has between itself and its provider: typed documents, asked for through the cache.

use std::net::SocketAddr;
use std::time::Duration;

use buffetbot_db::cache::{BoxError, CacheValue, Cached, Fetched, Policy};
use buffetbot_db::market_cache::{CacheKey, CacheSelector};
use buffetbot_db::types::{DataType, Tag, Ticker};
use buffetbot_db::{Database, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const QUOTE: &str = "quote";

/// A document, and the tag by which the provider knows whether it has changed.
#[derive(Serialize, Deserialize)]
pub struct Tagged<T> {
    pub etag: String,
    pub document: T,
}

/// Alpha Vantage's overview of a company. It writes numbers as text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Overview {
    pub symbol: String,
    pub market_capitalization: String,
    pub latest_quarter: String,
}

/// Alpha Vantage's balance sheets, income and cash-flow statements.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statements {
    pub symbol: String,
    pub annual_reports: Vec<Statement>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    pub fiscal_date_ending: String,
}

/// Yahoo's summary of a share: `quoteSummary.result[0].price`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    pub quote_summary: QuoteSummary,
}

#[derive(Serialize, Deserialize)]
pub struct QuoteSummary {
    pub result: Vec<Modules>,
}

#[derive(Serialize, Deserialize)]
pub struct Modules {
    pub price: Price,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    pub symbol: String,
    pub regular_market_price: f64,
}

/// The provider's documents, through the cache of a database.
#[derive(Clone)]
pub struct Market {
    db: Database,
    client: Client,
    /// For what is published once a quarter.
    filings: Policy,
    /// For what changes all the time.
    quotes: Policy,
    /// Of the filings.
    tag: Tag,
    /// Sets the entries of this run apart from all others.
    run: String,
}

impl Market {
    /// Quotes are fresh for `ttl`; a fetch may take as long as `patience`.
    pub fn new(
        db: Database,
        client: Client,
        run: &str,
        ttl: Duration,
        patience: Duration,
    ) -> Result<Self> {
        let quotes = Policy::ttl(ttl)
            // What was fetched once is served until the provider is back, for up to a minute.
            .stale_for(Duration::from_secs(60))
            .hard_timeout(patience)
            .retry_after(patience / 8)
            .retry_at_most(patience / 4)
            .source("stand-in");
        // All of them can be invalidated together.
        let tag = Tag::new(&format!("filings of {run}"))?;
        let filings = Policy { ttl: Duration::from_secs(3600), ..quotes.clone() }.tag(tag.clone());
        Ok(Market { db, client, filings, quotes, tag, run: run.to_owned() })
    }

    pub async fn overview(&self) -> Result<Cached<Tagged<Overview>>> {
        let key = self.key("IBM", DataType::FUNDAMENTALS)?;
        self.document(&key, &self.filings, "ibm_company_overview").await
    }

    pub async fn statements(&self, kind: DataType) -> Result<Cached<Tagged<Statements>>> {
        let name = format!("ibm_{kind}");
        self.document(&self.key("IBM", kind)?, &self.filings, &name).await
    }

    /// The quote of MSFT or TSLA.
    pub async fn quote(&self, ticker: &str) -> Result<Cached<Tagged<Quote>>> {
        let name = format!("{}_yahoo_quotesummary_2017", ticker.to_lowercase());
        let key = self.key(ticker, DataType::new(QUOTE)?)?;
        self.document(&key, &self.quotes, &name).await
    }

    /// Throws the filings away, in every process: the next call for one asks the provider.
    pub async fn invalidate_filings(&self) -> Result<u64> {
        self.db.cache().invalidate(&CacheSelector::tag(&self.tag)).await
    }

    /// Deletes the entries of this run.
    pub async fn forget(&self) -> Result<()> {
        use DataType as Kind;
        let ibm =
            [Kind::FUNDAMENTALS, Kind::BALANCE_SHEET, Kind::CASH_FLOW, Kind::INCOME_STATEMENT];
        let ibm = ibm.map(|kind| self.key("IBM", kind));
        let quotes = ["MSFT", "TSLA"].map(|ticker| self.key(ticker, Kind::new(QUOTE)?));
        for key in ibm.into_iter().chain(quotes) {
            self.db.market_cache().delete_key(&key?).await?;
        }
        Ok(())
    }

    /// The one place where the cache and the provider meet.
    async fn document<T: CacheValue>(
        &self,
        key: &CacheKey,
        policy: &Policy,
        name: &str,
    ) -> Result<Cached<Tagged<T>>> {
        let (client, name) = (self.client, name.to_owned());
        let fetch = move |previous: Option<Cached<Tagged<T>>>| async move {
            let known = previous.as_ref().map(|previous| previous.value.etag.as_str());
            Ok::<_, BoxError>(match client.get(&name, known).await? {
                None => Fetched::unchanged(),
                Some((etag, body)) => {
                    Fetched::new(Tagged { etag, document: serde_json::from_str(&body)? })
                }
            })
        };
        self.db.cache().get_or_fetch(key, policy, fetch).await
    }

    fn key(&self, ticker: &str, kind: DataType) -> Result<CacheKey> {
        let parameters = serde_json::json!({"run": self.run});
        CacheKey::new(&ticker.parse::<Ticker>()?, kind).params(parameters)
    }
}

/// As much of an HTTP client as the stand-in needs.
#[derive(Clone, Copy)]
pub struct Client {
    provider: SocketAddr,
}

impl Client {
    pub fn new(provider: SocketAddr) -> Self {
        Client { provider }
    }

    /// A document and its tag; `None` if it is still the one with the `known` tag.
    pub async fn get(
        &self,
        name: &str,
        known: Option<&str>,
    ) -> Result<Option<(String, String)>, BoxError> {
        let mut stream = TcpStream::connect(self.provider).await?;
        let known = known.map_or(String::new(), |etag| format!("If-None-Match: {etag}\r\n"));
        let request = format!("GET /{name} HTTP/1.1\r\nHost: localhost\r\n{known}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        let (head, body) = reply.split_once("\r\n\r\n").ok_or("the reply was cut short")?;
        let status = head.lines().next().unwrap_or_default();
        match status.split(' ').nth(1) {
            Some("304") => Ok(None),
            Some("200") => {
                let etag = head.lines().find_map(|line| line.strip_prefix("ETag: "));
                Ok(Some((etag.unwrap_or_default().to_owned(), body.to_owned())))
            }
            _ => Err(status.into()),
        }
    }
}
