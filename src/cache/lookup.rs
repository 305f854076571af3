//! The calls, for whatever is cached.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::error::Elapsed;

use super::cached::{Cached, Entry, Origin};
use super::change::{Change, Changed};
use super::core::{CacheInner, Found};
use super::counters::{CacheCounters, CacheReport};
use super::fetching::{FetchOutcome, failed};
use super::kind::{Cacheable, Job};
use super::memory::Memory;
use super::policy::Policy;
use crate::error::{Error, Limit, Result};
use crate::market_cache::{CacheSelector, MarketCacheRepository, PgMarketCache};
use crate::store::{EntryKeyRef, Namespace};
use crate::types::span;

impl CacheInner {
    /// See [`Cache::get_or_fetch`](super::Cache::get_or_fetch).
    #[tracing::instrument(level = "debug", name = "cache.get_or_fetch", skip_all)]
    pub async fn get_or<K: Cacheable>(
        self: &Arc<Self>,
        address: EntryKeyRef<'_>,
        policy: &Policy,
        job: Job<K>,
    ) -> Result<Cached<K::Value>> {
        policy.validate()?;
        let began = Instant::now();
        let copy = self.copy::<K>(address, began);
        let found = match copy {
            Some(entry) => Some(Found { entry, origin: Origin::Memory }),
            None => match self.find::<K>(address).await {
                Err(Error::Corrupt { .. }) => {
                    self.counters.corrupt.one();
                    None
                }
                found => found?,
            },
        };
        let now = Instant::now();
        if let Some(found) = found.as_ref().filter(|found| found.entry.is_fresh_at(now)) {
            self.count_hit(found.origin);
            let entry = found.entry.clone();
            if policy.eager.is_some_and(|share| entry.is_due_at(now, share))
                && self.pause(address, now).is_none()
            {
                // Nobody waits for it.
                drop(self.fetch::<K>(address.to_owned(), policy, Some(entry.clone()), true, job));
            }
            return Ok(Cached::new(entry, found.origin, now));
        }
        self.counters.misses.one();
        address.check_storable()?;
        let previous = found.map(|found| found.entry);
        let stale = previous.clone().filter(|entry| entry.is_usable_at(now, policy.stale_for));
        if let Some(retry_in) = self.pause(address, now) {
            self.counters.backing_off.one();
            let backing_off = || Error::BackingOff { retry_in };
            return stale.map(|entry| self.stale(entry, now)).ok_or_else(backing_off);
        }
        let fetch = self.fetch::<K>(address.to_owned(), policy, previous, false, job);
        let patience = match &stale {
            Some(_) => policy.soft_timeout.min(policy.hard_timeout),
            None => policy.hard_timeout,
        };
        let outcome = tokio::time::timeout_at(span::after(began, patience).into(), fetch).await;
        self.landed(outcome, stale)
    }

