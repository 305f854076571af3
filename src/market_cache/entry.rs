//! Cached market data.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::{AsChangeset, Queryable, QueryableByName, Selectable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::CacheKey;
use crate::error::Result;
use crate::schema::market_data_cache;
use crate::store::{Clearable, patch};
use crate::types::tag::Tags;
use crate::types::{CacheEntryId, DataType, Document, Tag, Ticker, UnitInterval, span, text};

/// A cached document, as stored.
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = market_data_cache, check_for_backend(Pg))]
pub struct CacheEntry {
    /// The entry's id; it stays when the entry is put again.
    pub id: CacheEntryId,
    /// What the document is about.
    pub ticker: Ticker,
    /// What the document is.
    pub data_type: DataType,
    /// The document, not yet decoded.
    pub data: Document,
    /// Name of the provider.
    pub data_source: Option<String>,
    /// Quality of the document, 0 to 1.
    pub data_quality_score: Option<UnitInterval>,
    /// When the document was stored, by the database's clock.
    pub cached_at: DateTime<Utc>,
    /// From when it is stale, by the database's clock.
    pub expires_at: DateTime<Utc>,
    /// Parameters of the request.
    pub parameters: Option<Document>,
    /// Until when the expired document may stand in for one that cannot be fetched, by the
    /// database's clock; `None`: not at all.
    pub stale_until: Option<DateTime<Utc>>,
    /// Under which it is invalidated together with others, sorted, each once.
    #[diesel(deserialize_as = Tags)]
    pub tags: Vec<Tag>,
    /// Grows with every change of the entry.
    pub version: i64,
    /// Grows when the document changes, as a JSON value: the watermark of what is computed from it.
    pub revision: i64,
}

impl CacheEntry {
    /// The document as a `T`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): it does not have the shape of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        self.data.decode_column("market_data_cache", self.id, "data")
    }

    /// The key under which the document is looked up.
    pub fn key(&self) -> CacheKey {
        CacheKey {
            ticker: self.ticker.clone(),
            data_type: self.data_type.clone(),
            parameters: self.parameters.clone(),
        }
    }
}

/// How a document is to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutOptions {
    /// How long it is live, from now on by the database's clock. Zero is refused; more than 100
    /// years count as 100 years.
    pub ttl: Duration,
    /// Name of the provider, at most 50 characters.
    #[serde(default)]
    pub source: Option<String>,
    /// Quality of the document.
    #[serde(default)]
    pub quality: Option<UnitInterval>,
    /// How long, once expired, it may stand in for one that cannot be fetched; it is not swept
    /// before. More than 100 years count as 100 years.
    #[serde(default)]
    pub stale_for: Duration,
    /// Under which it is invalidated together with others; stored sorted, each once.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl PutOptions {
    /// Live for this long.
    pub fn ttl(ttl: Duration) -> Self {
        PutOptions { ttl, source: None, quality: None, stale_for: Duration::ZERO, tags: Vec::new() }
    }

    /// From this provider.
    pub fn source(self, source: impl Into<String>) -> Self {
        PutOptions { source: Some(source.into()), ..self }
    }

    /// Of this quality.
    pub fn quality(self, quality: UnitInterval) -> Self {
        PutOptions { quality: Some(quality), ..self }
    }

    /// May be served for this long after it has expired, if it cannot be fetched again.
    pub fn stale_for(self, stale_for: Duration) -> Self {
        PutOptions { stale_for, ..self }
    }

    /// Also under this tag.
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// Also under these tags.
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.extend(tags);
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        span::check("ttl", self.ttl)?;
        check_source(self.source.as_deref())
    }
}

/// A document to be cached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewCacheEntry {
    /// The id it will have, unless it replaces the entry of its key; made by
    /// [`NewCacheEntry::new`].
    #[serde(default = "CacheEntryId::generate")]
    pub id: CacheEntryId,
    /// What it is looked up by.
    pub key: CacheKey,
    /// The document.
    pub data: Document,
    /// How it is kept.
    pub options: PutOptions,
}

