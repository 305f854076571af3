//! The cache with a level in Redis.

mod changes;
mod outages;
mod values;

use std::time::Duration;

use buffetbot_db::Database;
use buffetbot_db::cache::{BoxError, CacheOptions, Origin, Policy, RedisOptions};
use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{DataType, Ticker};

use crate::support::redis::RedisServer;
use crate::support::{GENEROUS, eventually, parsed};

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn key(symbol: &str) -> CacheKey {
    CacheKey::new(&parsed::<Ticker>(symbol), DataType::FUNDAMENTALS)
}

pub fn an_hour() -> Policy {
    Policy::ttl(HOUR).jitter(0.0)
}

/// A level that is waited for: a busy machine is no outage.
pub fn patient(redis: &RedisServer) -> RedisOptions {
    RedisOptions::new(&redis.url()).expect("a URL").timeout(GENEROUS)
}

/// Memory, Redis and the database; changes are looked for ten times a second.
pub fn every_level(redis: &RedisServer) -> CacheOptions {
    let poll_every = Duration::from_millis(100);
    CacheOptions::default().redis(patient(redis)).poll_every(poll_every).max_staleness(GENEROUS)
}

/// A handle as another process has it: the same database, a cache of its own.
pub fn process(db: &TestDatabase, options: CacheOptions) -> Database {
    Database::clone(db).with_cache(options).expect("a cache")
}

/// The value and where it came from; `new` where it has to be fetched.
pub async fn ask(db: &Database, key: &CacheKey, new: u32) -> (u32, Origin) {
    let fetch = move |_| async move { Ok::<_, BoxError>(new) };
    let found = db.cache().get_or_fetch::<u32>(key, &an_hour(), fetch).await.expect("a value");
    (*found.value, found.origin)
}

/// The fresh value that a process finds.
pub async fn found(db: &Database, key: &CacheKey) -> Option<u32> {
    db.cache().get::<u32>(key).await.expect("an answer").map(|found| *found.value)
}

/// Waits until the process finds this value, and none that is older than another it has found.
pub async fn comes_to_find(db: &Database, key: &CacheKey, value: Option<u32>) {
    eventually(&format!("{value:?} is found"), async || found(db, key).await == value).await;
    for _ in 0..20 {
        assert_eq!(found(db, key).await, value, "what was replaced came back");
    }
}
