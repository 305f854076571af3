//! How cached documents are looked up, selected and counted.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::{Queryable, QueryableByName, Selectable};
use diesel::sql_types::BigInt;
use serde::{Deserialize, Serialize};

use crate::error::{Result, Unreadable};
use crate::schema::market_data_cache;
use crate::store::{EntryKeyRef, Namespace};
use crate::types::{CacheEntryId, Count, DataType, Document, Tag, Ticker};

/// What a cached document is looked up by. No parameters, `{}` and other parameters are distinct
/// keys; parameters that are equal as JSON values (whatever the order of their keys, and 1 equals
/// 1.0) are the same key.
///
/// ```
/// use buffetbot_db::market_cache::CacheKey;
/// use buffetbot_db::types::{DataType, Ticker};
/// let aapl: Ticker = "AAPL".parse()?;
/// let key = CacheKey::new(&aapl, DataType::FUNDAMENTALS)
///     .params(serde_json::json!({"period": "1y"}))?;
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = market_data_cache, check_for_backend(Pg))]
pub struct CacheKey {
    /// What the document is about.
    pub ticker: Ticker,
    /// What the document is.
    pub data_type: DataType,
    /// Parameters of the request.
    pub parameters: Option<Document>,
}

impl CacheKey {
    /// The key without parameters.
    pub fn new(ticker: &Ticker, data_type: DataType) -> Self {
        CacheKey { ticker: ticker.clone(), data_type, parameters: None }
    }

    /// With parameters of any type that serializes.
    ///
    /// # Errors
    /// Those of [`Document::encode`].
    pub fn params(self, parameters: impl Serialize) -> Result<Self> {
        Ok(CacheKey { parameters: Some(Document::encode(&parameters)?), ..self })
    }

    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) of parameters under which nothing can be stored.
    pub(crate) fn check_storable(&self) -> Result<()> {
        let parameters = self.parameters.as_ref();
        parameters.map_or(Ok(()), |parameters| parameters.check_storable("parameters"))
    }
}

/// Which entries a list or a count includes; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheFilter {
    /// Only these tickers; an empty list matches nothing.
    pub tickers: Option<Vec<Ticker>>,
    /// Only these types; an empty list matches nothing.
    pub data_types: Option<Vec<DataType>>,
    /// Of exactly this provider.
    pub data_source: Option<String>,
    /// Only live ones, or only expired ones, by the database's clock.
    pub is_live: Option<bool>,
}

impl CacheFilter {
    /// Only these tickers; an empty list matches nothing.
    pub fn tickers(self, tickers: impl Into<Vec<Ticker>>) -> Self {
        CacheFilter { tickers: Some(tickers.into()), ..self }
    }

    /// Only these types; an empty list matches nothing.
    pub fn data_types(self, data_types: impl Into<Vec<DataType>>) -> Self {
        CacheFilter { data_types: Some(data_types.into()), ..self }
    }

    /// Of exactly this provider.
    pub fn data_source(self, data_source: impl Into<String>) -> Self {
        CacheFilter { data_source: Some(data_source.into()), ..self }
    }

    /// Only live ones, or only expired ones, by the database's clock.
    pub fn is_live(self, is_live: impl Into<Option<bool>>) -> Self {
        CacheFilter { is_live: is_live.into(), ..self }
    }
}

/// Which entries are meant to be invalidated: those that match every part that is given. At least one
/// part must be.
///
/// ```
/// use buffetbot_db::market_cache::CacheSelector;
/// use buffetbot_db::types::{DataType, Ticker};
/// let aapl: Ticker = "AAPL".parse()?;
/// let news = CacheSelector::ticker(&aapl).data_type(DataType::NEWS);
/// # Ok::<(), buffetbot_db::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CacheSelector {
    /// About this ticker.
    pub ticker: Option<Ticker>,
    /// Of this type. Alone it is looked for in all entries.
    pub data_type: Option<DataType>,
    /// Stored under this tag.
    pub tag: Option<Tag>,
    /// Of exactly this key.
    pub key: Option<CacheKey>,
}

impl CacheSelector {
    /// The entries of a ticker.
    pub fn ticker(ticker: &Ticker) -> Self {
        CacheSelector { ticker: Some(ticker.clone()), ..Self::default() }
    }

    /// The entries of a tag.
    pub fn tag(tag: &Tag) -> Self {
        CacheSelector { tag: Some(tag.clone()), ..Self::default() }
    }

    /// The entry of a key.
    pub fn key(key: &CacheKey) -> Self {
        CacheSelector { key: Some(key.clone()), ..Self::default() }
    }

    /// The entries of a type.
    pub fn of_type(data_type: DataType) -> Self {
        CacheSelector { data_type: Some(data_type), ..Self::default() }
    }

    /// Only those of this type.
    pub fn data_type(self, data_type: DataType) -> Self {
        CacheSelector { data_type: Some(data_type), ..self }
    }
}

/// An entry that is due to be fetched again, without its document.
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = market_data_cache, check_for_backend(Pg))]
pub struct StaleEntry {
    /// The entry's id.
    pub id: CacheEntryId,
    /// What it is looked up by.
    #[diesel(embed)]
    pub key: CacheKey,
    /// When its document was stored.
    pub cached_at: DateTime<Utc>,
    /// From when it is stale.
    pub expires_at: DateTime<Utc>,
}

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, QueryableByName, Serialize, Deserialize)]
#[diesel(check_for_backend(Pg))]
pub struct CacheSize {
    /// Entries, live and expired.
    #[diesel(sql_type = BigInt, deserialize_as = Count)]
    pub entries: u64,
    /// Those of them that are live.
    #[diesel(sql_type = BigInt, deserialize_as = Count)]
    pub live: u64,
    /// Bytes of their documents as stored, compressed.
    #[diesel(sql_type = BigInt, deserialize_as = Count)]
    pub bytes: u64,
}

impl CacheSize {
    /// Entries that have expired and are not swept yet.
    pub fn expired(&self) -> u64 {
        self.entries - self.live
    }
}

/// How much is stored of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeSize {
    /// The type.
    pub data_type: DataType,
    /// How much.
    pub size: CacheSize,
}

/// How much is stored about one ticker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickerSize {
    /// The ticker.
    pub ticker: Ticker,
    /// How much.
    pub size: CacheSize,
}

/// What the cache holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheStatistics {
    /// All of it.
    pub total: CacheSize,
    /// Each type, by name.
    pub by_type: Vec<TypeSize>,
    /// The tickers that take the most bytes, largest first.
    pub top_tickers: Vec<TickerSize>,
    /// Types and tickers with a name that cannot be read; they count in the total.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

impl<'a> From<&'a CacheKey> for EntryKeyRef<'a> {
    fn from(key: &'a CacheKey) -> Self {
        EntryKeyRef {
            space: Namespace::MarketData,
            ticker: &key.ticker,
            name: key.data_type.as_str(),
            parameters: key.parameters.as_ref(),
            portfolio: None,
        }
    }
}
