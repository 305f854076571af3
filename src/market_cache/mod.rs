//! Cached documents of data providers, as the database stores them.

mod entry;
mod key;
mod pg;
mod repository;

pub use entry::{Backfill, Backfilled, CacheEntry, CacheEntryPatch, NewCacheEntry, PutOptions};
pub use key::{
    CacheFilter, CacheKey, CacheSelector, CacheSize, CacheStatistics, StaleEntry, TickerSize,
    TypeSize,
};
pub(crate) use pg::PgMarketCache;
pub(crate) use pg::upsert::upsert;
pub use repository::{MarketCacheExt, MarketCacheRepository};
