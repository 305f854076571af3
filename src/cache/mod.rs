//! The cache: one call that answers from memory, Redis or PostgreSQL, and else fetches, once.
//!
//! ```text
//!     get_or_fetch
//!         |  copy       memory (moka)          trusted while the log of changes was read lately
//!         |  find       Redis -> PostgreSQL    one reading per key at a time
//!         |  fetch      lease -> your closure  one fetch per key at a time, in all processes
//! ```

// | file | what |
// |---|---|
// | `mod`, `many` | `Cache`: the calls |
// | `options`, `policy`, `fetched`, `cached`, `counters` | what callers give and get |
// | `core`, `lookup` | the levels, and how a lookup goes through them |
// | `fetching`, `lease`, `flights` | one fetch at a time, across processes and within |
// | `kind`, `documents`, `analyses` | what is cached, and the rows it is kept in |
// | `memory`, `redis`, `database`, `breaker` | the levels |
// | `sync`, `change` | how copies learn that their row has changed |

mod analyses;
mod breaker;
mod cached;
mod change;
mod core;
mod counters;
mod database;
mod documents;
mod fetched;
mod fetching;
mod flights;
mod kind;
mod lease;
mod lookup;
mod many;
mod memory;
mod options;
mod packed;
mod policy;
#[cfg(feature = "redis")]
mod redis;
mod sync;

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::change::{Change, Changed, ChangedKey};
use self::core::CacheInner;
use self::documents::Documents;
use self::kind::Job;
use crate::error::Result;
use crate::market_cache::{CacheKey, CacheSelector};
use crate::postgres::Pool;
use crate::store::{Copies, EntryKeyRef};

pub(crate) use self::analyses::{get_or_compute, get_or_compute_by};
pub use self::cached::{Cached, Origin};
pub use self::counters::{CacheCounters, CacheReport};
pub use self::documents::CacheValue;
pub use self::fetched::{BoxError, Fetch, Fetched};
pub use self::many::FetchMany;
pub use self::options::CacheOptions;
pub use self::policy::Policy;
#[cfg(feature = "redis")]
pub use self::redis::RedisOptions;

/// The cache of market data, over the levels that [`CacheOptions`] names: memory, Redis, the table
/// `market_data_cache`. Cheap to clone; clones share everything.
///
/// # Guarantees
/// - One fetch at a time per key, in the process and across processes that share the database. A
///   process that dies while fetching is replaced after [`CacheOptions::lease`]. No connection is held
///   while fetching.
/// - A value is served from memory or Redis at most [`CacheOptions::max_staleness`] after another process has
///   changed or invalidated it; usually it is milliseconds. Where the log of changes cannot be read for
///   that long, calls ask the database; where that does not answer either, fresh values from memory or
///   Redis stand in until they expire.
/// - What was invalidated is not served again, fresh or stale, and a fetch that was under way does not
///   bring it back.
/// - Expiry goes by the database's clock; spans within the process by a monotonic one.
/// - A fetch runs on a task of its own: a caller who gives up does not end it for others.
#[derive(Clone)]
pub struct Cache {
    core: Arc<CacheInner>,
}

impl Cache {
    pub(crate) fn new(options: CacheOptions, pool: &Pool) -> Result<Self> {
        options.validate()?;
        Ok(Cache { core: Arc::new(CacheInner::new(options, pool)?) })
    }

    /// The default policy of this cache, as [`CacheOptions::policy`] gave it.
    pub fn policy(&self) -> &Policy {
        &self.core.options.policy
    }

