//! The cache: one call, several levels.

mod basics;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{
    BoxError, Cache, CacheKey, CacheOptions, Cached, DataType, Database, Error, Fetched, Policy,
    Ticker,
};

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn key(ticker: &str) -> CacheKey {
    CacheKey::new(&crate::support::parsed::<Ticker>(ticker), DataType::FUNDAMENTALS)
}

/// Another process, as far as the cache can tell: the same database, nothing shared.
pub fn process(db: &TestDatabase, options: CacheOptions) -> Database {
    Database::clone(db).with_cache(options).expect("a cache")
}

/// A provider that counts how often it is asked.
#[derive(Clone, Default)]
pub struct Provider {
    asked: Arc<AtomicU32>,
}

impl Provider {
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// A lookup whose fetch returns the next number: 1, 2, ...
    pub async fn next(
        &self,
        cache: &Cache,
        key: &CacheKey,
        policy: &Policy,
    ) -> Result<Cached<u32>, Error> {
        let asked = self.asked.clone();
        cache
            .get_or_fetch::<u32>(key, policy, move |_| async move {
                Ok::<_, BoxError>(asked.fetch_add(1, Ordering::SeqCst) + 1)
            })
            .await
    }

    /// A lookup whose fetch fails.
    pub async fn fail(
        &self,
        cache: &Cache,
        key: &CacheKey,
        policy: &Policy,
    ) -> Result<Cached<u32>, Error> {
        let asked = self.asked.clone();
        cache
            .get_or_fetch::<u32>(key, policy, move |_| async move {
                asked.fetch_add(1, Ordering::SeqCst);
                Err::<Fetched<u32>, _>("the provider is down")
            })
            .await
    }
}
