//! What a store of cached documents does.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{Backfill, Backfilled, CacheEntry, CacheEntryPatch, NewCacheEntry, PutOptions};
use super::key::{CacheFilter, CacheKey, CacheSelector, CacheSize, CacheStatistics, StaleEntry};
use crate::error::{Result, unsupported};
use crate::store::{Aged, SweepReport};
use crate::types::{CacheEntryId, Document, Listed, Page, PageRequest, Ticker, stream_pages};

/// Documents of market-data providers, kept until they expire. Expiry is decided by the database's
/// clock; an expired entry stays readable by [`get_stale`](Self::get_stale) until it is swept.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait MarketCacheRepository: Send + Sync {
    /// Stores a document under a key that has none, not even an expired one.
    ///
    /// # Errors
    /// `Conflict` when the key has an entry ([`put`](Self::put) would replace it), `Invalid` of a
    /// field.
    async fn create(&self, entry: &NewCacheEntry) -> Result<CacheEntry> {
        unsupported("market_cache.create")
    }

    /// Stores all of these documents, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index.
    async fn create_many(&self, entries: &[NewCacheEntry]) -> Result<Vec<CacheEntry>> {
        unsupported("market_cache.create_many")
    }

    /// The entry of this id, live or expired.
    async fn find(&self, id: CacheEntryId) -> Result<Option<CacheEntry>> {
        unsupported("market_cache.find")
    }

    /// Entries, newest first by `cached_at`.
    async fn list(&self, filter: &CacheFilter, page: &PageRequest) -> Result<Page<CacheEntry>> {
        unsupported("market_cache.list")
    }

    /// All entries of the filter, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(&'a self, filter: &'a CacheFilter) -> BoxStream<'a, Result<CacheEntry>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
    }

    /// How many entries there are.
    async fn count(&self, filter: &CacheFilter) -> Result<u64> {
        unsupported("market_cache.count")
    }

    /// Whether the entry exists, live or expired.
    async fn exists(&self, id: CacheEntryId) -> Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    /// Applies the patch and returns the updated entry.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` of a field, also where `expires_at` is not later than `cached_at`.
    async fn update(&self, id: CacheEntryId, patch: &CacheEntryPatch) -> Result<CacheEntry> {
        unsupported("market_cache.update")
    }

    /// Deletes the entry. Returns `false` if it did not exist.
    async fn delete(&self, id: CacheEntryId) -> Result<bool> {
        unsupported("market_cache.delete")
    }

    /// The live entry of this key; `None` if it does not exist or has expired.
    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>>;

    /// As [`get`](Self::get), and gives the entry to `read`. Returns `false` where there is no live entry, and the error
    /// of `read` where that fails.
    async fn get_with(
        &self,
        key: &CacheKey,
        read: &mut (dyn for<'entry> FnMut(&'entry CacheEntry) -> Result<()> + Send),
    ) -> Result<bool> {
        match self.get(key).await? {
            Some(entry) => read(&entry).map(|()| true),
            None => Ok(false),
        }
    }

    /// As [`put`](Self::put) of what `encode` returns; its error is that of the call.
    async fn put_with(
        &self,
        key: &CacheKey,
        encode: &(dyn Fn() -> Result<Document> + Sync),
        options: &PutOptions,
    ) -> Result<CacheEntry> {
        self.put(key, &encode()?, options).await
    }

    /// As [`get`](Self::get), of any number of keys in one round trip, in the order of the keys.
    async fn get_many(&self, keys: &[CacheKey]) -> Result<Listed<Option<CacheEntry>>> {
        unsupported("market_cache.get_many")
    }

    /// The entry of this key, live or expired, with its age.
    async fn get_stale(&self, key: &CacheKey) -> Result<Option<Aged<CacheEntry>>> {
        unsupported("market_cache.get_stale")
    }

    /// Stores a document under a key, in place of the one that it has. Any number of writers may
    /// put one key at once: all succeed, and the last one's document stays. The returned entry
    /// holds the document as given; PostgreSQL may spell it differently (order of keys, white
    /// space, digits).
    ///
    /// # Errors
    /// `Invalid`, also of `ttl` where it is zero.
    async fn put(
        &self,
        key: &CacheKey,
        data: &Document,
        options: &PutOptions,
    ) -> Result<CacheEntry> {
        unsupported("market_cache.put")
    }

    /// As [`put`](Self::put), of all these entries or none, in one round trip per chunk (of 500
    /// entries or 8 MB). Of several entries of one key the last one in the order given wins. Returns
    /// how many were written.
    ///
    /// # Errors
    /// As [`put`](Self::put), within `Item`, which gives the index.
    async fn put_many(&self, entries: &[NewCacheEntry]) -> Result<u64> {
        unsupported("market_cache.put_many")
    }

    /// Stores documents of another cache with the times that they have there: all of them or none, in
    /// one round trip per chunk. A stored entry of the same key stays if it was cached at the same time
    /// or later; so the same documents can be given again, and while programs write to both caches.
    ///
    /// # Errors
    /// As [`put`](Self::put), within `Item`, which gives the index.
    async fn backfill_many(&self, documents: &[Backfill]) -> Result<Backfilled> {
        unsupported("market_cache.backfill_many")
    }

    /// Lets the key's entry, live or expired, be live for `ttl` from now on; never shortens its
    /// life. Its stale window keeps its length. Returns the new expiry.
    ///
    /// # Errors
    /// `NotFound` where the key has no entry, `Invalid` of `ttl` where it is zero; `Corrupt` where the entry's expiry cannot
    /// be read: nothing was written then, and a unit of work continues.
    async fn refresh(&self, key: &CacheKey, ttl: Duration) -> Result<DateTime<Utc>> {
        unsupported("market_cache.refresh")
    }

    /// Lets the entries that match expire now, their stale windows included: nobody is served them
    /// any more, only [`get_stale`](Self::get_stale) still finds them. A fetch of such a key that is
    /// under way cannot store what it read before, and a pause after failed fetches ends. (Of a tag: a
    /// fetch that will give the tag to an entry which does not have it can store.) Works on what the
    /// same transaction has put. Returns how many entries there were.
    ///
    /// # Errors
    /// `Invalid` of `selector` where it has no part.
    async fn invalidate(&self, selector: &CacheSelector) -> Result<u64> {
        unsupported("market_cache.invalidate")
    }

    /// Deletes the key's entry. Returns `false` if it did not exist.
    async fn delete_key(&self, key: &CacheKey) -> Result<bool> {
        unsupported("market_cache.delete_key")
    }

    /// Deletes up to `limit` entries that expired `grace` ago or earlier, their stale windows
    /// included, longest expired first. Sweepers at work at once share the entries and do not wait for each other.
    async fn sweep_expired(&self, limit: u32, grace: Duration) -> Result<SweepReport> {
        unsupported("market_cache.sweep_expired")
    }

    /// Up to `limit` entries that have expired or will within `within`, soonest expiry first:
    /// what is to be fetched again.
    async fn list_stale(&self, limit: u32, within: Duration) -> Result<Listed<StaleEntry>> {
        unsupported("market_cache.list_stale")
    }

    /// What the cache holds: totals, each type, and the `top` tickers that take the most bytes.
    /// Exact at any size, so it reads the whole table.
    async fn statistics(&self, top: u32) -> Result<CacheStatistics> {
        unsupported("market_cache.statistics")
    }

    /// The time by the clock that decides what has expired: of this store the database's.
    async fn clock(&self) -> Result<DateTime<Utc>> {
        unsupported("market_cache.clock")
    }

    /// How much is stored about one ticker.
    async fn size_of_ticker(&self, ticker: &Ticker) -> Result<CacheSize> {
        unsupported("market_cache.size_of_ticker")
    }
}

/// What is generic about [`MarketCacheRepository`], and so cannot be called on a `dyn` one.
#[async_trait]
pub trait MarketCacheExt: MarketCacheRepository {
    /// The live document of this key as a `T`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the document does not have the shape of `T`.
    async fn get_as<T: DeserializeOwned + Send>(&self, key: &CacheKey) -> Result<Option<T>> {
        let mut value = None;
        let mut read = |entry: &CacheEntry| {
            value = Some(entry.decode()?);
            Ok(())
        };
        self.get_with(key, &mut read).await?;
        Ok(value)
    }

    /// Stores a value of any type that serializes; see [`put`](MarketCacheRepository::put).
    ///
    /// # Errors
    /// Those of [`Document::encode`] and of [`put`](MarketCacheRepository::put).
    async fn put_as<T: Serialize + Sync + ?Sized>(
        &self,
        key: &CacheKey,
        value: &T,
        options: &PutOptions,
    ) -> Result<CacheEntry> {
        self.put_with(key, &|| Document::encode(value), options).await
    }
}

impl<R: MarketCacheRepository + ?Sized> MarketCacheExt for R {}
