//! What a cache has done since it was made.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::market_cache::CacheStatistics;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a cache has done since it was made, in this process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct CacheCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub $name: Counter,)*
        }

        impl Counters {
            pub fn read(&self) -> CacheCounters {
                CacheCounters { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Lookups answered by memory.
    memory_hits,
    /// Lookups answered by Redis.
    redis_hits,
    /// Lookups answered by the database.
    database_hits,
    /// Lookups for which no level had a fresh value.
    misses,
    /// Lookups answered with a value past its expiry.
    stale_served,
    /// Fetches that were begun.
    fetches,
    /// Those of them that replaced a value that was there before.
    refreshes,
    /// Fetches that failed or took too long.
    fetch_errors,
    /// Calls that were refused because the last fetch failed a moment ago.
    backing_off,
    /// Calls that waited for a fetch that another call or process had begun.
    waits,
    /// Fetched values that were not stored, because the key was invalidated or put meanwhile.
    superseded,
    /// Stored documents that did not decode into the type that was asked for.
    corrupt,
    /// Values that left memory for lack of room.
    evictions,
    /// Copies in memory that were dropped because their row changed.
    dropped,
    /// Reads and writes that Redis failed to answer.
    redis_errors,
    /// Reads and writes that the database failed to answer.
    database_errors,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn one(&self) {
        self.add(1);
    }

    #[cfg(feature = "redis")]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// A cache at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheReport {
    /// What it has done in this process.
    pub counters: CacheCounters,
    /// Values in this process's memory.
    pub memory_entries: u64,
    /// Bytes that they weigh: see [`CacheOptions::memory`](super::CacheOptions::memory).
    pub memory_bytes: u64,
    /// Whether Redis answers; `None` where it is not a level.
    pub redis_is_up: Option<bool>,
    /// What the table of market data holds, by type and ticker; `None` where the database is not a level.
    pub database: Option<CacheStatistics>,
}
