//! The levels, and how a lookup goes through them.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Instant;

use super::cached::{Cached, Entry, Origin};
use super::change::Change;
use super::counters::Counters;
use super::database::{DatabaseLevel, is_down};
use super::fetching::FetchOutcome;
use super::flights::{Flight, Flights};
use super::kind::{Cacheable, Job, Read};
use super::memory::Memory;
use super::options::CacheOptions;
use super::policy::Policy;
use super::sync::Invalidator;
use super::{fetching, lease};
#[cfg(feature = "redis")]
use crate::cache::redis::RedisLevel;
use crate::error::Result;
use crate::market_cache::CacheSelector;
use crate::postgres::Pool;
use crate::store::{EntryKey, EntryKeyRef, Namespace};

/// An entry of whichever type its key in [`Flights`] names.
pub(crate) type AnyEntry = Arc<dyn Any + Send + std::marker::Sync>;

/// What the levels below memory have of a key.
#[derive(Clone, Default)]
pub(crate) struct Loaded {
    entry: Option<(AnyEntry, Origin)>,
    /// The database did not answer or is not a level: a copy in memory may stand in.
    is_partial: bool,
}

type ReadOutcome = Result<Loaded>;

/// Keys whose last fetch failed, most recent ones first to stay.
const MOST_PAUSES: u64 = 10_000;

pub(crate) struct CacheInner {
    pub options: CacheOptions,
    pub memory: Option<Memory>,
    #[cfg(feature = "redis")]
    pub redis: Option<RedisLevel>,
    pub database: Option<DatabaseLevel>,
    pub counters: Arc<Counters>,
    /// Where there are copies of rows.
    pub sync: Option<Invalidator>,
    reads: Arc<Flights<ReadOutcome>>,
    fetches: Arc<Flights<FetchOutcome>>,
    /// Failures in a row, and until when nobody in this process fetches.
    pauses: moka::sync::Cache<EntryKey, (u32, Instant)>,
}

/// What a lookup found.
pub(crate) struct Found<T> {
    pub entry: Arc<Entry<T>>,
    pub origin: Origin,
}

impl CacheInner {
    pub fn new(options: CacheOptions, pool: &Pool) -> Result<Self> {
        let options = CacheOptions { lease: lease::bounded(options.lease), ..options };
        let counters = Arc::new(Counters::default());
        let memory = (options.memory > 0).then(|| Memory::new(options.memory, counters.clone()));
        let database =
            options.database.then(|| DatabaseLevel::new(pool.clone(), &options, counters.clone()));
        #[cfg(feature = "redis")]
        let redis = match &options.redis {
            Some(redis) => Some(RedisLevel::new(redis, &pool.name())?),
            None => None,
        };
        #[cfg(feature = "redis")]
        let has_copies = memory.is_some() || redis.is_some();
        #[cfg(not(feature = "redis"))]
        let has_copies = memory.is_some();
        Ok(CacheInner {
            sync: (has_copies && database.is_some()).then(Invalidator::new),
            memory,
            #[cfg(feature = "redis")]
            redis,
            database,
            counters,
            reads: Flights::new(),
            fetches: Flights::new(),
            pauses: moka::sync::Cache::new(MOST_PAUSES),
            options,
        })
    }

    /// The copy in memory, fresh or not, if it may be trusted: then it is what the row holds. All that
    /// most calls need, and nothing here waits or allocates.
    pub fn copy<K: Cacheable>(
        &self,
        address: EntryKeyRef<'_>,
        now: Instant,
    ) -> Option<Arc<Entry<K::Value>>> {
        let entry = self.memory.as_ref()?.get::<K::Value>(address)?;
        // A value that could not be stored in the database is served while it is down, no longer: others may
        // have stored another value, and no change would announce it.
        let is_known = entry.version > 0 || self.database.is_none();
        (is_known && self.is_trusted(now)).then_some(entry)
    }

    /// As [`copy`](Self::copy), if it is fresh.
    pub fn fresh_copy<K: Cacheable>(
        &self,
        address: EntryKeyRef<'_>,
        now: Instant,
    ) -> Option<Arc<Entry<K::Value>>> {
        self.copy::<K>(address, now).filter(|entry| entry.is_fresh_at(now))
    }