    /// The value of a key: from the nearest level that has it fresh, else from `fetch`. A stale value
    /// (see [`Policy::stale_for`]) is served while it is fetched again, and when that fails. After a
    /// failure nobody fetches for [`Policy::retry_after`]; a value that is refused when it is stored does not count as one.
    ///
    /// A value that serializes to `null`, such as `None` of an `Option`, is a negative result, kept for
    /// [`Policy::negative_ttl`]. A stored document that is no `T` counts as absent.
    ///
    /// # Errors
    /// Only where there is no stale value: [`Error::Fetch`](crate::Error::Fetch),
    /// [`Error::BackingOff`](crate::Error::BackingOff) during the pause after a failure,
    /// [`Error::Timeout`](crate::Error::Timeout) after [`Policy::hard_timeout`]; `Invalid` of the policy
    /// or of a value that is not JSON; what the database refuses. A database or Redis that is down is
    /// not an error.
    pub async fn get_or_fetch<T: CacheValue>(
        &self,
        key: &CacheKey,
        policy: &Policy,
        fetch: impl Fetch<T>,
    ) -> Result<Cached<T>> {
        let address = EntryKeyRef::from(key);
        let now = Instant::now();
        if let Some(entry) = self.core.fresh_copy::<Documents<T>>(address, now)
            && policy.eager.is_none_or(|share| !entry.is_due_at(now, share))
        {
            self.core.counters.memory_hits.one();
            return Ok(Cached::new(entry, Origin::Memory, now));
        }
        let job: Job<Documents<T>> = Box::new(|previous| {
            async move { fetch(previous).await.map(Into::into).map_err(Into::into) }.boxed()
        });
        self.core.get_or::<Documents<T>>(address, policy, job).await
    }

    /// The fresh value of a key from the nearest level that has it; nothing is fetched.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the stored document is no `T`; what the database refuses, and
    /// `Unavailable`.
    pub async fn get<T: CacheValue>(&self, key: &CacheKey) -> Result<Option<Cached<T>>> {
        self.core.get::<Documents<T>>(key.into()).await
    }

    /// Stores a value in every level, in place of the one that its key has; a fetch that is under way
    /// does not replace it.
    ///
    /// # Errors
    /// `Invalid` of the policy, or of a value that is not JSON; those of the database: then nothing is
    /// stored.
    pub async fn put<T: CacheValue>(
        &self,
        key: &CacheKey,
        value: impl Into<Fetched<T>>,
        policy: &Policy,
    ) -> Result<Cached<T>> {
        self.core.put::<Documents<T>>(key.into(), value.into(), policy).await
    }

    /// Lets all entries that the selector means expire now, in every level and process, and whatever is
    /// being fetched of them not be stored. Returns how many there were in the database.
    ///
    /// # Errors
    /// `Invalid` of a selector without a part; those of the database: then nothing is invalidated.
    pub async fn invalidate(&self, selector: &CacheSelector) -> Result<u64> {
        self.core.invalidate(selector).await
    }

    /// What the cache has done and what it holds; `top` tickers that take the most room. Exact at any
    /// size, so it reads the whole table.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn report(&self, top: u32) -> Result<CacheReport> {
        self.core.report(top).await
    }

    /// What the cache has done in this process since it was made.
    pub fn counters(&self) -> CacheCounters {
        self.core.read_counters()
    }
}

impl Copies for Cache {
    /// A row was written by this process, and not through the cache.
    fn replaced<'a>(&'a self, key: EntryKeyRef<'a>, version: i64) -> BoxFuture<'a, ()> {
        async move {
            let (space, key) = (
                key.space,
                ChangedKey {
                    ticker: key.ticker.clone(),
                    name: key.name.into(),
                    parameters: key.parameters.cloned(),
                    portfolio: key.portfolio,
                },
            );
            self.core.apply(&[Change { space, changed: Changed::Key(key), version }]).await;
        }
        .boxed()
    }

    /// Waits until this process's memory has applied everything that was committed before the call;
    /// where that cannot be had within a second, memory is emptied.
    fn catch_up(&self) -> BoxFuture<'_, ()> {
        async move {
            self.core.catch_up().await;
            // The log has nothing of keys without a row, which may be being fetched. A later caller takes a separate
            // lease: of what was not invalidated there is still one fetch.
            self.core.fetches().close(|_| true);
        }
        .boxed()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("options", &self.core.options).finish_non_exhaustive()
    }
}