    /// What a caller makes of a fetch, or of having waited for it as long as it would.
    pub fn landed<T: Send + Sync + 'static>(
        &self,
        outcome: Result<FetchOutcome, Elapsed>,
        stale: Option<Arc<Entry<T>>>,
    ) -> Result<Cached<T>> {
        let now = Instant::now();
        let error = match outcome {
            Ok(Ok((entry, origin))) => match entry.downcast::<Entry<T>>() {
                Ok(entry) => return Ok(Cached::new(entry, origin, now)),
                // Fetches are distinguished by type.
                Err(_) => failed("the fetch was of another type"),
            },
            Ok(Err(error)) => error,
            Err(_) => Error::Timeout { limit: Limit::CacheCall },
        };
        match stale {
            Some(entry) => Ok(self.stale(entry, now)),
            None => {
                if let Error::BackingOff { .. } = error {
                    self.counters.backing_off.one();
                }
                Err(error)
            }
        }
    }

    /// See [`Cache::get`](super::Cache::get).
    #[tracing::instrument(level = "debug", name = "cache.get", skip_all)]
    pub async fn get<K: Cacheable>(
        self: &Arc<Self>,
        address: EntryKeyRef<'_>,
    ) -> Result<Option<Cached<K::Value>>> {
        if let Some(entry) = self.fresh_copy::<K>(address, Instant::now()) {
            self.counters.memory_hits.one();
            return Ok(Some(Cached::new(entry, Origin::Memory, Instant::now())));
        }
        let found = self.find::<K>(address).await;
        if let Err(Error::Corrupt { .. }) = &found {
            self.counters.corrupt.one();
        }
        let now = Instant::now();
        match found?.filter(|found| found.entry.is_fresh_at(now)) {
            Some(found) => {
                self.count_hit(found.origin);
                Ok(Some(Cached::new(found.entry, found.origin, now)))
            }
            None => {
                self.counters.misses.one();
                Ok(None)
            }
        }
    }

    /// See [`Cache::put`](super::Cache::put).
    #[tracing::instrument(level = "debug", name = "cache.put", skip_all)]
    pub async fn put<K: Cacheable>(
        self: &Arc<Self>,
        address: EntryKeyRef<'_>,
        new: K::New,
        policy: &Policy,
    ) -> Result<Cached<K::Value>> {
        policy.validate()?;
        address.check_storable()?;
        if let Some(sync) = &self.sync {
            sync.ensure_running(self).await;
        }
        let address = address.to_owned();
        let database = self.database.as_ref();
        let settled = K::settle(database, &address, None, new, policy, None, self.packs()).await?;
        if let Some(failure) = settled.failure {
            if matches!(failure, Error::OutcomeUnknown { .. }) {
                // It may have been stored: nobody is to be given what was there before.
                self.read_anew(&address);
                self.forget_copies();
            }
            return Err(failure);
        }
        let entry = self.take_in(&address, settled.read).await;
        self.read_anew(&address);
        self.put_off_no_longer(address.as_ref());
        Ok(Cached::new(entry, Origin::Fetched, Instant::now()))
    }

    /// See [`Cache::invalidate`](super::Cache::invalidate).
    #[tracing::instrument(level = "debug", name = "cache.invalidate", skip_all)]
    pub async fn invalidate(self: &Arc<Self>, selector: &CacheSelector) -> Result<u64> {
        let Some(database) = &self.database else {
            if *selector == CacheSelector::default() {
                return Err(Error::invalid("selector", "must name a ticker, type, tag or key"));
            }
            // No level but the database knows what is meant by a tag: all of it goes.
            self.apply(&[Change {
                space: Namespace::MarketData,
                changed: Changed::Namespace,
                version: 0,
            }])
            .await;
            self.start_anew(selector);
            self.put_off_none();
            return Ok(0);
        };
        let cache = PgMarketCache::new(database.session.clone());
        let expired = cache.invalidate(selector).await?;
        self.start_anew(selector);
        self.put_off_none();
        self.catch_up().await;
        Ok(expired)
    }

    /// See [`Cache::catch_up`](super::Cache::catch_up).
    pub async fn catch_up(self: &Arc<Self>) {
        let Some(sync) = self.sync.as_ref().filter(|sync| sync.has_started()) else { return };
        // A reader that has ended left its copies here.
        sync.start(self);
        if !sync.catch_up().await {
            self.forget_all().await;
        }
    }

    /// See [`Cache::report`](super::Cache::report).
    pub async fn report(&self, top: u32) -> Result<CacheReport> {
        let database = match &self.database {
            Some(database) => {
                Some(PgMarketCache::new(database.session.clone()).statistics(top).await?)
            }
            None => None,
        };
        let (memory_entries, memory_bytes) = self.memory.as_ref().map_or((0, 0), Memory::size);
        #[cfg(feature = "redis")]
        let redis_is_up = self.redis.as_ref().map(|redis| redis.is_up());
        #[cfg(not(feature = "redis"))]
        let redis_is_up = None;
        let counters = self.read_counters();
        Ok(CacheReport { counters, memory_entries, memory_bytes, redis_is_up, database })
    }

    pub fn read_counters(&self) -> CacheCounters {
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            self.counters.redis_errors.set(redis.errors());
        }
        self.counters.read()
    }
}
