//! The cache of market data, on PostgreSQL.

mod invalidate;
mod statements;
mod statistics;
pub(crate) mod upsert;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::dsl::{exists, now};
use diesel::pg::Pg;
use diesel::prelude::{
    ExpressionMethods, IntoSql, PgExpressionMethods, QueryDsl, SelectableHelper,
};
use diesel::sql_types::{Array, BigInt, Interval, Jsonb, Nullable, Text, Timestamptz};

use self::statements::{GET, GET_MANY, LIST_STALE, Numbered, REFRESH, Refreshed, sweep_expired};
use super::entry::{Backfill, Backfilled, CacheEntry, CacheEntryPatch, NewCacheEntry, PutOptions};
use super::key::{CacheFilter, CacheKey, CacheSelector, CacheSize, CacheStatistics, StaleEntry};
use super::repository::MarketCacheRepository;
use crate::error::{Entity, Error, Result};
use crate::schema::market_data_cache;
use crate::store::{Aged, Session, SweepReport, newest_first, settled};
use crate::types::{CacheEntryId, Document, Listed, Page, PageRequest, Ticker, span};

diesel::define_sql_function! {
    /// The key of request parameters, as the column `parameters_key` holds it.
    fn cache_parameters_key(parameters: Nullable<Jsonb>) -> Bytea;
}

/// [`MarketCacheRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgMarketCache {
    session: Session,
}

impl PgMarketCache {
    pub(crate) fn new(session: Session) -> Self {
        PgMarketCache { session }
    }
}

/// The row of a key. The unique index finds it by the hash of the parameters; comparing the
/// parameters, too, makes a hash collision a miss and never a wrong document.
macro_rules! entry_of {
    ($key:expr) => {
        market_data_cache::table
            .filter(market_data_cache::ticker.eq(&$key.ticker))
            .filter(market_data_cache::data_type.eq(&$key.data_type))
            .filter(
                market_data_cache::parameters_key
                    .eq(cache_parameters_key($key.parameters.as_ref())),
            )
            .filter(market_data_cache::parameters.is_not_distinct_from($key.parameters.as_ref()))
    };
}

/// The rows of a filter, as a boxed query.
fn filtered(filter: &CacheFilter) -> market_data_cache::BoxedQuery<'_, Pg> {
    let mut query = market_data_cache::table.into_boxed();
    if let Some(tickers) = &filter.tickers {
        query = query.filter(market_data_cache::ticker.eq_any(tickers));
    }
    if let Some(data_types) = &filter.data_types {
        query = query.filter(market_data_cache::data_type.eq_any(data_types));
    }
    if let Some(source) = &filter.data_source {
        query = query.filter(market_data_cache::data_source.eq(source));
    }
    match filter.is_live {
        Some(true) => query.filter(market_data_cache::expires_at.gt(now)),
        Some(false) => query.filter(market_data_cache::expires_at.le(now)),
        None => query,
    }
}