impl NewCacheEntry {
    /// A document under a key.
    pub fn new(key: CacheKey, data: Document, options: PutOptions) -> Self {
        NewCacheEntry { id: CacheEntryId::generate(), key, data, options }
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    pub fn stored_at(self, at: DateTime<Utc>) -> CacheEntry {
        let PutOptions { ttl, source, quality, stale_for, mut tags } = self.options;
        let later = |time, span| span::later(time, span).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let expires_at = later(at, ttl);
        tags.sort_unstable();
        tags.dedup();
        CacheEntry {
            id: self.id,
            ticker: self.key.ticker,
            data_type: self.key.data_type,
            data: self.data,
            data_source: source,
            data_quality_score: quality,
            cached_at: at,
            expires_at,
            parameters: self.key.parameters,
            stale_until: (!stale_for.is_zero()).then(|| later(expires_at, stale_for)),
            tags,
            version: 1,
            revision: 1,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.options.validate()?;
        self.key.check_storable()?;
        self.data.check_storable("data")
    }

    /// The bytes of its documents, about what it weighs in a statement.
    pub(crate) fn weight(&self) -> usize {
        self.data.as_str().len() + self.key.parameters.as_ref().map_or(0, |p| p.as_str().len())
    }
}

/// A document that was fetched some time ago, as another cache has kept it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backfill {
    /// The document; its lifetime counts from `cached_at`.
    pub entry: NewCacheEntry,
    /// When it was fetched; a future time counts as now, by the database's clock.
    pub cached_at: DateTime<Utc>,
}

impl Backfill {
    /// Whether its lifetime is over at `now`.
    pub(crate) fn has_expired(&self, now: DateTime<Utc>) -> bool {
        let age = (now - self.cached_at).to_std().unwrap_or_default();
        self.entry.options.ttl <= age
    }
}

/// What became of documents of another cache; each is counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Backfilled {
    /// Stored, where the key had no entry or an older one.
    pub written: u64,
    /// Left out, because one of their key is stored, or was given, that is as new or newer.
    pub kept: u64,
    /// Left out, because they have expired.
    pub expired: u64,
}

/// A change of an entry. Its key, its tags, `cached_at` and `stale_until` stay; to store a new document
/// with a new lifetime, put it.
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = market_data_cache)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheEntryPatch {
    /// Another document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Document>,
    /// Another provider, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub data_source: Option<Option<String>>,
    /// Another quality, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub data_quality_score: Option<Option<UnitInterval>>,
    /// From when it is stale; later than `cached_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl CacheEntryPatch {
    /// With another document.
    pub fn data(self, data: Document) -> Self {
        CacheEntryPatch { data: Some(data), ..self }
    }

    /// With another provider; `None` clears it.
    pub fn data_source(self, data_source: impl Into<Clearable<String>>) -> Self {
        CacheEntryPatch { data_source: Some(data_source.into().0), ..self }
    }

    /// With another quality; `None` clears it.
    pub fn data_quality_score(
        self,
        data_quality_score: impl Into<Clearable<UnitInterval>>,
    ) -> Self {
        CacheEntryPatch { data_quality_score: Some(data_quality_score.into().0), ..self }
    }

    /// Sets from when it is stale; later than `cached_at`.
    pub fn expires_at(self, expires_at: DateTime<Utc>) -> Self {
        CacheEntryPatch { expires_at: Some(expires_at), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.data.as_ref().map_or(Ok(()), |data| data.check_storable("data"))?;
        check_source(self.data_source.as_ref().and_then(Option::as_deref))
    }
}

/// Maximum length of a provider's name, in characters.
const SOURCE_LENGTH: usize = 50;

fn check_source(source: Option<&str>) -> Result<()> {
    text::check_optional_line("data_source", source, SOURCE_LENGTH)
}