    /// Whether memory and Redis have applied the changes up to the staleness bound.
    pub fn is_trusted(&self, now: Instant) -> bool {
        self.sync.as_ref().is_none_or(|sync| sync.is_current(now, self.options.max_staleness))
    }

    /// What the levels have of a key, fresh or not.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the value is no `K::Value`; whatever the database refuses. A level that
    /// is down is left out.
    pub async fn find<K: Cacheable>(
        self: &Arc<Self>,
        address: EntryKeyRef<'_>,
    ) -> Result<Option<Found<K::Value>>> {
        if let Some(sync) = &self.sync {
            sync.ensure_running(self).await;
        }
        let flight = {
            let key = (address.to_owned(), TypeId::of::<K::Value>());
            let (core, address) = (self.clone(), key.0.clone());
            self.reads.join(key, move || async move { core.load::<K>(&address).await })
        };
        let loaded = flight.await?;
        let found = loaded
            .entry
            .and_then(|(entry, origin)| Some(Found { entry: entry.downcast().ok()?, origin }));
        if found.is_none() && loaded.is_partial {
            let copy = self.memory.as_ref().and_then(|memory| memory.get(address));
            return Ok(copy.map(|entry| Found { entry, origin: Origin::Memory }));
        }
        Ok(found)
    }