settled!(
    #[async_trait]
    impl MarketCacheRepository for PgMarketCache {
        #[tracing::instrument(level = "debug", name = "market_cache.create", skip_all)]
        async fn create(&self, entry: &NewCacheEntry) -> Result<CacheEntry> {
            entry.validate()?;
            write::create(&self.session, entry).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.create_many", skip_all)]
        async fn create_many(&self, entries: &[NewCacheEntry]) -> Result<Vec<CacheEntry>> {
            write::validate(entries)?;
            write::create_many(&self.session, entries).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.find", skip_all)]
        async fn find(&self, id: CacheEntryId) -> Result<Option<CacheEntry>> {
            let query = market_data_cache::table.find(id).select(CacheEntry::as_select());
            self.session.fetch_optional(query).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.list", skip_all)]
        async fn list(&self, filter: &CacheFilter, page: &PageRequest) -> Result<Page<CacheEntry>> {
            let query = newest_first!(
                filtered(filter),
                page,
                market_data_cache::cached_at,
                market_data_cache::id
            );
            self.session.fetch_page(query.select(CacheEntry::as_select()), page, "cached_at").await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.count", skip_all)]
        async fn count(&self, filter: &CacheFilter) -> Result<u64> {
            let count: i64 = self.session.fetch_one(filtered(filter).count()).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "market_cache.exists", skip_all)]
        async fn exists(&self, id: CacheEntryId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(market_data_cache::table.find(id)))).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.update", skip_all)]
        async fn update(&self, id: CacheEntryId, patch: &CacheEntryPatch) -> Result<CacheEntry> {
            patch.validate()?;
            let not_found = || Error::not_found(Entity::CacheEntry, id);
            if *patch == CacheEntryPatch::default() {
                let found = self.find(id).await?;
                return found.ok_or_else(not_found);
            }
            let update = diesel::update(market_data_cache::table.find(id)).set(patch);
            let update = update.returning(CacheEntry::as_returning());
            let updated = self.session.write_optional(update).await?;
            updated.ok_or_else(not_found)
        }

        #[tracing::instrument(level = "debug", name = "market_cache.delete", skip_all)]
        async fn delete(&self, id: CacheEntryId) -> Result<bool> {
            let row = diesel::delete(market_data_cache::table.find(id));
            Ok(self.session.delete(row).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "market_cache.get", skip_all)]
        async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>> {
            let statement = diesel::sql_query(GET)
                .bind::<Text, _>(&key.ticker)
                .bind::<Text, _>(&key.data_type)
                .bind::<Nullable<Jsonb>, _>(key.parameters.as_ref());
            self.session.fetch_optional(statement).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.get_with", skip_all)]
        async fn get_with(
            &self,
            key: &CacheKey,
            read: &mut (dyn for<'entry> FnMut(&'entry CacheEntry) -> Result<()> + Send),
        ) -> Result<bool> {
            let found = self.get(key).await?;
            found.as_ref().map(read).transpose().map(|found| found.is_some())
        }

        #[tracing::instrument(level = "debug", name = "market_cache.put_with", skip_all)]
        async fn put_with(
            &self,
            key: &CacheKey,
            encode: &(dyn Fn() -> Result<Document> + Sync),
            options: &PutOptions,
        ) -> Result<CacheEntry> {
            self.put(key, &encode()?, options).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.get_many", skip_all)]
        async fn get_many(&self, keys: &[CacheKey]) -> Result<Listed<Option<CacheEntry>>> {
            if keys.is_empty() {
                return Ok(Listed::default());
            }
            let statement = diesel::sql_query(GET_MANY)
                .bind::<Array<Text>, _>(keys.iter().map(|k| &k.ticker).collect::<Vec<_>>())
                .bind::<Array<Text>, _>(keys.iter().map(|k| &k.data_type).collect::<Vec<_>>())
                .bind::<Array<Nullable<Jsonb>>, _>(
                    keys.iter().map(|k| k.parameters.as_ref()).collect::<Vec<_>>(),
                );
            let rows: Listed<Numbered> = self.session.fetch_list(statement).await?;
            Ok(rows.map(|rows| {
                let mut found = vec![None; keys.len()];
                for row in rows {
                    // WITH ORDINALITY counts from 1.
                    if let Some(slot) =
                        usize::try_from(row.n - 1).ok().and_then(|i| found.get_mut(i))
                    {
                        *slot = Some(row.entry);
                    }
                }
                found
            }))
        }

        #[tracing::instrument(level = "debug", name = "market_cache.get_stale", skip_all)]
        async fn get_stale(&self, key: &CacheKey) -> Result<Option<Aged<CacheEntry>>> {
            let columns = (CacheEntry::as_select(), now.into_sql::<Timestamptz>());
            let found: Option<(CacheEntry, DateTime<Utc>)> =
                self.session.fetch_optional(entry_of!(key).select(columns)).await?;
            Ok(found.map(|(entry, seen_at)| {
                let (cached_at, expires_at) = (entry.cached_at, entry.expires_at);
                Aged::new(entry, cached_at, Some(expires_at), seen_at)
            }))
        }

        #[tracing::instrument(level = "debug", name = "market_cache.put", skip_all)]
        async fn put(
            &self,
            key: &CacheKey,
            data: &Document,
            options: &PutOptions,
        ) -> Result<CacheEntry> {
            options.validate()?;
            key.check_storable()?;
            data.check_storable("data")?;
            write::put(&self.session, key, data, options).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.put_many", skip_all)]
        async fn put_many(&self, entries: &[NewCacheEntry]) -> Result<u64> {
            write::validate(entries)?;
            write::put_many(&self.session, entries).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.backfill_many", skip_all)]
        async fn backfill_many(&self, documents: &[Backfill]) -> Result<Backfilled> {
            write::validate(documents.iter().map(|document| &document.entry))?;
            write::backfill_many(&self.session, documents).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.refresh", skip_all)]
        async fn refresh(&self, key: &CacheKey, ttl: Duration) -> Result<DateTime<Utc>> {
            span::check("ttl", ttl)?;
            let statement = diesel::sql_query(REFRESH)
                .bind::<Text, _>(&key.ticker)
                .bind::<Text, _>(&key.data_type)
                .bind::<Nullable<Jsonb>, _>(key.parameters.as_ref())
                .bind::<Interval, _>(span::interval(ttl));
            let refreshed: Option<Refreshed> = self.session.write_optional(statement).await?;
            match refreshed {
                None => {
                    let key = format_args!("{} {}", key.ticker, key.data_type).to_string();
                    Err(Error::not_found(Entity::CacheEntry, key))
                }
                Some(Refreshed { id, expires_at }) => expires_at.ok_or_else(|| Error::Corrupt {
                    table: "market_data_cache".into(),
                    key: id.to_string(),
                    column: "expires_at".into(),
                    reason: "cannot be decoded".into(),
                }),
            }
        }

        #[tracing::instrument(level = "debug", name = "market_cache.invalidate", skip_all)]
        async fn invalidate(&self, selector: &CacheSelector) -> Result<u64> {
            invalidate::run(&self.session, selector).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.delete_key", skip_all)]
        async fn delete_key(&self, key: &CacheKey) -> Result<bool> {
            Ok(self.session.delete(diesel::delete(entry_of!(key))).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "market_cache.sweep_expired", skip_all)]
        async fn sweep_expired(&self, limit: u32, grace: Duration) -> Result<SweepReport> {
            let statement = sweep_expired(limit).bind::<Interval, _>(span::age(grace));
            Ok(SweepReport::new(self.session.execute(statement).await?, limit))
        }

        #[tracing::instrument(level = "debug", name = "market_cache.list_stale", skip_all)]
        async fn list_stale(&self, limit: u32, within: Duration) -> Result<Listed<StaleEntry>> {
            let statement = diesel::sql_query(LIST_STALE)
                .bind::<Interval, _>(span::interval(within))
                .bind::<BigInt, _>(i64::from(limit));
            self.session.fetch_list(statement).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.statistics", skip_all)]
        async fn statistics(&self, top: u32) -> Result<CacheStatistics> {
            statistics::all(&self.session, top).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.clock", skip_all)]
        async fn clock(&self) -> Result<DateTime<Utc>> {
            self.session.fetch_one(diesel::select(now.into_sql::<Timestamptz>())).await
        }

        #[tracing::instrument(level = "debug", name = "market_cache.size_of_ticker", skip_all)]
        async fn size_of_ticker(&self, ticker: &Ticker) -> Result<CacheSize> {
            statistics::of_ticker(&self.session, ticker).await
        }
    }
);