    /// Asks Redis, then the database.
    async fn load<K: Cacheable>(&self, address: &EntryKey) -> Result<Loaded> {
        let mut loaded = Loaded::default();
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            let began = Instant::now();
            let packed = redis.get(address.as_ref()).await;
            // What does not decode is as good as absent: the database says what is wrong with it.
            if let Some(Ok(entry)) = packed.map(|packed| K::unpack(packed, began)) {
                let (is_fresh, entry) = (entry.is_fresh_at(Instant::now()), Arc::new(entry));
                let is_answer = is_fresh && self.is_trusted(began);
                if is_answer {
                    self.keep(address.as_ref(), &entry);
                }
                loaded.entry = Some((entry, Origin::Redis));
                if is_answer {
                    return Ok(loaded);
                }
            }
        }
        let Some(database) = &self.database else {
            loaded.is_partial = true;
            return Ok(loaded);
        };
        match database.read::<K>(address.as_ref(), self.packs()).await {
            Ok(Some(read)) => {
                loaded.entry = Some((self.take_in(address, read).await, Origin::Database))
            }
            // Redis may hold what the table does not: a stale value whose row was swept.
            Ok(None) => loaded.entry = None,
            Err(error) if is_down(&error) => loaded.is_partial = true,
            Err(error) => return Err(error),
        }
        Ok(loaded)
    }

    /// Whether entries are wanted as text too.
    pub fn packs(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.redis.is_some();
        #[cfg(not(feature = "redis"))]
        false
    }

    /// Takes a row that was read or written into the levels above.
    pub async fn take_in<T: Send + std::marker::Sync + 'static>(
        &self,
        address: &EntryKey,
        read: Read<T>,
    ) -> Arc<Entry<T>> {
        #[cfg(feature = "redis")]
        if let (Some(redis), Some(packed)) = (&self.redis, read.packed) {
            let packed = packed.aged(read.entry.loaded.elapsed());
            if packed.is_fresh() {
                redis.put(address.as_ref(), &packed, read.entry.loaded).await;
            }
        }
        let entry = Arc::new(read.entry);
        self.keep(address.as_ref(), &entry);
        entry
    }

    pub fn keep<T: Send + std::marker::Sync + 'static>(
        &self,
        address: EntryKeyRef<'_>,
        entry: &Arc<Entry<T>>,
    ) {
        if let Some(memory) = &self.memory {
            // Without a reader that has begun nobody would say that the copy is outdated.
            if !entry.kept_for.is_zero() && (entry.version == 0 || self.is_trusted(entry.loaded)) {
                memory.put(address, entry);
            } else if self.database.is_some() && entry.version > 0 {
                memory.remove(address);
            }
        }
    }

    /// A fetch of the key: the one under way, or a new one on a task of its own.
    pub fn fetch<K: Cacheable>(
        self: &Arc<Self>,
        address: EntryKey,
        policy: &Policy,
        previous: Option<Arc<Entry<K::Value>>>,
        is_eager: bool,
        job: Job<K>,
    ) -> Flight<FetchOutcome> {
        let core = self.clone();
        let policy = policy.clone();
        let key = (address.clone(), TypeId::of::<K::Value>());
        let (flight, is_first) = self.fetches.launch(
            key,
            move || fetching::run::<K>(core, address, policy, previous, is_eager, job),
            || Err(fetching::failed("the fetch's task was stopped")),
        );
        if !is_first && !is_eager {
            self.counters.waits.one();
        }
        flight
    }

    pub fn fetches(&self) -> &Arc<Flights<FetchOutcome>> {
        &self.fetches
    }

    /// How long fetches of the key are delayed in this process.
    pub fn pause(&self, address: EntryKeyRef<'_>, now: Instant) -> Option<std::time::Duration> {
        let (_, until) = self.pauses.get(&address)?;
        until.checked_duration_since(now)
    }

    pub fn failures(&self, address: EntryKeyRef<'_>) -> u32 {
        self.pauses.get(&address).map_or(0, |(failures, _)| failures)
    }

    pub fn backing_off(&self, address: &EntryKey, failures: u32, until: Instant) {
        self.pauses.insert(address.clone(), (failures, until));
    }

    pub fn put_off_no_longer(&self, address: EntryKeyRef<'_>) {
        self.pauses.invalidate(&address);
    }

    /// Forgets every pause; the database still knows those that continue.
    pub fn put_off_none(&self) {
        self.pauses.invalidate_all();
    }

    /// Drops the copies of rows that changed.
    pub async fn apply(&self, changes: &[Change]) {
        // Redis first: what is read from it after memory has dropped its copies must not be outdated.
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            redis.forget(changes).await;
        }
        if let Some(memory) = &self.memory {
            self.counters.dropped.add(memory.apply(changes));
        }
        // Later callers do not join what may have begun before.
        let is_meant = |address: &EntryKey| changes.iter().any(|c| c.may_concern(address));
        self.reads.close(is_meant);
        self.fetches.close(is_meant);
    }

    /// Later callers do not join a reading or a fetch of an entry that is invalidated.
    pub fn start_anew(&self, selector: &CacheSelector) {
        // What is under way says nothing of its tags.
        let is_meant = |address: &EntryKey| {
            let keyed = selector.key.as_ref();
            let tickers = selector.ticker.iter().chain(keyed.map(|key| &key.ticker));
            let types = selector.data_type.iter().chain(keyed.map(|key| &key.data_type));
            address.space == Namespace::MarketData
                && tickers.into_iter().all(|ticker| *ticker == address.ticker)
                && types.into_iter().all(|name| name.as_str() == &*address.name)
        };
        self.reads.close(is_meant);
        self.fetches.close(is_meant);
    }

    /// Later callers for the key do not join a reading that has begun.
    pub fn read_anew(&self, address: &EntryKey) {
        self.reads.close(|other| other == address);
    }

    /// The snapshot of the log up to which the copies outside of this process have applied changes.
    /// If it is unknown, they are dropped; those in memory are dropped in any case.
    pub async fn resume(&self) -> Option<String> {
        self.forget_copies();
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            let position = redis.position().await;
            if position.is_none() {
                redis.forget_all().await;
            }
            return position;
        }
        None
    }

    /// Every change that this snapshot of the log sees has been applied.
    pub async fn reached(&self, snapshot: &str) {
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            redis.set_position(snapshot).await;
        }
        #[cfg(not(feature = "redis"))]
        let _ = snapshot;
    }

    /// Drops every copy, also those outside of this process: what has changed is not known.
    pub async fn forget_all(&self) {
        self.forget_copies();
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            redis.forget_all().await;
            // What was taken from there meanwhile.
            self.forget_copies();
        }
    }

    /// Drops every copy in memory.
    pub fn forget_copies(&self) {
        if let Some(memory) = &self.memory {
            memory.clear();
        }
    }

    /// A lookup's answer from an entry past its expiry.
    pub fn stale<T>(&self, entry: Arc<Entry<T>>, now: Instant) -> Cached<T> {
        self.counters.stale_served.one();
        Cached::new(entry, Origin::Stale, now)
    }

    pub fn count_hit(&self, origin: Origin) {
        match origin {
            Origin::Memory => self.counters.memory_hits.one(),
            Origin::Redis => self.counters.redis_hits.one(),
            Origin::Database => self.counters.database_hits.one(),
            Origin::Fetched | Origin::Stale => {}
        }
    }
}
